"""Every reason that a client may see stands in the one table, and nothing else does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import code_pb2

from orca_server.domain import errors
from orca_server.services import error_catalog as catalog
from orca_server.services.errors import CODES
from tests.contract.descriptors import Method

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "server" / "orca_server"
LAYERS = ("domain", "store", "runtime", "services")
UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
STATUS_OF = {kind.__name__: code_pb2.Code.Name(code) for kind, code in CODES.items()}
FIELD_CONSTRUCTORS = {"FieldViolation", "Refusal", "RefusedRecord", "WrongField"}
ENTRY_CONSTRUCTORS = {"Refused", "RefusedEntry"}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for layer in LAYERS:
        for path in sorted((PACKAGE / layer).rglob("*.py")):
            if path.name == "error_catalog.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    yield name, node


def _reasons(call: ast.Call) -> Iterator[str]:
    """Arguments that look like a reason."""
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        if (
            isinstance(argument, ast.Constant)
            and isinstance(argument.value, str)
            and UPPER_SNAKE.fullmatch(argument.value)
        ):
            yield argument.value


def raised() -> set[str]:
    """`STATUS REASON` of every OrcaError that the server's code constructs."""
    return {
        f"{STATUS_OF[name]} {reason}"
        for name, call in _calls()
        if name in STATUS_OF
        for reason in _reasons(call)
    } | {"INTERNAL INTERNAL", "DEADLINE_EXCEEDED DEADLINE_EXCEEDED"}


def reasons_in(constructors: set[str]) -> set[str]:
    """Reasons in calls of these."""
    return {reason for name, call in _calls() if name in constructors for reason in _reasons(call)}


def every_subclass(kind: type[errors.OrcaError]) -> set[type[errors.OrcaError]]:
    direct = set(kind.__subclasses__())
    return direct.union(*(every_subclass(each) for each in direct))


def test_every_domain_error_has_a_status() -> None:
    assert set(CODES) == every_subclass(errors.OrcaError)
    assert len(set(CODES.values())) == len(CODES)


def test_every_reason_in_the_code_is_in_the_table() -> None:
    assert raised() - {reason.key for reason in catalog.REASONS} == set()


def test_every_reason_in_the_table_is_given_or_promised(methods: list[Method]) -> None:
    promised = set().union(*(method.errors for method in methods))
    known = {reason.key for reason in catalog.REASONS}
    assert known - raised() - promised == set()


def test_every_field_reason_in_the_code_is_in_the_table() -> None:
    assert reasons_in(FIELD_CONSTRUCTORS) - set(catalog.FIELD_REASONS) == set()


def test_every_entry_reason_in_the_code_is_in_the_table() -> None:
    assert reasons_in(ENTRY_CONSTRUCTORS) - set(catalog.ENTRY_REASONS) == set()


def test_the_table_by_method_is_what_the_contract_says(methods: list[Method]) -> None:
    assert {method.label: method.errors for method in methods} == {
        label: set(keys) for label, keys in catalog.METHODS.items()
    }


def test_every_key_of_the_tables_by_method_is_a_reason() -> None:
    known = {reason.key for reason in catalog.REASONS}
    used = {*catalog.AUTHENTICATION, *catalog.EVERYWHERE}.union(*catalog.METHODS.values())
    assert used - known == set()
    assert len(known) == len(catalog.REASONS)


def test_what_every_method_answers_is_said_by_each_service(
    descriptors: FileDescriptorSet, service_comments: dict[str, str]
) -> None:
    for name, comment in service_comments.items():
        if name == "SystemService":
            continue
        for key in (*catalog.AUTHENTICATION, "UNAVAILABLE DATABASE_UNAVAILABLE"):
            assert f"`{key.split()[1]}`" in comment, f"{name}: {key}"


def test_the_page_is_what_the_table_says() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == catalog.render(), (
        "run: python -m orca_server.services.error_catalog > docs/errors.md"
    )


@pytest.mark.parametrize("reason", catalog.REASONS, ids=lambda reason: reason.key)
def test_each_example_is_a_status_with_one_reason(reason: catalog.Reason) -> None:
    body = catalog.example(reason)
    assert body["code"] == code_pb2.Code.Value(reason.status)
    details = body["details"]
    assert isinstance(details, list)
    infos = [each for each in details if each["@type"].endswith("google.rpc.ErrorInfo")]
    assert [(each["reason"], each["domain"]) for each in infos] == [(reason.reason, "orca")]
    kinds = {each["@type"].rsplit(".", 1)[1] for each in details}
    assert ("BadRequest" in kinds) == reason.violations
    assert ("RetryInfo" in kinds) == (reason.retry_seconds is not None)


def test_what_may_be_sent_again_says_when() -> None:
    for reason in catalog.REASONS:
        if reason.status in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
            assert reason.retry_seconds is not None, reason.key
