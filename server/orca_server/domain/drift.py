"""Drift: how what was observed of an agent differs from what is accepted.

What is accepted stands in the agent's own content; what was observed is JSON, field by field.
Values are compared in their canonical form (RFC 8785), so neither the order of keys nor the way
a number is written is a difference.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import rfc8785

from orca_server.domain.agents import Content, Endpoint, Tool

RULES = ("tools", "version", "command")
"""The fields that are compared; each has at most one open drift."""
MOST_DIFFERENCES = 100
"""Differences of one drift that are kept; all are counted."""
_MOST_EXACT = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs.

    Attributes:
        path: JSON Pointer (RFC 6901); tools are found by name.
        sides: `accepted` and `observed`, each only if the field is there.
    """

    path: str
    sides: Mapping[str, Any]


def accepted(content: Content, rule: str) -> Any:
    """What is accepted of a field, as JSON; None: a command that there is none of."""
    match rule:
        case "tools":
            return tools_value(content.tools)
        case "version":
            return content.version
        case _:
            return command_value(content.endpoint)


def tools_value(tools: Iterable[Tool]) -> dict[str, Any]:
    """Tools as JSON: what is said of each by its name, so that their order means nothing."""
    found: dict[str, Any] = {}
    for tool in tools:
        found[tool.name] = {"description": tool.description}
        if tool.input_schema is not None:
            found[tool.name]["input_schema"] = tool.input_schema
    return found


def command_value(endpoint: Endpoint) -> dict[str, Any] | None:
    """How an agent is started, as JSON; None if it is not started."""
    if not endpoint.command:
        return None
    return {"command": endpoint.command, "args": list(endpoint.args)}


def with_value(content: Content, rule: str, value: Any) -> Content:
    """The content with what was observed of a field."""
    match rule:
        case "tools":
            return replace(content, tools=tuple(_tool(*each) for each in value.items()))
        case "version":
            return replace(content, version=value)
        case _ if value is None:
            return replace(content, endpoint=Endpoint(url=content.endpoint.url))
    started = Endpoint("", value["command"], tuple(value["args"]), content.endpoint.env)
    return replace(content, endpoint=started)


def completed(content: Content, rule: str, value: Any) -> Content:
    """The content with what was observed first, where nobody had said anything."""
    if rule == "tools" and content.tools:
        return replace(content, tools=tuple(_completed(tool, value) for tool in content.tools))
    if rule == "command" and (content.endpoint.url or value is None):
        return content
    return content if accepted(content, rule) else with_value(content, rule, value)


def observed_by_report(
    old: Content, new: Content, told: Collection[str]
) -> tuple[Content, dict[str, Any]]:
    """What an adapter may change at once, and what of its report is an observation.

    Args:
        old: As it is accepted.
        new: As the adapter says it is.
        told: Fields of the agent that it speaks of; one that agrees with what is accepted is an
            observation too, by which a drift is gone.

    Returns:
        The content without what is only observed, and that, by rule.
    """
    observed = {rule: accepted(new, rule) for rule in ("tools", "version") if rule in told}
    before, after = command_value(old.endpoint), command_value(new.endpoint)
    if "endpoint" in told and (before or after):
        observed["command"] = after
    if before != after:
        kept = old.endpoint
        endpoint = replace(new.endpoint, url=kept.url, command=kept.command, args=kept.args)
        new = replace(new, endpoint=endpoint)
    return replace(new, tools=old.tools, version=old.version), observed


def redefined(old: Content, new: Content) -> bool:
    """Whether a field that is compared is another one now."""
    return (old.tools, old.version, old.endpoint) != (new.tools, new.version, new.endpoint)


def compare(rule: str, accepted_value: Any, observed_value: Any) -> list[Difference]:
    """All differences of a field, by path."""
    return sorted(
        _differences(f"/{rule}", accepted_value, observed_value), key=lambda each: each.path
    )


def canonical(value: Any) -> bytes:
    """A JSON value in its one form (RFC 8785).

    Source: https://www.rfc-editor.org/rfc/rfc8785; its numbers are doubles, so an integer that
    has no exact one is read as the nearest.
    """
    return rfc8785.dumps(_with_doubles(value))


def digest(value: Any) -> str:
    """SHA-256 of the canonical form, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _differences(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {*before, *after}:
            below = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in after:
                yield Difference(below, {"accepted": before[key]})
            elif key not in before:
                yield Difference(below, {"observed": after[key]})
            else:
                yield from _differences(below, before[key], after[key])
    elif canonical(before) != canonical(after):
        sides = (("accepted", before), ("observed", after))
        yield Difference(path, {name: value for name, value in sides if value is not None})


def _tool(name: str, said: Mapping[str, Any]) -> Tool:
    return Tool(name, said.get("description", ""), said.get("input_schema"))


def _completed(tool: Tool, observed: Mapping[str, Any]) -> Tool:
    if tool.name not in observed:
        return tool
    seen = _tool(tool.name, observed[tool.name])
    schema = seen.input_schema if tool.input_schema is None else tool.input_schema
    return Tool(tool.name, tool.description or seen.description, schema)


def _with_doubles(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() if abs(value) > _MOST_EXACT:
            return float(value)
        case Mapping():
            return {key: _with_doubles(each) for key, each in value.items()}
        case list() | tuple():
            return [_with_doubles(each) for each in value]
        case _:
            return value
