"""States of a workflow, what may be said of it, and by whom."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from orca_server.domain import workflows
from orca_server.domain.checks import Violations
from orca_server.domain.errors import NotAllowedNow
from orca_server.domain.update_masks import Change, apply, read_mask
from orca_server.domain.workflow_checks import check_content, check_identity
from orca_server.domain.workflows import (
    UPDATABLE,
    Content,
    Schedule,
    Workflow,
    WorkflowState,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
A, P, R = WorkflowState.ACTIVE, WorkflowState.PAUSED, WorkflowState.RETIRED


def workflow(state: WorkflowState = A, **fields: Any) -> Workflow:
    until = NOW + timedelta(days=6) if state is R else None
    return Workflow(
        **{
            "id": UUID(int=7),
            "provider": "n8n",
            "name": "nightly",
            "state": state,
            "counted_until": until,
            **fields,
        }
    )


MOVES = {
    "pause": workflows.pause,
    "resume": workflows.resume,
    "retire": lambda one: workflows.retire(one, NOW),
}


@pytest.mark.parametrize(
    ("move", "before", "after"),
    [
        ("pause", A, P),
        ("pause", P, P),
        ("pause", R, "WORKFLOW_RETIRED"),
        ("resume", A, A),
        ("resume", P, A),
        ("resume", R, A),
        ("retire", A, R),
        ("retire", P, R),
        ("retire", R, R),
    ],
)
def test_every_state_and_move(move: str, before: WorkflowState, after: WorkflowState | str) -> None:
    one = workflow(before)
    if not isinstance(after, WorkflowState):
        with pytest.raises(NotAllowedNow) as caught:
            MOVES[move](one)
        assert caught.value.reason == after
        return
    moved = MOVES[move](one)
    assert moved.state is after
    assert MOVES[move](moved) == moved
    assert (moved.counted_until is not None) == (after is R)


def test_a_workflow_that_counted_counts_for_seven_days_after_it_was_retired() -> None:
    assert workflows.retire(workflow(), NOW).counted_until == NOW + WEEK


def test_retiring_a_paused_workflow_does_not_bring_it_back_into_freshness() -> None:
    assert workflows.retire(workflow(P), NOW).counted_until == NOW


def test_retiring_again_does_not_prolong_the_stay() -> None:
    one = workflow(R)
    assert workflows.retire(one, NOW + WEEK) == one


def violations_of(content: Content) -> list[tuple[str, str]]:
    violations = Violations()
    check_content(violations, "", content)
    return [(one.field, one.reason) for one in violations.found]


def scheduled(*args: Any, **fields: Any) -> Content:
    return Content(schedule=Schedule(*args, **fields))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Content(), []),
        (Content(display_name="x" * 200, external_id="y" * 200, owner="v" * 200), []),
        (Content(display_name="x" * 201), [("display_name", "TOO_LONG")]),
        (Content(external_id="x" * 201), [("external_id", "TOO_LONG")]),
        (Content(owner="x" * 201), [("owner", "TOO_LONG")]),
        (Content(owner="a\nb"), [("owner", "INVALID_FORMAT")]),
        (Content(external_id="\ud800"), [("external_id", "INVALID_FORMAT")]),
        (Content(url="https://n8n.example.org/workflow/1?tab=2"), []),
        (Content(url="ftp://example.org"), [("url", "INVALID_FORMAT")]),
        (Content(url="https://me:pw@example.org"), [("url", "SECRET_IN_PLAIN_TEXT")]),
        (Content(url="https://example.org/" + "x" * 2000), [("url", "TOO_LONG")]),
        (Content(labels={"a b": "c"}), [("labels.a b", "INVALID_FORMAT")]),
        (scheduled("0 6 * * *", "Europe/Berlin"), []),
        (scheduled("0 6 * * *"), []),
        (scheduled("often"), [("schedule.cron", "INVALID_FORMAT")]),
        (scheduled("0" * 501), [("schedule.cron", "TOO_LONG")]),
        (scheduled(timezone="UTC"), [("schedule.timezone", "NOT_ALLOWED")]),
        (scheduled(interval_seconds=10), []),
        (scheduled(interval_seconds=31_622_400), []),
        (scheduled(interval_seconds=9), [("schedule.interval_seconds", "OUT_OF_RANGE")]),
        (scheduled(interval_seconds=31_622_401), [("schedule.interval_seconds", "OUT_OF_RANGE")]),
        (scheduled("0 6 * * *", interval_seconds=60), [("schedule", "EXCLUSIVE")]),
    ],
)
def test_bounds_of_what_is_said(content: Content, expected: list[tuple[str, str]]) -> None:
    assert violations_of(content) == expected


@pytest.mark.parametrize(
    ("provider", "name", "expected"),
    [
        ("n8n", "nightly-invoices", []),
        ("github-actions", "owner/repo/.github/workflows/ci.yml", []),
        ("", "", [("provider", "REQUIRED"), ("name", "REQUIRED")]),
        ("N8N", "x", [("provider", "INVALID_FORMAT")]),
        ("p" * 64, "n" * 201, [("provider", "INVALID_FORMAT"), ("name", "TOO_LONG")]),
        ("n8n", "a b", [("name", "INVALID_FORMAT")]),
    ],
)
def test_provider_and_name(provider: str, name: str, expected: list[tuple[str, str]]) -> None:
    violations = Violations()
    check_identity(violations, "", provider, name)
    assert [(one.field, one.reason) for one in violations.found] == expected


def test_a_star_means_every_field_that_can_change() -> None:
    changes, _ = read_mask(UPDATABLE, ["*"], {"state"})
    assert {change.field for change in changes} == set(UPDATABLE.mutable)
    assert set(UPDATABLE.mutable.values()) == set(workflows.CONTENT_FIELDS)


OLD = scheduled("0 6 * * *", "Europe/Berlin")


@pytest.mark.parametrize(
    ("part", "new", "expected"),
    [
        ("cron", Schedule("5 6 * * *"), Schedule("5 6 * * *", "Europe/Berlin")),
        ("timezone", Schedule("x", "UTC"), Schedule("0 6 * * *", "UTC")),
        ("", Schedule(interval_seconds=60), Schedule(interval_seconds=60)),
    ],
)
def test_parts_of_a_schedule_change(part: str, new: Schedule, expected: Schedule) -> None:
    changed = apply(UPDATABLE, OLD, Content(schedule=new), [Change("schedule", part)])
    assert changed == Content(schedule=expected)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("0 6 * * *"), Schedule("0 6 * * *", "UTC")),
        (Schedule("0 6 * * *", "Asia/Tokyo"), Schedule("0 6 * * *", "Asia/Tokyo")),
        (Schedule(interval_seconds=60), Schedule(interval_seconds=60)),
        (Schedule(), Schedule()),
    ],
)
def test_a_cron_without_a_time_zone_is_in_utc(schedule: Schedule, expected: Schedule) -> None:
    assert workflows.settled(Content(schedule=schedule)).schedule == expected


def test_changes_are_told_field_by_field() -> None:
    old = workflow(content=replace(OLD, labels={"a": "1"}))
    content = Content(schedule=Schedule(interval_seconds=60), labels={"a": "2"})
    new = replace(old, content=content, state=P)
    assert workflows.changes(old, new) == {
        "state": ["ACTIVE", "PAUSED"],
        "schedule": [
            {"cron": "0 6 * * *", "timezone": "Europe/Berlin"},
            {"interval_seconds": 60},
        ],
        "labels": [{"a": "1"}, {"a": "2"}],
    }
    assert workflows.changes(old, old) == {}


@pytest.mark.parametrize(
    ("fields", "moved"),
    [
        ({"state": P}, True),
        ({"content": Content(freshness_slo_seconds=60)}, True),
        ({"content": Content(owner="x", url="http://x", labels={"a": "b"})}, False),
        ({"content": OLD}, False),
        ({}, False),
    ],
)
def test_only_state_and_objective_weigh_freshness(fields: dict[str, Any], moved: bool) -> None:
    assert workflows.moves_freshness(workflow(), replace(workflow(), **fields)) is moved
