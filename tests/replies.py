"""Holds what REST answers to the OpenAPI document that is served."""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from orca_server.services.docs_site import PAGES
from tests.fuzz.http import Answer

Json = dict[str, Any]
_BASE = "urn:openapi"
_EMPTY = {"type": "object", "maxProperties": 0}
"""All that answers without a schema of their own say."""


@cache
def document() -> Json:
    """The document as it is committed."""
    found: Json = json.loads((PAGES / "openapi.json").read_bytes())
    return found


def strict(schema: Any) -> Any:
    """A schema under which a field that the document does not name is a fault."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


@cache
def _registry() -> Registry[Any]:
    schemas = {"components": {"schemas": strict(document()["components"]["schemas"])}}
    resource = Resource.from_contents(schemas, default_specification=DRAFT202012)
    return Registry().with_resource(_BASE, resource)


@cache
def _validator(reference: str) -> Draft202012Validator:
    schema = {"$ref": f"{_BASE}{reference}"} if reference else _EMPTY
    return Draft202012Validator(schema, registry=_registry(), format_checker=FormatChecker())


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """What a path of the document matches, the most literal first."""
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [
        (re.compile("[^/:?]+".join(map(re.escape, re.split(r"\{[a-z_]+\}", path)))), path)
        for path in paths
    ]


def operation(verb: str, target: str) -> Json | None:
    """The operation behind a request; None: the document knows none."""
    path = target.partition("?")[0].removeprefix("/v1")
    for pattern, template in _templates():
        item: Json = document()["paths"][template]
        if pattern.fullmatch(path) and verb.lower() in item:
            found: Json = item[verb.lower()]
            return found
    return None


def faults(verb: str, target: str, answer: Answer) -> list[str]:
    """Where an answer is not what the document says of it."""
    found = operation(verb, target)
    if found is None:
        return [f"no operation for {verb} {target}"]
    response = found["responses"].get(str(answer.status), found["responses"]["default"])
    if "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    kind = answer.headers["content-type"].partition(";")[0]
    if kind not in response["content"]:
        return [f"{kind} is none of {list(response['content'])}"]
    schema = response["content"][kind].get("schema")
    if schema is None:  # a raw body
        return []
    errors = _validator(schema.get("$ref", "")).iter_errors(json.loads(answer.body))
    return [f"{error.json_path}: {error.message[:300]}" for error in errors]
