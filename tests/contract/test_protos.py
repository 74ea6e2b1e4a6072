"""The contract documents itself completely: callers, idempotency, errors, scopes, paths, fields."""

import re

import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from orca_server.domain import access
from tests.contract.descriptors import Message, Method

GRPC_ONLY = {"AgentService.StreamTelemetry", "WorkflowService.StreamEvents"}
RESOURCES_TAKEN_IN = {
    *("Agent", "AgentEndpoint", "AgentTool", "TelemetryRecord", "AgentRef"),
    *("Workflow", "Schedule", "WorkflowEvent", "WorkflowRef", "RunError"),
}
WITHOUT_IDEMPOTENCY = GRPC_ONLY
"""Says what a repeated batch does in other words."""


def test_there_are_methods_and_messages(methods: list[Method], messages: list[Message]) -> None:
    assert len(methods) >= 20
    assert len(messages) >= 40


def test_every_method_says_who_may_call(methods: list[Method]) -> None:
    silent = [m.label for m in methods if not re.search(r"Callers:\s+\w+", m.comment)]
    assert silent == []


def test_every_method_says_whether_it_is_idempotent(methods: list[Method]) -> None:
    silent = {m.label for m in methods if not re.search(r"\b[Ii]dempotent\b", m.comment)}
    assert silent == WITHOUT_IDEMPOTENCY


def test_every_method_lists_its_errors(methods: list[Method]) -> None:
    for method in methods:
        _, found, listed = method.comment.partition("Errors:")
        assert found, f"{method.label} has no 'Errors:'"
        assert method.errors or re.search(r"\bnone\b", listed), f"{method.label} lists no error"


def test_every_method_has_a_scope_that_some_role_has(methods: list[Method]) -> None:
    known = frozenset().union(*access.SCOPES.values()) | {access.PUBLIC_SCOPE}
    assert {m.label: m.scope for m in methods if m.scope not in known} == {}


def test_every_scope_is_asked_for_by_some_method(methods: list[Method]) -> None:
    known = frozenset().union(*access.SCOPES.values())
    assert known - {method.scope for method in methods} == set()


def test_only_health_and_documents_are_public(methods: list[Method]) -> None:
    public = {m.label for m in methods if m.scope == access.PUBLIC_SCOPE}
    assert public == {f"SystemService.{name}" for name in ("GetHealth", "GetOpenApi", "GetDocs")}


@pytest.mark.parametrize("role", access.ROLES)
def test_the_callers_named_in_the_comment_have_the_scope(role: str, methods: list[Method]) -> None:
    for method in methods:
        said = method.comment.partition("Callers:")[2]
        if f"{role}s" in said.split(".")[0] and method.scope != access.PUBLIC_SCOPE:
            assert method.scope in access.SCOPES[role], f"{method.label}: {role}"


def test_every_method_has_paths_with_and_without_version(methods: list[Method]) -> None:
    for method in methods:
        plain = [b for b in method.bindings if not b[1].startswith("/v1/")]
        versioned = [
            (v, p.removeprefix("/v1"), b) for v, p, b in method.bindings if p[:4] == "/v1/"
        ]
        assert plain == versioned, method.label
        assert bool(plain) == (method.label not in GRPC_ONLY), method.label


def test_no_two_methods_share_a_path(methods: list[Method]) -> None:
    bound = [(verb, path) for method in methods for verb, path, _ in method.bindings]
    assert len(bound) == len(set(bound))


def test_every_message_and_field_has_a_comment(messages: list[Message]) -> None:
    bare = [message.name for message in messages if not message.comment]
    bare += [f"{m.name}.{field}" for m in messages for field, text in m.fields.items() if not text]
    assert bare == []


def test_every_service_and_enum_value_has_a_comment(
    files: list[FileDescriptorProto], service_comments: dict[str, str]
) -> None:
    assert [name for name, comment in service_comments.items() if not comment] == []
    for file in files:
        comments = {tuple(p.path): p.leading_comments for p in file.source_code_info.location}
        for at, enum in enumerate(file.enum_type):
            for number, value in enumerate(enum.value):
                assert comments.get((5, at, 2, number)), f"{enum.name}.{value.name}"


def test_every_field_that_callers_send_says_its_behaviour(messages: list[Message]) -> None:
    for message in messages:
        if not message.name.endswith("Request") and message.name not in RESOURCES_TAKEN_IN:
            continue
        for field in message.proto.field:
            behaviour = field.options.Extensions[field_behavior_pb2.field_behavior]
            assert behaviour, f"{message.name}.{field.name} has no field_behavior"


def test_every_zero_value_is_unspecified(files: list[FileDescriptorProto]) -> None:
    for file in files:
        nested = [enum for message in file.message_type for enum in message.enum_type]
        for enum in (*file.enum_type, *nested):
            assert enum.value[0].name.endswith("_UNSPECIFIED"), enum.name
            assert enum.value[0].number == 0
