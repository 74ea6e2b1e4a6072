"""Bounds of what is said of an agent."""

import pytest

from orca_server.domain.agent_checks import check_content, check_identity, is_plain_secret
from orca_server.domain.agents import (
    Content,
    Endpoint,
    Tool,
)
from orca_server.domain.checks import Violations, url_problem


def violations_of(content: Content) -> list[tuple[str, str]]:
    violations = Violations()
    check_content(violations, "agent.", content)
    return [(one.field, one.reason) for one in violations.found]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Content(), []),
        (Content(display_name="x" * 200, description="y" * 4000, version="v" * 100), []),
        (Content(display_name="x" * 201), [("agent.display_name", "TOO_LONG")]),
        (Content(description="x" * 4001), [("agent.description", "TOO_LONG")]),
        (Content(owner="x" * 201), [("agent.owner", "TOO_LONG")]),
        (Content(version="x" * 101), [("agent.version", "TOO_LONG")]),
        (Content(description="a\n\tb"), []),
        (Content(description="a\0b"), [("agent.description", "INVALID_FORMAT")]),
        (Content(display_name="a\nb"), [("agent.display_name", "INVALID_FORMAT")]),
        (Content(owner="\ud800"), [("agent.owner", "INVALID_FORMAT")]),
        (Content(capabilities=("",)), [("agent.capabilities[0]", "REQUIRED")]),
        (Content(capabilities=("x",) * 201), [("agent.capabilities", "TOO_MANY")]),
        (Content(tools=(Tool("a"), Tool("a"))), [("agent.tools", "DUPLICATE")]),
        (Content(tools=(Tool(""),)), [("agent.tools[0].name", "REQUIRED")]),
        (Content(tools=(Tool("a", "b" * 4001),)), [("agent.tools[0].description", "TOO_LONG")]),
        (
            Content(tools=(Tool("a", input_schema={"x": "\0"}),)),
            [("agent.tools[0].input_schema", "INVALID_FORMAT")],
        ),
        (
            Content(tools=(Tool("a", input_schema={"x": "y" * 262_144}),)),
            [("agent.tools", "TOO_LONG")],
        ),
        (Content(labels={"a b": "c"}), [("agent.labels.a b", "INVALID_FORMAT")]),
        (Content(labels={"a": "c" * 256}), [("agent.labels.a", "TOO_LONG")]),
        (Content(labels={f"k{n}": "" for n in range(65)}), [("agent.labels", "TOO_MANY")]),
        (
            Content(heartbeat_interval_seconds=9),
            [("agent.heartbeat_interval_seconds", "OUT_OF_RANGE")],
        ),
        (Content(heartbeat_interval_seconds=10), []),
        (Content(heartbeat_interval_seconds=2_592_000), []),
        (
            Content(heartbeat_interval_seconds=2_592_001),
            [("agent.heartbeat_interval_seconds", "OUT_OF_RANGE")],
        ),
        (
            Content(endpoint=Endpoint(url="http://x", command="y")),
            [("agent.endpoint", "EXCLUSIVE")],
        ),
        (Content(endpoint=Endpoint(args=("x",))), [("agent.endpoint.args", "REQUIRED")]),
        (
            Content(endpoint=Endpoint(command="x", args=("y",) * 101)),
            [("agent.endpoint.args", "TOO_MANY")],
        ),
        (
            Content(endpoint=Endpoint(env={"A=B": "x"})),
            [("agent.endpoint.env.A=B", "INVALID_FORMAT")],
        ),
        (
            Content(endpoint=Endpoint(env={"API_KEY": "sk-1"})),
            [("agent.endpoint.env.API_KEY", "SECRET_IN_PLAIN_TEXT")],
        ),
        (
            Content(owner="x" * 201, version="x" * 101, labels={"": ""}),
            [
                ("agent.owner", "TOO_LONG"),
                ("agent.version", "TOO_LONG"),
                ("agent.labels.", "INVALID_FORMAT"),
            ],
        ),
    ],
)
def test_bounds_of_what_is_said(content: Content, expected: list[tuple[str, str]]) -> None:
    assert violations_of(content) == expected


@pytest.mark.parametrize(
    ("agent_type", "name", "expected"),
    [
        ("mcp", "io.github.x/y", []),
        ("a" * 63, "n" * 200, []),
        ("", "", ["REQUIRED", "REQUIRED"]),
        ("a" * 64, "x", ["INVALID_FORMAT"]),
        ("MCP", "x", ["INVALID_FORMAT"]),
        ("-mcp", "x", ["INVALID_FORMAT"]),
        ("mcp", "n" * 201, ["TOO_LONG"]),
        ("mcp", "a b", ["INVALID_FORMAT"]),
        ("mcp", "a\u00a0b", ["INVALID_FORMAT"]),
        ("mcp", "a\0b", ["INVALID_FORMAT"]),
        ("mcp", "größe", []),
    ],
)
def test_type_and_name(agent_type: str, name: str, expected: list[str]) -> None:
    violations = Violations()
    check_identity(violations, "", agent_type, name)
    assert [one.reason for one in violations.found] == expected


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("API_KEY", "sk-123", True),
        ("GITHUB_TOKEN", "ghp_x", True),
        ("DB_PASSWORD", "hunter2", True),
        ("client_secret", "x", True),
        ("AUTHORIZATION", "Bearer abc", True),
        ("TOKEN", "${TOKEN:-fallback}", True),
        ("DATABASE_URL", "postgres://u:p@host/db", True),
        ("API_KEY", "${API_KEY}", False),
        ("AUTHORIZATION", "Bearer ${TOKEN}", False),
        ("DATABASE_URL", "postgres://u:${PASSWORD}@host/db", False),
        ("MAX_TOKENS", "4096", False),
        ("USE_TOKEN", "true", False),
        ("TOKEN_FILE", "/run/secrets/token", False),
        ("TOKEN_URL", "https://example.com/token", False),
        ("AWS_ACCESS_KEY_ID", "AKIA", False),
        ("LOG_LEVEL", "debug", False),
        ("PWD", "/srv", False),
        ("API_KEY", "", False),
    ],
)
def test_secrets_in_plain_text(name: str, value: str, secret: bool) -> None:
    assert is_plain_secret(name, value) is secret


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.com/mcp", None),
        ("http://localhost:8000/sse", None),
        ("https://mcp.example.com/{tenant}?key=<YOUR_TOKEN>", None),
        ("https://[::1]:80/", None),
        ("https://u:p@example.com", "SECRET_IN_PLAIN_TEXT"),
        ("https://u@example.com", "SECRET_IN_PLAIN_TEXT"),
        ("ftp://example.com", "INVALID_FORMAT"),
        ("https://", "INVALID_FORMAT"),
        ("https://[::1", "INVALID_FORMAT"),
        ("https://x:99999999/", "INVALID_FORMAT"),
        ("https://a b", "INVALID_FORMAT"),
        ("javascript:alert(1)", "INVALID_FORMAT"),
        ("https://x/" + "y" * 2000, "TOO_LONG"),
    ],
)
def test_addresses(url: str, reason: str | None) -> None:
    problem = url_problem(url)
    assert (problem[0] if problem else None) == reason
