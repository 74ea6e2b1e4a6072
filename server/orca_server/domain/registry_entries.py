"""Entries of public registries: a document -> catalogue entries.

Known forms: the official MCP registry's `server.json` (the first form of 2025-05 with
`version_detail` and `registry_name`, the current one with `registryType` and `identifier`, and
those between), alone, in a list, or in a page `{"servers": [...]}`, bare or wrapped as
`{"server": ..., "_meta": ...}`; and the `server.yaml` of Docker's registry, all of its types.
Read leniently: they are other people's, so what does not fit is left out, and only an entry that
cannot be used is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orca_server.domain import docker_entry, documents, official_entry
from orca_server.domain.agent_checks import check_content
from orca_server.domain.agents import Content
from orca_server.domain.checks import Violations, name_problem
from orca_server.domain.documents import Unreadable
from orca_server.domain.entry_values import mapping, text
from orca_server.domain.errors import InvalidRequest
from orca_server.domain.stamps import Stamp

MAX_BYTES = 8 * 1024 * 1024
MAX_ENTRIES = 1000
DOCKER_TYPES = ("server", "remote", "poci")


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that is not taken; `index` is its position in the document."""

    index: int
    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a public registry, as an agent."""

    index: int
    name: str
    content: Content
    stamp: Stamp


@dataclass(slots=True)
class Entries:
    """What a document holds.

    Attributes:
        taken: The newest version of each name, in order of appearance.
        older: Entries that are older versions of those.
        refused: Entries that cannot be used.
    """

    taken: list[Entry] = field(default_factory=list)
    older: int = 0
    refused: list[Refused] = field(default_factory=list)


def parse(content: bytes, content_type: str = "") -> Entries:
    """The entries of a document.

    Raises:
        InvalidRequest: `DOCUMENT_INVALID` if it is no known form, `DOCUMENT_TOO_LARGE`.
    """
    if len(content) > MAX_BYTES:
        raise InvalidRequest(
            "DOCUMENT_TOO_LARGE",
            f"It has {len(content):,} bytes, at most {MAX_BYTES:,} are allowed: split it.",
        )
    try:
        raw = _entries(documents.read(content, content_type))
    except Unreadable as error:
        where = f"line {error.line}: " if error.line else ""
        raise _invalid(f"{where}{error.message}", {"line": str(error.line)}) from None
    if len(raw) > MAX_ENTRIES:
        raise InvalidRequest(
            "DOCUMENT_TOO_LARGE",
            f"The document has {len(raw)} entries, at most {MAX_ENTRIES} are allowed; split it.",
            {"entries": str(len(raw))},
        )
    return _sorted(raw)


def _entries(document: Any) -> Sequence[Any]:
    """The raw entries of any known form."""
    match document:
        case list():
            return document
        case {"servers": list(servers)}:
            return servers
        case {"servers": dict()}:
            raise _invalid(
                "'servers' is a map, as in a registry file of one's own; that one is read from"
                " MCP_REGISTRY_PATH, here an entry or a list of entries is expected"
            )
        case {"server": dict()} | {"name": _} | {"type": _} | {"$schema": _}:
            return [document]
        case {"packages": _} | {"remotes": _} | {"version_detail": _} | {"about": _}:
            return [document]
        case _:
            raise _invalid(
                'it is no known form: expected a server.json, a page {"servers": [...]}, a list,'
                " or a server.yaml of Docker's"
            )


def _sorted(raw: Sequence[Any]) -> Entries:
    """Sorts entries into taken, older and refused."""
    found = Entries()
    newest: dict[str, Entry] = {}
    for index, one in enumerate(raw):
        entry = _entry(index, one)
        if isinstance(entry, Refused):
            found.refused.append(entry)
            continue
        known = newest.get(entry.name)
        if known is not None:
            found.older += 1
        if known is None or known.stamp.is_older_than(entry.stamp):
            newest[entry.name] = entry
    found.taken = list(newest.values())
    return found


def _entry(index: int, raw: Any) -> Entry | Refused:
    if not isinstance(raw, dict):
        return Refused(index, "", "ENTRY_INVALID", "is no object")
    wrapped = mapping(raw, "server") if isinstance(raw.get("server"), dict) else raw
    name = wrapped.get("name")
    told = text(name, 100) if isinstance(name, str) else ""
    if name is None or name == "":
        return Refused(index, "", "NAME_MISSING", "has no name")
    if not isinstance(name, str) or name_problem(name):
        problem = name_problem(name) if isinstance(name, str) else None
        message = problem[1] if problem else "is no text"
        return Refused(index, told, "INVALID_NAME", f"its name {message}")
    if _is_docker(wrapped):
        content, stamp = docker_entry.content(wrapped), Stamp()
    else:
        meta = mapping(raw, "_meta") or mapping(wrapped, "_meta")
        if official_entry.status(wrapped, meta) == "deleted":
            return Refused(index, name, "DELETED", "its registry has deleted it")
        content, stamp = official_entry.content(wrapped, meta), official_entry.stamp(wrapped, meta)
    return _checked(Entry(index, name, content, stamp))


def _checked(entry: Entry) -> Entry | Refused:
    """The entry, held to the bounds of every agent."""
    violations = Violations()
    check_content(violations, "", entry.content)
    if violations.found:
        first = violations.found[0]
        message = f"{first.field}: {first.message}"
        return Refused(entry.index, entry.name, "ENTRY_INVALID", message)
    return entry


def _is_docker(entry: Mapping[str, Any]) -> bool:
    if entry.get("type") not in DOCKER_TYPES:
        return False
    return not any(key in entry for key in ("packages", "remotes", "version_detail", "$schema"))


def _invalid(message: str, about: Mapping[str, str] | None = None) -> InvalidRequest:
    return InvalidRequest("DOCUMENT_INVALID", f"The document cannot be read: {message}.", about)
