"""Agents: states and their moves, etags, who owns which field, what moves trust."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from orca_server.domain import agents
from orca_server.domain.agents import (
    Agent,
    AgentState,
    Content,
    Criticality,
    Endpoint,
    Source,
    Tool,
)
from orca_server.domain.errors import Conflict, NotAllowedNow
from orca_server.domain.etags import check_etag, etag

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
