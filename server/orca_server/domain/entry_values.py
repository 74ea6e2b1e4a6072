"""Values of foreign documents: whatever was written -> something that may be kept, or nothing."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orca_server.domain.agent_checks import (
    MAX_ARGS,
    MAX_CAPABILITIES,
    MAX_COMMAND,
    MAX_ENV,
    MAX_LONG,
    MAX_TOOLS,
    MAX_TOOLS_BYTES,
)
from orca_server.domain.agents import Endpoint, Tool
from orca_server.domain.checks import MAX_LABEL_VALUE, MAX_NAME, MAX_SHORT, MAX_URL, url_problem

_UNKEPT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_LINES = re.compile(r"[\t\r\n]+")
_NO_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,199}")
_SURROGATE_OR_NUL = re.compile(r"\\u0000|[\ud800-\udfff]")


def pick(values: Mapping[str, Any], *names: str) -> Any:
    """The first value that is there: registries spell a name now one way, now another."""
    for name in names:
        if values.get(name) not in (None, ""):
            return values[name]
    return None


def mapping(values: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A map, empty if there is none."""
    found = pick(values, *names)
    return found if isinstance(found, dict) else {}


def mappings(values: Mapping[str, Any], *names: str) -> list[Mapping[str, Any]]:
    """The maps of a list, empty if there is none."""
    found = pick(values, *names)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def text(value: Any, most: int, *, lines: bool = False) -> str:
    """A text without control characters, shortened with `…`; empty for anything else."""
    if not isinstance(value, str):
        return ""
    clean = _UNKEPT.sub("", value)
    clean = clean.strip() if lines else _LINES.sub(" ", clean).strip()
    return clean if len(clean) <= most else clean[: most - 1].rstrip() + "…"


def long_text(value: Any) -> str:
    """A description."""
    return text(value, MAX_LONG, lines=True)


def short_text(value: Any) -> str:
    """A name for people."""
    return text(value, MAX_SHORT)


def url(value: Any) -> str:
    """An HTTP(S) address that may be kept; empty for anything else."""
    return value if isinstance(value, str) and not url_problem(value) else ""


def references(names: Iterable[Any]) -> dict[str, str]:
    """Environment variables as references to themselves, so that no value is ever kept."""
    found: dict[str, str] = {}
    for name in names:
        if isinstance(name, str) and _ENV_NAME.fullmatch(name) and len(found) < MAX_ENV:
            found[name] = f"${{{_NO_IDENTIFIER.sub('_', name)}}}"
    return found


def command_endpoint(command: str, args: Iterable[str], env: Mapping[str, str]) -> Endpoint:
    """How a program is started; an empty endpoint if it does not fit, since half is wrong."""
    all_args = tuple(args)
    too_long = any(len(arg) > MAX_URL or _UNKEPT.search(arg) for arg in all_args)
    if not command or len(command) > MAX_COMMAND or len(all_args) > MAX_ARGS or too_long:
        return Endpoint()
    return Endpoint(command=text(command, MAX_COMMAND), args=all_args, env=env)


def labels(values: Mapping[str, Any]) -> dict[str, str]:
    """Labels from what is a text and fits; a shortened one would be a wrong one."""
    found = {key: text(value, MAX_LABEL_VALUE + 1) for key, value in values.items()}
    return {key: value for key, value in found.items() if 0 < len(value) <= MAX_LABEL_VALUE}


def capabilities(values: Any) -> tuple[str, ...]:
    """Tags, each once."""
    if not isinstance(values, list):
        return ()
    found = dict.fromkeys(text(one, MAX_SHORT) for one in values)
    return tuple(one for one in found if one)[:MAX_CAPABILITIES]


def tools(values: Any) -> tuple[Tool, ...]:
    """Tools by name, each once; without schemas if those are too large together."""
    found: dict[str, Tool] = {}
    for one in values if isinstance(values, list) else []:
        name = text(one.get("name"), MAX_NAME) if isinstance(one, dict) else ""
        if name and name not in found and len(found) < MAX_TOOLS:
            schema = pick(one, "inputSchema", "input_schema", "parameters")
            found[name] = Tool(name, long_text(one.get("description")), _schema(schema))
    if sum(map(_size, found.values())) <= MAX_TOOLS_BYTES:
        return tuple(found.values())
    bare = [Tool(tool.name, text(tool.description, MAX_SHORT)) for tool in found.values()]
    return tuple(bare)


def _schema(value: Any) -> Mapping[str, Any] | None:
    if not isinstance(value, dict):
        return None
    return None if _SURROGATE_OR_NUL.search(json.dumps(value, ensure_ascii=False)) else value


def _size(tool: Tool) -> int:
    return len(json.dumps(tool.input_schema)) + len(tool.description)
