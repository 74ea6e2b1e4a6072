"""The OpenAPI document: well formed, what the contract says, and what REST really answers."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace

import openapi_spec_validator
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from orca_server.services import docs_site, openapi
from tests import replies
from tests.contract import stages
from tests.contract.error_paths import GOOD, ROWS, Row
from tests.contract.stages import Fleet, Stage
from tests.fuzz import rest
from tests.fuzz.http import Answer, Connection
from tests.fuzz.requests import label, methods
from tests.fuzz.rest import HttpRequest
from tests.servers import PostgresServer

BOUND = [method for method in methods() if rest.bindings(method)]
PAGES = ("docs.html", "openapi.json")


def test_the_document_is_openapi() -> None:
    openapi_spec_validator.validate(replies.document())


def test_the_committed_document_is_what_the_contract_says(descriptors: FileDescriptorSet) -> None:
    committed = (docs_site.PAGES / "openapi.json").read_text(encoding="utf-8")
    assert committed == openapi.render(descriptors), "run: make gen"


def test_every_binding_has_its_operation() -> None:
    operations = [
        operation["operationId"]
        for item in replies.document()["paths"].values()
        for operation in item.values()
    ]
    assert len(operations) == len(set(operations))
    assert len(operations) == sum(len(openapi.bindings(method)) for method in methods())
    for method in BOUND:
        assert label(method).replace(".", "_") in operations


def test_all_that_is_there_for_people_is_explained() -> None:
    document = replies.document()
    operations = [each for item in document["paths"].values() for each in item.values()]
    parameters = [each for operation in operations for each in operation["parameters"]]
    assert [each for each in (*operations, *parameters) if not each["description"]] == []
    ours = {
        name: schema
        for name, schema in document["components"]["schemas"].items()
        if not name.startswith("google.")
    }
    bare = [name for name, schema in ours.items() if not schema["description"]]
    bare += [
        f"{name}.{field}"
        for name, schema in ours.items()
        for field, about in schema.get("properties", {}).items()
        if not about["description"]
    ]
    assert bare == []


def test_an_unknown_field_and_a_wrong_type_are_found() -> None:
    def faults(body: bytes) -> list[str]:
        answer = Answer(200, {"content-type": "application/json"}, body)
        return replies.faults("GET", "/v1/health?x=1", answer)

    good = b'{"status": "SERVING", "version": "1", "checks": []}'
    assert faults(good) == []
    assert faults(good.replace(b'"1"', b"1")) != []
    assert faults(good.replace(b"}", b', "more": 1}')) != []
    assert faults(b'{"status": "SERVING"}') != []
    assert replies.faults("PUT", "/health", Answer(200, {}, good)) != []


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_name_no_other_host(name: str) -> None:
    text = (docs_site.PAGES / name).read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert len(text) < 1_500_000


def test_the_policy_allows_the_script_that_is_there_and_no_other() -> None:
    page = (docs_site.PAGES / "docs.html").read_text(encoding="utf-8")
    policy = docs_site.policy(page)
    assert policy.count("'sha256-") == 2
    assert docs_site.policy(page.replace("</script>", " </script>")) != policy
    assert "unsafe" not in policy


@pytest.fixture(scope="module")
def stage(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A server on a database of its own, behind a real gateway."""
    with postgres.database(template) as url:
        asyncio.run(stages.prepare(url))
        with stages.stage(url, tmp_path_factory.mktemp("registry")) as found:
            stages.wait_until_revoked(found.target)
            yield found


@pytest.fixture(scope="module")
def fleet(stage: Stage) -> Fleet:
    """What requests are about."""
    return stages.found(stage.target)


def ask(stage: Stage, request: HttpRequest) -> Answer:
    """The answer of the gateway."""

    async def once() -> Answer:
        connection = Connection(stage.rest_port)
        try:
            return await connection.ask(request.data)
        finally:
            await connection.close()

    return asyncio.run(once())


def refused(method: MethodDescriptor) -> Row:
    """A row of the table of errors that needs no particular condition of the server."""
    own = [row for row in ROWS if row.method == label(method) and row.stage == "open"]
    plain = [row for row in own if row.raw is None and row.registry == ""]
    return (plain or own)[0]


@pytest.mark.parametrize("method", BOUND, ids=label)
def test_what_is_refused_is_answered_as_the_document_says(
    method: MethodDescriptor, stage: Stage, fleet: Fleet
) -> None:
    row = refused(method)
    request = rest.to_http(method, row.request(fleet), random.Random(label(method)))
    if row.raw is not None:
        request = replace(request, target=f"{request.target}?surprise=1")
    answer = ask(stage, replace(request, headers=(*request.headers, *row.metadata())))
    assert 400 <= answer.status < 500
    assert replies.faults(request.verb, request.target, answer) == []


@pytest.mark.parametrize("method", BOUND, ids=label)
def test_what_is_accepted_is_answered_as_the_document_says(
    method: MethodDescriptor, stage: Stage, fleet: Fleet
) -> None:
    request = rest.to_http(method, GOOD[method.name](fleet), random.Random(label(method)))
    answer = ask(stage, request)
    assert answer.status == 200, answer
    assert replies.faults(request.verb, request.target, answer) == []


def test_document_and_page_are_served_without_a_token(stage: Stage) -> None:
    bad = (("host", "localhost"), ("authorization", "Bearer x"))
    for prefix in ("", "/v1"):
        served = ask(stage, HttpRequest("GET", f"{prefix}/openapi.json", bad))
        assert served.body == (docs_site.PAGES / "openapi.json").read_bytes()
        assert served.headers["content-type"] == "application/json"
        page = ask(stage, HttpRequest("GET", f"{prefix}/docs", bad))
        assert page.body == (docs_site.PAGES / "docs.html").read_bytes()
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "sha256-" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
