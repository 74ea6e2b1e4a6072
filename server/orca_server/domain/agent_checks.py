"""Bounds of what may be said of an agent; collects every violation, never only the first."""

import json
import re

from orca_server.domain.agents import Content, Endpoint, Tool
from orca_server.domain.checks import (
    MAX_NAME,
    MAX_SHORT,
    MAX_URL,
    Violations,
    check_kebab_case,
    check_labels,
    check_name,
    check_range,
    url_problem,
)

MAX_LONG = 4000
MAX_VERSION = 100
MAX_COMMAND = 500
MAX_ARGS = 100
MAX_ENV = 100
MAX_CAPABILITIES = 200
MAX_TOOLS = 500
MAX_TOOLS_BYTES = 262_144
HEARTBEAT_SECONDS = (10, 2_592_000)
LATENCY_LIMIT_MS = (1, 3_600_000)

ENV_NAME = re.compile(r"[^\s=\x00-\x1f\x7f]{1,200}")
REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")

_UNSTORABLE = re.compile(r"\\u0000|[\ud800-\udfff]")
_SECRET_NAME = re.compile(
    r"(?i)(secret|token|passw|passphrase|[a-z0-9]_?pwd|api_?key|private_?key|access_?key(?!_?id)|auth_?key"
    r"|credential|bearer|authorization)"
)
# Names that speak of a secret and hold where it lies, or how it is made, not what it is.
_NOT_THE_SECRET = re.compile(r"(?i)(_|^)(file|path|dir|url|uri|endpoint|name|header|type|ttl)$")
_HARMLESS = re.compile(r"(?i)|true|false|yes|no|on|off|none|[0-9]{1,7}")
_URL_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def check_identity(violations: Violations, prefix: str, agent_type: str, name: str) -> None:
    """Checks an agent's type and name, which are both required."""
    check_kebab_case(violations, f"{prefix}type", agent_type, "mcp")
    check_name(violations, f"{prefix}name", name)


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
    check_tools(violations, f"{prefix}tools", content.tools)
    check_labels(violations, f"{prefix}labels", content.labels)
    heartbeat = content.heartbeat_interval_seconds
    if heartbeat is not None:
        check_range(violations, f"{prefix}heartbeat_interval_seconds", heartbeat, HEARTBEAT_SECONDS)


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


def check_tools(violations: Violations, name: str, tools: tuple[Tool, ...]) -> None:
    """Checks the tools that an agent offers; `name` is that of the list."""
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
