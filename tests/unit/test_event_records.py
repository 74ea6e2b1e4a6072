"""Events from proto to rows: what is kept, what is refused and why, what makes two the same."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from orca.v1.workflow_pb2 import RunError, WorkflowEvent, WorkflowRef
from orca_server.domain.events import Row
from orca_server.domain.telemetry import Columns
from orca_server.services.event_records import names_in, to_columns

ID = UUID("01890000-0000-7000-8000-000000000001")
NOW = datetime(2026, 3, 20, 12, 0, 0, 123_456, tzinfo=UTC)
NOW_US = round(NOW.timestamp() * 1e6)
OLDEST_US, NEWEST_US = NOW_US - 10**6, NOW_US + 10**6


def event(at: datetime | None = NOW, **values: Any) -> WorkflowEvent:
    """A run that failed just now."""
    defaults = {"workflow_id": str(ID), "run_id": "4711", "kind": "failed"}
    made = WorkflowEvent(**{**defaults, **values})
    if at is not None:
        made.occurred_at.FromDatetime(at)
    return made


def columns(*events: WorkflowEvent) -> Columns[Row]:
    return to_columns(events, named={("n8n", "w"): ID}, oldest_us=OLDEST_US, newest_us=NEWEST_US)


def row_of(sent: WorkflowEvent) -> Row:
    found = columns(sent)
    assert found.refusals == []
    return found.rows[0]


def test_an_event_becomes_its_row() -> None:
    sent = event(
        attempt=3,
        trigger="schedule",
        url="https://example.com/runs/1",
        error=RunError(type="Timeout", message="line 1\nline 2"),
        duration_ms=1234.5678,
    )
    sent.attributes.update({"b": [1, None], "a": "x\0y"})
    workflow_id, key, *values = row_of(sent)
    assert workflow_id == ID
    assert key.int >> 80 == NOW_US // 1000
    assert values == [
        *("4711", 3, "failed", NOW_US, "schedule", "https://example.com/runs/1", "Timeout"),
        *("line 1\nline 2", 1_234_568, '{"a":"x\\u0000y","b":[1,null]}'),
    ]


def test_what_is_not_said_is_not_there() -> None:
    values = row_of(event(kind="started"))[2:]
    assert values == ("4711", 1, "started", NOW_US, "", "", None, None, None, None)
    assert row_of(event(kind="failed", error=RunError()))[8:10] == (None, None)
    assert row_of(event(kind="failed", error=RunError(message="x")))[8:10] == ("", "x")
    assert row_of(event(kind="succeeded", duration_ms=0.0))[10] == 0


def test_a_workflow_is_named_by_id_or_by_provider_and_name() -> None:
    by_name = event(workflow_id="", workflow=WorkflowRef(provider="n8n", name="w"))
    assert row_of(by_name) == row_of(event())
    assert names_in([event(), by_name]) == {("n8n", "w")}


CHANGES: list[dict[str, Any]] = [
    {"run_id": "4712"},
    {"attempt": 2},
    {"kind": "cancelled"},
    {"at": NOW + timedelta(microseconds=1)},
    {"trigger": "t"},
    {"url": "https://example.com"},
    {"error": RunError(type="t")},
    {"error": RunError(message="t")},
    {"duration_ms": 0.0},
    {"attributes": {"a": 1}},
]


def test_without_an_id_the_content_makes_an_event_what_it_is() -> None:
    keys = {row_of(event(**change))[1] for change in [{}, *CHANGES]}
    assert len(keys) == len(CHANGES) + 1
    assert row_of(event(attempt=1)) == row_of(event())


def test_with_an_id_workflow_millisecond_and_id_do() -> None:
    keys = {row_of(event(id="1", **change))[1] for change in [{}, *CHANGES]}
    assert len(keys) == 1
    assert row_of(event(id="2"))[1] not in keys
    assert row_of(event(id="1", at=NOW + timedelta(milliseconds=1)))[1] not in keys
    other = str(UUID(int=ID.int + 1))
    assert row_of(event(id="1", workflow_id=other))[1] not in keys


def deep(levels: int) -> dict[str, Any]:
    return {"n": deep(levels - 1)} if levels else {}


WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("workflow_id", "REQUIRED", {"workflow_id": ""}),
    ("workflow_id", "INVALID_FORMAT", {"workflow_id": "x" * 36}),
    ("workflow", "CONFLICTING", {"workflow": WorkflowRef(provider="n8n", name="w")}),
    ("workflow", "WORKFLOW_NOT_FOUND", {"workflow_id": "", "workflow": WorkflowRef(name="w")}),
    ("run_id", "REQUIRED", {"run_id": ""}),
    ("run_id", "TOO_LONG", {"run_id": "x" * 201}),
    ("run_id", "INVALID_FORMAT", {"run_id": "a\nb"}),
    ("run_id", "INVALID_FORMAT", {"run_id": "a\0b"}),
    ("run_id", "INVALID_FORMAT", {"run_id": "a\x85b"}),
    ("attempt", "OUT_OF_RANGE", {"attempt": -1}),
    ("attempt", "OUT_OF_RANGE", {"attempt": 10_001}),
    ("kind", "REQUIRED", {"kind": ""}),
    ("kind", "INVALID_VALUE", {"kind": "Failed"}),
    ("kind", "INVALID_VALUE", {"kind": "fail"}),
    ("occurred_at", "REQUIRED", {"at": None}),
    ("occurred_at", "OUT_OF_RANGE", {"at": NOW + timedelta(microseconds=10**6 + 1)}),
    ("occurred_at", "OUT_OF_RANGE", {"at": NOW - timedelta(microseconds=10**6 + 1)}),
    ("trigger", "TOO_LONG", {"trigger": "x" * 201}),
    ("trigger", "INVALID_FORMAT", {"trigger": "\0"}),
    ("url", "TOO_LONG", {"url": "https://example.com/" + "x" * 2000}),
    ("url", "INVALID_FORMAT", {"url": "ftp://example.com"}),
    ("url", "INVALID_FORMAT", {"url": "https://example.com/\0"}),
    ("url", "SECRET_IN_PLAIN_TEXT", {"url": "https://me:pass@example.com"}),
    ("error", "NOT_ALLOWED", {"error": RunError(message="x"), "kind": "succeeded"}),
    ("error", "NOT_ALLOWED", {"error": RunError(type="x"), "kind": "cancelled"}),
    ("error.type", "TOO_LONG", {"error": RunError(type="x" * 201)}),
    ("error.type", "INVALID_FORMAT", {"error": RunError(type="\0")}),
    ("error.message", "TOO_LONG", {"error": RunError(message="x" * 4_001)}),
    ("error.message", "INVALID_FORMAT", {"error": RunError(message="\0")}),
    ("duration_ms", "NOT_ALLOWED", {"duration_ms": 1.0, "kind": "started"}),
    ("duration_ms", "NOT_ALLOWED", {"duration_ms": 1.0, "kind": "heartbeat"}),
    ("duration_ms", "OUT_OF_RANGE", {"duration_ms": -0.001}),
    ("duration_ms", "OUT_OF_RANGE", {"duration_ms": 31_622_400_001.0}),
    ("duration_ms", "OUT_OF_RANGE", {"duration_ms": float("nan")}),
    ("attributes", "TOO_LONG", {"attributes": {"a": "x" * 8_200}}),
    ("attributes", "TOO_DEEP", {"attributes": deep(10)}),
    ("attributes", "INVALID_FORMAT", {"attributes": {"a": float("inf")}}),
    ("id", "TOO_LONG", {"id": "x" * 201}),
]


@pytest.mark.parametrize(("field", "reason", "change"), WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_event_is_refused_by_field_and_the_others_are_taken(
    field: str, reason: str, change: dict[str, Any]
) -> None:
    found = columns(event(), event(**change), event(id="2"))
    assert [(r.index, r.field, r.reason) for r in found.refusals] == [(1, field, reason)]
    assert found.indexes == [0, 2]
    assert len(found.rows) == 2


LARGEST: list[dict[str, Any]] = [
    {"run_id": "x" * 200},
    {"attempt": 10_000},
    {"at": NOW + timedelta(seconds=1)},
    {"at": NOW - timedelta(seconds=1)},
    {"trigger": "x" * 200},
    {"url": "https://example.com/" + "x" * 1_980},
    {"error": RunError(type="x" * 200, message="x" * 4_000)},
    {"duration_ms": 31_622_400_000.0},
    {"attributes": deep(9)},
    {"id": "x" * 200},
]


@pytest.mark.parametrize("change", LARGEST, ids=lambda v: next(iter(v)))
def test_the_largest_that_is_allowed_is_taken(change: dict[str, Any]) -> None:
    assert columns(event(**change)).refusals == []


def test_the_size_counts_what_a_row_takes() -> None:
    small, large = (columns(event(error=RunError(message="x" * n))) for n in (1, 4_000))
    assert large.size_bytes - small.size_bytes == 3_999
    assert small.size_bytes > 100
