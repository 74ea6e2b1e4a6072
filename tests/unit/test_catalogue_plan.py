"""What an import makes of entries: which version is newer, what is added, changed, left."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain import inventory
from orca_server.domain.agents import Agent, AgentState, Content, Source, Tool
from orca_server.domain.registry_entries import parse
from orca_server.domain.stamps import Stamp, published_at, read_stamp, version_key


def published(time: str, version: str = "1", latest: bool | None = None) -> Stamp:
    return Stamp(latest, published_at(time), version)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (Stamp(version="1.0.0-rc.1"), Stamp(version="1.0.0")),
        (Stamp(version="1.9.0"), Stamp(version="1.10.0")),
        (Stamp(version=""), Stamp(version="0.1")),
        (published("2025-01-01T00:00:00Z", "2"), published("2025-01-02T00:00:00Z", "1")),
        (published("2025-01-01T00:00:00+02:00"), published("2025-01-01T00:00:00Z")),
        (published("2025-01-01T00:00:00Z"), published("2025-01-01T00:00:00Z", "2")),
        (
            published("2025-02-01T00:00:00Z", "2", False),
            published("2025-01-01T00:00:00Z", "1", True),
        ),
        (published("never", "1"), published("2025-01-01T00:00:00Z", "2")),
    ],
    ids=str,
)
def test_which_version_is_newer(older: Stamp, newer: Stamp) -> None:
    assert older.is_older_than(newer)
    assert not newer.is_older_than(older)
    assert not older.is_older_than(older)
    assert read_stamp(newer.written()) == newer


@given(st.text(max_size=300), st.text(max_size=300))
def test_versions_are_ordered_whatever_they_are(one: str, other: str) -> None:
    assert (version_key(one) < version_key(other)) + (version_key(other) < version_key(one)) < 2


def plan(entries: list[dict[str, Any]], *current: Agent) -> inventory.Plan:
    ids = iter(range(1, 100))
    found = parse(json.dumps(entries).encode())
    return inventory.plan_import(found, current, lambda: UUID(int=next(ids)))


def imported(document: dict[str, Any], **changes: Any) -> Agent:
    (agent,) = plan([document]).new
    fields = {name: getattr(agent, name) for name in Agent.__slots__}
    return Agent(**{**fields, **changes})


ENTRY = {"name": "x", "version": "2", "description": "new"}
OLDER = {"name": "x", "version": "1", "description": "old"}


def test_new_entries_are_catalogue_entries() -> None:
    agent = imported(ENTRY)
    assert (agent.type, agent.state, agent.source) == ("mcp", AgentState.CATALOG, Source.IMPORT)


def test_the_same_again_changes_nothing() -> None:
    again = plan([ENTRY], imported(ENTRY))
    assert (again.new, again.updated, again.unchanged) == ([], [], 1)


def test_an_older_version_changes_nothing_also_in_another_document() -> None:
    again = plan([OLDER], imported(ENTRY))
    assert (again.updated, again.unchanged) == ([], 1)


def test_a_newer_version_is_taken_and_the_state_stays() -> None:
    enrolled = imported(OLDER, state=AgentState.ACTIVE)
    ((_, after),) = plan([OLDER, ENTRY], enrolled).updated
    assert after.content.description == "new"
    assert after.state is AgentState.ACTIVE


def test_labels_and_tools_of_others_stay() -> None:
    before = imported(OLDER)
    content = before.content
    said = Content(
        description=content.description,
        version=content.version,
        labels={**content.labels, "team": "a", "status": "deprecated"},
        tools=(Tool("probed"),),
        owner="me",
    )
    ((_, after),) = plan([ENTRY], imported(OLDER, content=said)).updated
    assert after.content.labels == {"registry": "official", "team": "a"}
    assert (after.content.tools, after.content.owner) == ((Tool("probed"),), "me")


@pytest.mark.parametrize("source", [Source.FILE, Source.API, Source.OTLP, Source.PROBE])
def test_names_of_other_sources_are_refused_with_both_named(source: Source) -> None:
    (refused,) = plan([ENTRY], imported(ENTRY, source=source)).refused
    assert (refused.index, refused.name, refused.reason) == (0, "x", "OWNED_BY_OTHER_SOURCE")
    assert f"'{source}'" in refused.message
    assert "'import'" in refused.message


def test_one_registry_does_not_take_over_names_of_another() -> None:
    docker = {"name": "x", "type": "server", "image": "x/y"}
    (refused,) = plan([docker], imported(ENTRY)).refused
    assert refused.reason == "OWNED_BY_OTHER_SOURCE"
    assert "'official'" in refused.message
    assert "'docker'" in refused.message
