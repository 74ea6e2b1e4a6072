"""Bounds of what may be said of an agent; collects every violation, never only the first."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orca_server.domain.agents import Content, Endpoint, Tool
from orca_server.domain.errors import FieldViolation, invalid_fields

MAX_NAME = 200
MAX_SHORT = 200
MAX_LONG = 4000
MAX_VERSION = 100
MAX_REASON = 500
MAX_URL = 2000
MAX_COMMAND = 500
MAX_ARGS = 100
MAX_ENV = 100
MAX_CAPABILITIES = 200
MAX_TOOLS = 500
MAX_LABELS = 64
MAX_LABEL_VALUE = 255
MAX_TOOLS_BYTES = 262_144
HEARTBEAT_SECONDS = (10, 2_592_000)
LATENCY_LIMIT_MS = (1, 3_600_000)

TYPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
LABEL_KEY = re.compile(r"[A-Za-z0-9._-]{1,63}")
ENV_NAME = re.compile(r"[^\s=\x00-\x1f\x7f]{1,200}")
REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSTORABLE = re.compile(r"\\u0000|[\ud800-\udfff]")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SECRET_NAME = re.compile(
    r"(?i)(secret|token|passw|passphrase|[a-z0-9]_?pwd|api_?key|private_?key|access_?key(?!_?id)|auth_?key"
    r"|credential|bearer|authorization)"
)
# Names that speak of a secret and hold where it lies, or how it is made, not what it is.
_NOT_THE_SECRET = re.compile(r"(?i)(_|^)(file|path|dir|url|uri|endpoint|name|header|type|ttl)$")
_HARMLESS = re.compile(r"(?i)|true|false|yes|no|on|off|none|[0-9]{1,7}")
_URL_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


@dataclass(slots=True)
class Violations:
    """Collects what is wrong with one request."""

    found: list[FieldViolation] = field(default_factory=list)

    def add(self, name: str, reason: str, message: str) -> None:
        """Notes one wrong field."""
        self.found.append(FieldViolation(name, reason, message))

    def refuse(self) -> None:
        """Refuses the request if anything was found.

        Raises:
            InvalidRequest: With all violations (`FIELD_INVALID`).
        """
        if self.found:
            raise invalid_fields(self.found)

    def text(self, name: str, value: str, most: int, *, lines: bool = False) -> None:
        """Checks a text's length and characters; `lines` allows tab and line breaks."""
        if len(value) > most:
            self.add(name, "TOO_LONG", f"has {len(value)} characters, at most {most} are allowed")
        if (_CONTROL_BUT_LINES if lines else _CONTROL).search(value):
            self.add(name, "INVALID_FORMAT", "contains a control character")

    def count(self, name: str, size: int, most: int) -> None:
        """Checks how many entries there are."""
        if size > most:
            self.add(name, "TOO_MANY", f"has {size} entries, at most {most} are allowed")

    def unique(self, name: str, values: Iterable[str]) -> None:
        """Checks that no value stands twice."""
        seen: set[str] = set()
        for value in values:
            if value in seen:
                self.add(name, "DUPLICATE", f"'{value[:100]}' stands there twice")
                return
            seen.add(value)


def check_identity(violations: Violations, prefix: str, agent_type: str, name: str) -> None:
    """Checks an agent's type and name, which are both required."""
    if not agent_type:
        violations.add(f"{prefix}type", "REQUIRED", "is required")
    elif not TYPE.fullmatch(agent_type):
        violations.add(
            f"{prefix}type", "INVALID_FORMAT", "must be kebab-case, 1 to 63 characters, like 'mcp'"
        )
    if not name:
        violations.add(f"{prefix}name", "REQUIRED", "is required")
    elif problem := name_problem(name):
        violations.add(f"{prefix}name", *problem)


def name_problem(name: str) -> tuple[str, str] | None:
    """Reason and message if a text cannot be an agent's name."""
    if not name:
        return "REQUIRED", "is required"
    if len(name) > MAX_NAME:
        return "TOO_LONG", f"has {len(name)} characters, at most {MAX_NAME} are allowed"
    if _SPACE_OR_CONTROL.search(name):
        return "INVALID_FORMAT", "contains white space or a control character"
    return None


def check_reason(violations: Violations, reason: str) -> None:
    """Checks the reason that goes into the audit log."""
    violations.text("reason", reason, MAX_REASON, lines=True)


def check_content(violations: Violations, prefix: str, content: Content) -> None:
    """Checks all that is said of an agent; `prefix` stands before each field's name."""
    violations.text(f"{prefix}display_name", content.display_name, MAX_SHORT)
    violations.text(f"{prefix}description", content.description, MAX_LONG, lines=True)
    violations.text(f"{prefix}owner", content.owner, MAX_SHORT)
    violations.text(f"{prefix}version", content.version, MAX_VERSION)
    check_endpoint(violations, f"{prefix}endpoint", content.endpoint)
    violations.count(f"{prefix}capabilities", len(content.capabilities), MAX_CAPABILITIES)
    for index, capability in enumerate(content.capabilities[:MAX_CAPABILITIES]):
        name = f"{prefix}capabilities[{index}]"
        if not capability:
            violations.add(name, "REQUIRED", "is empty")
        violations.text(name, capability, MAX_SHORT)
    _check_tools(violations, f"{prefix}tools", content.tools)
    check_labels(violations, f"{prefix}labels", content.labels)
    heartbeat = content.heartbeat_interval_seconds
    if heartbeat is not None:
        check_range(violations, f"{prefix}heartbeat_interval_seconds", heartbeat, HEARTBEAT_SECONDS)


def check_range(
    violations: Violations, name: str, value: float, bounds: tuple[float, float]
) -> bool:
    """Checks that a number lies in bounds, ends included; NaN lies nowhere."""
    if bounds[0] <= value <= bounds[1]:
        return True
    violations.add(name, "OUT_OF_RANGE", f"must be from {bounds[0]:,} to {bounds[1]:,}")
    return False


def check_labels(violations: Violations, name: str, labels: Mapping[str, str]) -> None:
    """Checks keys, values and number of labels."""
    violations.count(name, len(labels), MAX_LABELS)
    for key, value in list(labels.items())[:MAX_LABELS]:
        if not LABEL_KEY.fullmatch(key):
            violations.add(
                f"{name}.{key[:63]}",
                "INVALID_FORMAT",
                "a key has 1 to 63 characters: letters, digits, '.', '_', '-'",
            )
        violations.text(f"{name}.{key[:63]}", value, MAX_LABEL_VALUE)


def check_endpoint(violations: Violations, name: str, endpoint: Endpoint) -> None:
    """Checks how an agent is reached, and that no secret stands there in plain text."""
    if endpoint.url and endpoint.command:
        violations.add(name, "EXCLUSIVE", "has both url and command; one of them is allowed")
    if endpoint.url and (problem := url_problem(endpoint.url)):
        violations.add(f"{name}.url", *problem)
    violations.text(f"{name}.command", endpoint.command, MAX_COMMAND)
    if not endpoint.command and endpoint.args:
        violations.add(f"{name}.args", "REQUIRED", "needs a command")
    violations.count(f"{name}.args", len(endpoint.args), MAX_ARGS)
    for index, arg in enumerate(endpoint.args[:MAX_ARGS]):
        violations.text(f"{name}.args[{index}]", arg, MAX_URL, lines=True)
    violations.count(f"{name}.env", len(endpoint.env), MAX_ENV)
    for key, value in list(endpoint.env.items())[:MAX_ENV]:
        path = f"{name}.env.{key[:63]}"
        if not ENV_NAME.fullmatch(key):
            violations.add(path, "INVALID_FORMAT", "is no name of an environment variable")
        violations.text(path, value, MAX_URL, lines=True)
        if is_plain_secret(key, value):
            violations.add(
                path, "SECRET_IN_PLAIN_TEXT", f"holds a secret; write a reference: ${{{key[:63]}}}"
            )


def is_plain_secret(name: str, value: str) -> bool:
    """Whether an environment variable seems to hold a secret itself, not a reference to it."""
    if _URL_PASSWORD.search(REFERENCE.sub("", value)):
        return True
    if not _SECRET_NAME.search(name) or _NOT_THE_SECRET.search(name):
        return False
    return not (REFERENCE.search(value) or _HARMLESS.fullmatch(value))


def url_problem(url: str) -> tuple[str, str] | None:
    """Reason and message if a text is no HTTP(S) address that may be kept."""
    if len(url) > MAX_URL:
        return "TOO_LONG", f"has {len(url)} characters, at most {MAX_URL} are allowed"
    if _SPACE_OR_CONTROL.search(url):
        return "INVALID_FORMAT", "contains white space or a control character"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "INVALID_FORMAT", "is no valid address"
    if parts.scheme not in ("http", "https") or not host:
        return "INVALID_FORMAT", "must be an http:// or https:// address with a host"
    if "@" in parts.netloc:
        return "SECRET_IN_PLAIN_TEXT", "contains a user or password; leave them out"
    return None


def _check_tools(violations: Violations, name: str, tools: tuple[Tool, ...]) -> None:
    violations.count(name, len(tools), MAX_TOOLS)
    size = 0
    for index, tool in enumerate(tools[:MAX_TOOLS]):
        path = f"{name}[{index}]"
        if not tool.name:
            violations.add(f"{path}.name", "REQUIRED", "is required")
        violations.text(f"{path}.name", tool.name, MAX_NAME)
        violations.text(f"{path}.description", tool.description, MAX_LONG, lines=True)
        schema = json.dumps(tool.input_schema, ensure_ascii=False)
        if _UNSTORABLE.search(schema):
            violations.add(f"{path}.input_schema", "INVALID_FORMAT", "contains a NUL character")
        size += len(schema) + len(tool.description)
    violations.unique(name, (tool.name for tool in tools))
    if size > MAX_TOOLS_BYTES:
        violations.add(
            name, "TOO_LONG", f"has {size:,} bytes together, at most {MAX_TOOLS_BYTES:,} allowed"
        )
