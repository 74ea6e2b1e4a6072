"""States of an agent, what may be said of it, and by whom."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain import agents
from orca_server.domain.agent_checks import check_content, check_identity, is_plain_secret
from orca_server.domain.agents import (
    UPDATABLE,
    Agent,
    AgentState,
    Content,
    Criticality,
    Endpoint,
    Source,
    Tool,
)
from orca_server.domain.checks import Violations, url_problem
from orca_server.domain.errors import Conflict, InvalidRequest, NotAllowedNow, OrcaError
from orca_server.domain.etags import check_etag, etag
from orca_server.domain.ids import uuid7
from orca_server.domain.update_masks import Change, apply, read_mask
from orca_server.runtime.new_ids import new_id

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


def agent(state: AgentState = AgentState.ACTIVE, **fields: Any) -> Agent:
    gone = state in (AgentState.SUSPENDED, AgentState.RETIRED)
    times = {"left_at": NOW - timedelta(days=1), "counted_until": NOW + timedelta(days=6)}
    return Agent(
        **{
            "id": UUID(int=7),
            "type": "mcp",
            "name": "github",
            "state": state,
            "source": Source.API,
            **(times if gone else {}),
            **fields,
        }
    )


MOVES = {
    "suspend": lambda one: agents.suspend(one, NOW),
    "resume": agents.resume,
    "retire": lambda one: agents.retire(one, NOW),
    "enrol": agents.enrol,
}
C, A, S, R = AgentState.CATALOG, AgentState.ACTIVE, AgentState.SUSPENDED, AgentState.RETIRED


@pytest.mark.parametrize(
    ("move", "before", "after"),
    [
        ("suspend", A, S),
        ("suspend", S, S),
        ("suspend", R, "AGENT_RETIRED"),
        ("suspend", C, "AGENT_IN_CATALOG"),
        ("resume", A, A),
        ("resume", S, A),
        ("resume", R, A),
        ("resume", C, "AGENT_IN_CATALOG"),
        ("retire", A, R),
        ("retire", S, R),
        ("retire", R, R),
        ("retire", C, "AGENT_IN_CATALOG"),
        ("enrol", A, A),
        ("enrol", S, "AGENT_NOT_IN_CATALOG"),
        ("enrol", R, "AGENT_NOT_IN_CATALOG"),
        ("enrol", C, A),
    ],
)
def test_every_state_and_move(move: str, before: AgentState, after: AgentState | str) -> None:
    one = agent(before)
    if isinstance(after, AgentState):
        moved = MOVES[move](one)
        assert moved.state is after
        assert MOVES[move](moved) == moved
    else:
        with pytest.raises(NotAllowedNow) as caught:
            MOVES[move](one)
        assert caught.value.reason == after


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", AgentState)
def test_only_agents_that_left_carry_the_times_of_leaving(move: str, state: AgentState) -> None:
    try:
        moved = MOVES[move](agent(state))
    except NotAllowedNow:
        return
    gone = moved.state in (AgentState.SUSPENDED, AgentState.RETIRED)
    assert (moved.left_at is not None) == gone
    assert (moved.counted_until is not None) == gone


def test_a_suspended_agent_counts_for_seven_days() -> None:
    suspended = agents.suspend(agent(), NOW)
    assert (suspended.left_at, suspended.counted_until) == (NOW, NOW + WEEK)


def test_retiring_a_suspended_agent_starts_the_stay_anew_and_keeps_when_it_left() -> None:
    suspended = agents.suspend(agent(), NOW - timedelta(days=3))
    retired = agents.retire(suspended, NOW)
    assert (retired.left_at, retired.counted_until) == (NOW - timedelta(days=3), NOW + WEEK)


def test_retiring_an_agent_whose_stay_is_over_does_not_bring_it_back_into_the_means() -> None:
    suspended = agents.suspend(agent(), NOW - timedelta(days=8))
    assert agents.retire(suspended, NOW).counted_until == NOW - timedelta(days=1)


def test_an_etag_belongs_to_one_version_of_one_agent() -> None:
    one = agent()
    assert etag(one.id, 1) != etag(one.id, 2)
    assert etag(one.id, 1) != etag(UUID(int=8), 1)
    check_etag("agent", one.id, one.revision, "")
    check_etag("agent", one.id, one.revision, etag(one.id, one.revision))
    with pytest.raises(Conflict) as caught:
        check_etag("agent", one.id, one.revision, etag(one.id, 2))
    assert caught.value.reason == "ETAG_MISMATCH"


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({"display_name": "x"}, False),
        ({"description": "x"}, False),
        ({"owner": "x"}, False),
        ({"endpoint": Endpoint(url="http://x")}, False),
        ({"capabilities": ("x",)}, False),
        ({"labels": {"a": "b"}}, False),
        ({"tools": (Tool("x"),)}, True),
        ({"version": "2"}, True),
        ({"criticality": Criticality.LOW}, True),
        ({"heartbeat_interval_seconds": 60}, True),
        ({"latency_limit_us": 5}, True),
        ({}, True),
    ],
    ids=str,
)
def test_the_registry_file_owns_what_it_says(change: dict[str, Any], allowed: bool) -> None:
    one = agent(source=Source.FILE)
    new = replace(one.content, **change)
    assert agents.with_content(agent(), new).content == new
    if allowed:
        assert agents.with_content(one, new).content == new
    else:
        with pytest.raises(NotAllowedNow) as caught:
            agents.with_content(one, new)
        assert caught.value.reason == "AGENT_OWNED_BY_FILE"
        assert caught.value.metadata["fields"] == next(iter(change))


@pytest.mark.parametrize(
    ("fields", "moves"),
    [
        ({"state": AgentState.SUSPENDED}, True),
        ({"content": Content(criticality=Criticality.CRITICAL)}, True),
        ({"content": Content(heartbeat_interval_seconds=60)}, True),
        ({"content": Content(latency_limit_us=1000)}, True),
        ({"content": Content(description="x", labels={"a": "b"})}, False),
        ({"source": Source.FILE}, False),
    ],
    ids=str,
)
def test_which_changes_move_trust(fields: dict[str, Any], moves: bool) -> None:
    assert agents.moves_trust(agent(), replace(agent(), **fields)) is moves


def test_changes_name_each_field_with_before_and_after() -> None:
    old = agent(content=Content(owner="a", tools=(Tool("x"),)))
    new = replace(
        old, state=AgentState.SUSPENDED, content=Content(owner="b", endpoint=Endpoint(url="u"))
    )
    assert agents.changes(old, new) == {
        "state": ["ACTIVE", "SUSPENDED"],
        "owner": ["a", "b"],
        "tools": [["x"], []],
        "endpoint": [
            {"url": "", "command": "", "args": [], "env": {}},
            {"url": "u", "command": "", "args": [], "env": {}},
        ],
    }


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


READ_ONLY = {"state", "source", "trust_level"}


@pytest.mark.parametrize(
    ("paths", "changes", "identity"),
    [
        (["display_name"], [Change("display_name")], []),
        (
            ["displayName", "latencyLimitMs"],
            [Change("display_name"), Change("latency_limit_ms")],
            [],
        ),
        (["labels.team.a"], [Change("labels", "team.a")], []),
        (["endpoint.url"], [Change("endpoint", "url")], []),
        (["id", "type", "name", "etag"], [], ["id", "type", "name"]),
    ],
)
def test_masks(paths: list[str], changes: list[Change], identity: list[str]) -> None:
    assert read_mask(UPDATABLE, paths, READ_ONLY) == (changes, identity)


def test_a_star_means_every_field_that_can_change() -> None:
    changes, _ = read_mask(UPDATABLE, ["*"], READ_ONLY)
    assert {change.field for change in changes} == set(UPDATABLE.mutable)


@pytest.mark.parametrize(
    ("paths", "reason", "fields"),
    [
        (["foo", "state"], "FIELD_INVALID", ["update_mask"]),
        ([""], "FIELD_INVALID", ["update_mask"]),
        (["endpoint.foo"], "FIELD_INVALID", ["update_mask"]),
        (["display_name.x"], "FIELD_INVALID", ["update_mask"]),
        (["labels."], "FIELD_INVALID", ["update_mask"]),
        (["state", "source"], "FIELD_IMMUTABLE", ["state", "source"]),
    ],
)
def test_masks_that_are_refused(paths: list[str], reason: str, fields: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_mask(UPDATABLE, paths, READ_ONLY)
    assert caught.value.reason == reason
    assert [one.field for one in caught.value.violations] == fields


OLD = Content(owner="a", labels={"x": "1", "y": "2"}, endpoint=Endpoint(command="c", args=("d",)))


@pytest.mark.parametrize(
    ("new", "changes", "expected"),
    [
        (Content(owner="b", version="9"), [Change("owner")], replace(OLD, owner="b")),
        (Content(), [Change("owner")], replace(OLD, owner="")),
        (
            Content(labels={"x": "3", "z": "4"}),
            [Change("labels", "x")],
            replace(OLD, labels={"x": "3", "y": "2"}),
        ),
        (Content(), [Change("labels", "x")], replace(OLD, labels={"y": "2"})),
        (Content(labels={"z": "4"}), [Change("labels")], replace(OLD, labels={"z": "4"})),
        (
            Content(endpoint=Endpoint(args=("e",))),
            [Change("endpoint", "args")],
            replace(OLD, endpoint=Endpoint(command="c", args=("e",))),
        ),
        (
            Content(latency_limit_us=5),
            [Change("latency_limit_ms")],
            replace(OLD, latency_limit_us=5),
        ),
    ],
)
def test_applying_changes(new: Content, changes: list[Change], expected: Content) -> None:
    assert apply(UPDATABLE, OLD, new, changes) == expected


@given(st.lists(st.text(max_size=30), max_size=8))
def test_no_mask_is_more_than_refused(paths: list[str]) -> None:
    reason = ""
    try:
        changes, _ = read_mask(UPDATABLE, paths, READ_ONLY)
        apply(UPDATABLE, OLD, Content(), changes)
    except OrcaError as error:
        reason = error.reason
    assert reason in ("", "FIELD_INVALID", "FIELD_IMMUTABLE")


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_ids_have_the_shape_of_version_7_and_order_by_time(ms: int, random: bytes) -> None:
    made = uuid7(ms, random)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == ms


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from((b"\x00", b"\xff", b"7"))), min_size=2)
)
def test_each_id_is_greater_than_the_one_before_whatever_clock_and_chance_say(
    draws: list[tuple[int, bytes]],
) -> None:
    made: list[UUID] = []
    for ms, chance in draws:
        made.append(uuid7(ms, chance * 10, made[-1] if made else None))
    assert made == sorted(set(made))
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}


def test_ids_of_one_process_are_in_the_order_of_their_making() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
