"""The OpenAPI 3.1 document of the REST surface, written from the contract.

`python -m orca_server.services.openapi DESCRIPTORS FILE` writes FILE; `make gen` calls it.
DESCRIPTORS is protoc's descriptor set with source information, which has the comments; the
generated code has everything else. The plug-ins that exist say neither which fields our gateway
always prints nor which reasons a method answers with, and need a Go toolchain.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

import orca_server
from orca_server.domain.access import PUBLIC_SCOPE
from orca_server.services import error_catalog as catalog
from orca_server.services.access_page import methods
from orca_server.services.interceptors import scope_of
from orca_server.services.openapi_schemas import (
    PACKAGE,
    STATUS,
    WELL_KNOWN,
    Json,
    Schemas,
    behaviours,
    message_of,
    ref,
    status_schemas,
)

HTTP_BODY = "google.api.HttpBody"
BODY_TYPES = {
    "AgentService.ImportAgents": ("application/json", "application/yaml"),
    "ReportService.ExportReport": ("text/markdown", "application/json", "text/csv", "text/html"),
    "SystemService.GetOpenApi": ("application/json",),
    "SystemService.GetDocs": ("text/html",),
}
"""Content types of the raw bodies that a method takes or gives; others are `*/*`."""

_VERSIONED = "/v1"
_VARIABLE = re.compile(r"\{([a-z_.]+)\}")
_NAMED = ("message_type", "nested_type", "enum_type", "service", "method", "field", "value")
_ABOUT = """
The operations of `orca.v1` as REST: the same contract as gRPC, which also has the two that stream.
JSON has the names of the protos, zero values are printed, and what is not known is absent, never
`null`. Unknown keys of a body are ignored, unknown query parameters are refused. Every error is a
`google.rpc.Status` whose `ErrorInfo` has a stable reason.
"""
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "`orca tokens create` makes one; its role has scopes.",
}


def comments_of(files: FileDescriptorSet) -> dict[str, str]:
    """The comment of each of our messages, fields, enums, values, methods, by full name."""
    found = {}
    for file in files.file:
        if file.package != PACKAGE:
            continue
        texts = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for path, name in _names(file, (), file.package):
            found[name] = unwrap(texts.get(path, ""))
    return found


def _names(
    parent: Message, path: tuple[int, ...], prefix: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    for field, children in parent.ListFields():
        if field.name in _NAMED:
            for index, child in enumerate(children):
                name, place = f"{prefix}.{child.name}", (*path, field.number, index)
                yield place, name
                yield from _names(child, place, name)


def unwrap(comment: str) -> str:
    """A comment with one line per paragraph or list entry."""
    lines: list[str] = []
    for line in (raw.strip() for raw in comment.strip().splitlines()):
        if lines and lines[-1] and line and not line.startswith("* "):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


def document(files: FileDescriptorSet) -> Json:
    """The OpenAPI document, from comments in `files` and the generated code."""
    comments = comments_of(files)
    bound = [(method, rule) for method in methods() for rule in bindings(method)]
    schemas = Schemas(comments, [method.input_type for method, _ in bound])
    paths: dict[str, Json] = defaultdict(dict)
    for number, (method, rule) in enumerate(bound):
        verb, path = pattern(rule)
        twin = any(method is earlier for earlier, _ in bound[:number])
        paths[_plain_path(path)][verb] = _operation(schemas, method, rule, twin=twin)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ORCA AgentMesh",
            "version": orca_server.__version__,
            "description": unwrap(_ABOUT),
        },
        "servers": [
            {"url": "/"},
            {"url": _VERSIONED, "description": "The same paths under the contract's version."},
        ],
        "tags": _tags(comments),
        "paths": paths,
        "components": {
            "schemas": dict(sorted((schemas.made | status_schemas()).items())),
            "responses": {"Gateway": _refusal(catalog.GATEWAY)},
            "examples": {_example(each): _shown(each) for each in catalog.REASONS},
            "securitySchemes": {"bearer": _BEARER},
        },
    }


def _tags(comments: Mapping[str, str]) -> list[Json]:
    services = {method.containing_service.full_name for method in methods()}
    return [
        {"name": name.rpartition(".")[2], "description": comments[name]}
        for name in sorted(services)
    ]


def bindings(method: MethodDescriptor) -> list[http_pb2.HttpRule]:
    """The HTTP bindings of a method but their twins under /v1."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    rules = [rule, *rule.additional_bindings] if rule.ByteSize() else []
    return [each for each in rules if not pattern(each)[1].startswith(f"{_VERSIONED}/")]


def pattern(rule: http_pb2.HttpRule) -> tuple[str, str]:
    """Verb and path of a binding."""
    verb = str(rule.WhichOneof("pattern"))
    return verb, getattr(rule, verb)


def _plain_path(path: str) -> str:
    """`/agents/{agent.id}` -> `/agents/{id}`: one path has one set of names in OpenAPI."""
    return _VARIABLE.sub(lambda match: "{" + match[1].rpartition(".")[2] + "}", path)


def _operation(
    schemas: Schemas, method: MethodDescriptor, rule: http_pb2.HttpRule, *, twin: bool
) -> Json:
    label = f"{method.containing_service.name}.{method.name}"
    comment = schemas.comments[method.full_name].partition("Errors:")[0].strip()
    scope = scope_of(method)
    in_path = _VARIABLE.findall(pattern(rule)[1])
    operation: Json = {
        "operationId": label.replace(".", "_") + ("_by_name" if twin else ""),
        "tags": [method.containing_service.name],
        "summary": _first_sentence(comment),
        "description": comment,
        "security": [] if scope == PUBLIC_SCOPE else [{"bearer": [scope]}],
        "parameters": list(_parameters(schemas, method.input_type, rule, in_path)),
        "responses": {
            "200": {
                "description": schemas.comments.get(method.output_type.full_name) or "Done.",
                "content": _content(schemas, label, method.output_type),
            },
            **_refusals(label, public=scope == PUBLIC_SCOPE),
        },
    }
    if rule.body:
        operation["requestBody"] = _request_body(schemas, method, rule, in_path)
    return operation


def _first_sentence(text: str) -> str:
    first = re.split(r"(?<=[.:])\s", text, maxsplit=1)[0]
    return first.rstrip(".:")


def _parameters(
    schemas: Schemas, request: Descriptor, rule: http_pb2.HttpRule, in_path: list[str]
) -> Iterator[Json]:
    for path in in_path:
        first, _, nested = path.partition(".")
        field = request.fields_by_name[first]
        if nested:
            field = message_of(field).fields_by_name[nested]
        yield _parameter(schemas, field, field.name, "path")
    if rule.body != "*":
        for path, field in _flat(request, ""):
            if path not in in_path and path.split(".")[0] != rule.body:
                yield _parameter(schemas, field, path, "query")


def _flat(message: Descriptor, prefix: str) -> Iterator[tuple[str, FieldDescriptor]]:
    """Fields that may stand in a query, as the gateway names them."""
    for field in message.fields:
        kind = field.message_type
        if kind is None or kind.full_name in WELL_KNOWN:
            yield prefix + field.name, field
        elif not field.is_repeated:
            yield from _flat(kind, f"{prefix}{field.name}.")


def _parameter(schemas: Schemas, field: FieldDescriptor, name: str, place: str) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path" or "REQUIRED" in behaviours(field),
        "description": schemas.comments[field.full_name],
        "schema": schemas.type_of(field),
    }


def _request_body(
    schemas: Schemas, method: MethodDescriptor, rule: http_pb2.HttpRule, in_path: list[str]
) -> Json:
    request = method.input_type
    label = f"{method.containing_service.name}.{method.name}"
    if rule.body == "*":
        schema = schemas.without(request, in_path)
        content = {"application/json": {"schema": schema}}
        return {"required": bool(schemas.resolved(schema).get("required")), "content": content}
    message = message_of(request.fields_by_name[rule.body])
    content = _content(schemas, label, message)
    if rule.WhichOneof("pattern") == "patch":  # what is not sent stays as it is
        content = {"application/json": {"schema": schemas.partial(message)}}
    description = schemas.comments[request.fields_by_name[rule.body].full_name]
    return {"required": True, "description": description, "content": content}


def _content(schemas: Schemas, label: str, message: Descriptor) -> Json:
    if message.full_name == HTTP_BODY:
        return {kind: {} for kind in BODY_TYPES.get(label, ("*/*",))}
    return {"application/json": {"schema": schemas.of(message)}}


def _refusals(label: str, *, public: bool) -> Json:
    keys = [*catalog.METHODS.get(label, ()), *catalog.EVERYWHERE]
    if label.startswith("SystemService."):
        keys.remove("UNAVAILABLE DATABASE_UNAVAILABLE")
    if not public:
        keys += catalog.AUTHENTICATION
    by_code: dict[str, list[catalog.Reason]] = defaultdict(list)
    for reason in catalog.REASONS:
        if reason.key in keys:
            by_code[str(catalog.HTTP[reason.status])].append(reason)
    answers = {code: _refusal(by_code[code]) for code in sorted(by_code)}
    return answers | {"default": {"$ref": "#/components/responses/Gateway"}}


def _refusal(reasons: Iterable[catalog.Reason]) -> Json:
    told = [
        f"* `{each.status}` (`{each.reason}`): {each.meaning} {each.action}" for each in reasons
    ]
    known = [each for each in reasons if each in catalog.REASONS]
    content: Json = {"schema": ref(STATUS)}
    if known:
        content["examples"] = {
            _example(each): {"$ref": f"#/components/examples/{_example(each)}"} for each in known
        }
    return {"description": "\n".join(told), "content": {"application/json": content}}


def _example(reason: catalog.Reason) -> str:
    return reason.key.replace(" ", ".")


def _shown(reason: catalog.Reason) -> Json:
    return {"summary": reason.meaning, "value": catalog.example(reason)}


def render(files: FileDescriptorSet) -> str:
    """The document as it is committed."""
    shown: Any = document(files)
    return json.dumps(shown, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(render(FileDescriptorSet.FromString(source.read_bytes())), encoding="utf-8")
