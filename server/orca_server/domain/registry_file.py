"""The operator's MCP registry file: YAML text -> the servers that it names.

Read strictly: an unknown or repeated key, a wrong type or a secret in plain text is an error that
names line and key, and then nothing of the file counts. All errors are told at once.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orca_server.domain import documents
from orca_server.domain.agent_checks import check_content
from orca_server.domain.agents import Content, Criticality, Endpoint
from orca_server.domain.checks import Violations, name_problem
from orca_server.domain.documents import Path, Unreadable, dotted
from orca_server.domain.errors import FieldViolation, NotAllowedNow

VERSION = "1.0.0"
AGENT_TYPE = "mcp"
MAX_SERVERS = 5000
MAX_BYTES = 8 * 1024 * 1024

TOP_KEYS = ("version", "servers")
SERVER_KEYS = (
    "name",
    "command",
    "args",
    "env",
    "capabilities",
    "description",
    "url",
    "owner",
    "labels",
    "criticality",
    "heartbeat_interval_seconds",
)
# What the file need not state, and operators may then set through the API.
OPTIONAL_FIELDS = ("criticality", "heartbeat_interval_seconds")


@dataclass(frozen=True, slots=True)
class FileServer:
    """A server that the file names.

    Attributes:
        name: Its key in the file: the agent's name.
        content: What the file says of it.
        stated: Which of OPTIONAL_FIELDS the file states.
    """

    name: str
    content: Content
    stated: frozenset[str] = frozenset()


def parse(content: bytes, path: str) -> tuple[FileServer, ...]:
    """The servers of a registry file.

    Args:
        content: The file's bytes.
        path: Its name, for messages.

    Raises:
        NotAllowedNow: If anything in it is wrong (`REGISTRY_FILE_INVALID`).
    """
    if len(content) > MAX_BYTES:
        raise _invalid(path, [_told("", "TOO_LONG", f"it has more than {MAX_BYTES:,} bytes", 0)])
    try:
        document = documents.read_yaml(documents.decode(content))
    except Unreadable as error:
        found = _told(dotted(error.path), "INVALID_FORMAT", error.message, error.line)
        raise _invalid(path, [found]) from None
    reader = _FileReader(document.lines)
    servers = reader.servers(document.value)
    if reader.found:
        raise _invalid(path, reader.found)
    return servers


class _FileReader:
    """Reads plain values, and collects what is wrong with them."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self._lines = lines
        self._by_name = {dotted(path): line for path, line in lines.items()}
        self.found: list[FieldViolation] = []

    def servers(self, value: Any) -> tuple[FileServer, ...]:
        if not isinstance(value, dict):
            self._add((), "INVALID_TYPE", "must be a map with 'version' and 'servers'")
            return ()
        self._unknown((), value, TOP_KEYS)
        self._version(value)
        if "servers" not in value:
            self._add(("servers",), "REQUIRED", "is missing; write 'servers: {}' for none")
            return ()
        servers = value["servers"]
        if not isinstance(servers, dict):
            self._add(
                ("servers",), "INVALID_TYPE", "must be a map by name; write 'servers: {}' for none"
            )
            return ()
        if len(servers) > MAX_SERVERS:
            self._add(("servers",), "TOO_MANY", f"has more than {MAX_SERVERS} servers")
            return ()
        return tuple(self._server(name, server) for name, server in servers.items())

    def _version(self, value: Mapping[str, Any]) -> None:
        if "version" not in value:
            self._add(("version",), "REQUIRED", f'is missing; write version: "{VERSION}"')
        elif value["version"] != VERSION:
            self._add(("version",), "UNSUPPORTED", f'must be "{VERSION}", in quotes')

    def _server(self, name: str, value: Any) -> FileServer:
        path: Path = ("servers", name)
        if problem := name_problem(name):
            self._add(path, *problem)
        if not isinstance(value, dict):
            self._add(path, "INVALID_TYPE", "must be a map")
            return FileServer(name, Content())
        self._unknown(path, value, SERVER_KEYS)
        content = Content(
            display_name=self._text(path, value, "name"),
            description=self._text(path, value, "description"),
            owner=self._text(path, value, "owner"),
            endpoint=Endpoint(
                url=self._text(path, value, "url"),
                command=self._text(path, value, "command"),
                args=self._texts(path, value, "args"),
                env=self._map(path, value, "env"),
            ),
            capabilities=self._texts(path, value, "capabilities"),
            labels=self._map(path, value, "labels"),
            criticality=self._criticality(path, value),
            heartbeat_interval_seconds=self._seconds(path, value),
        )
        self._check(path, content)
        return FileServer(name, content, frozenset(OPTIONAL_FIELDS) & set(value))

    def _check(self, path: Path, content: Content) -> None:
        """The bounds of the API, told in the file's words."""
        violations = Violations()
        prefix = f"{dotted(path)}."
        check_content(violations, prefix, content)
        for one in violations.found:
            name = one.field.removeprefix(prefix)
            name = name.removeprefix("endpoint.").replace("display_name", "name")
            where = dotted(path) if name == "endpoint" else prefix + name
            line = self._by_name.get(where) or self._lines.get(path, 0)
            self.found.append(_told(where, one.reason, one.message, line))

    def _text(self, path: Path, value: Mapping[str, Any], key: str) -> str:
        found = value.get(key, "")
        if isinstance(found, str):
            return found
        self._add((*path, key), "INVALID_TYPE", "must be a text")
        return ""

    def _texts(self, path: Path, value: Mapping[str, Any], key: str) -> tuple[str, ...]:
        found = value.get(key, [])
        if not isinstance(found, list):
            self._add((*path, key), "INVALID_TYPE", "must be a list of texts")
            return ()
        for index, one in enumerate(found):
            if not isinstance(one, str):
                self._add((*path, key, index), "INVALID_TYPE", "must be a text: put it in quotes")
        return tuple(one for one in found if isinstance(one, str))

    def _map(self, path: Path, value: Mapping[str, Any], key: str) -> Mapping[str, str]:
        found = value.get(key, {})
        if not isinstance(found, dict):
            self._add((*path, key), "INVALID_TYPE", "must be a map of texts")
            return {}
        for name, one in found.items():
            if not isinstance(one, str):
                self._add((*path, key, name), "INVALID_TYPE", "must be a text: put it in quotes")
        return {name: one for name, one in found.items() if isinstance(one, str)}

    def _criticality(self, path: Path, value: Mapping[str, Any]) -> Criticality:
        found = value.get("criticality", Criticality.NORMAL)
        if found in list(Criticality):
            return Criticality(found)
        known = ", ".join(Criticality)
        self._add((*path, "criticality"), "INVALID_VALUE", f"must be one of {known}")
        return Criticality.NORMAL

    def _seconds(self, path: Path, value: Mapping[str, Any]) -> int | None:
        found = value.get("heartbeat_interval_seconds")
        if found is None or (isinstance(found, int) and not isinstance(found, bool)):
            return found
        self._add((*path, "heartbeat_interval_seconds"), "INVALID_TYPE", "must be whole seconds")
        return None

    def _unknown(self, path: Path, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
                self._add((*path, key), "UNKNOWN_KEY", f"unknown key ({hint})")

    def _add(self, path: Path, reason: str, message: str) -> None:
        line = self._lines.get(path) or self._lines.get(path[:-1], 0)
        self.found.append(_told(dotted(path), reason, message, line))


def _told(key: str, reason: str, message: str, line: int) -> FieldViolation:
    return FieldViolation(key, reason, f"line {line}: {message}" if line else message)


def _invalid(path: str, found: list[FieldViolation]) -> NotAllowedNow:
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    key = f"{first.field}: " if first.field else ""
    return NotAllowedNow(
        "REGISTRY_FILE_INVALID",
        f"{path}: {key}{first.message}{more}. Nothing was changed.",
        {"path": path, "key": first.field},
        violations=found,
    )
