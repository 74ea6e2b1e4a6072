"""Runs and freshness once more, from raw events and by another hand; see `tests.recount`.

Nothing of `orca_server` is imported and none of its SQL is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

ENDS = ("succeeded", "failed", "cancelled")
Key = tuple[UUID, UUID]
"""Tenant and workflow."""


def run_of(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the events of one run come to, by the names of the columns that hold it."""
    attempts = max(one["attempt"] for one in events)
    times = [one["occurred_at"] for one in events]
    last = [one for one in events if one["attempt"] == attempts and one["kind"] in ENDS]
    last.sort(key=lambda one: (one["occurred_at"], one["key"].int))
    run: dict[str, Any] = {
        "attempts": attempts,
        "first_event_at": min(times),
        "last_event_at": max(times),
        "state": "running",
        "ended_at": None,
        "duration_us": None,
    }
    if last:
        end = last[-1]
        passed = (end["occurred_at"] - min(times)) // timedelta(microseconds=1)
        said = end["duration_us"]
        run |= {
            "state": end["kind"],
            "ended_at": end["occurred_at"],
            "duration_us": said if said is not None else passed or None,
        }
    return run


def status_of(
    workflow: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, Any]],
    as_of: datetime,
    slo_hours: int,
) -> dict[str, Any]:
    """What the runs of a workflow come to."""
    ended = [(run["ended_at"], name.encode(), run) for name, run in runs.items() if run["ended_at"]]
    ended.sort(key=lambda each: each[:2])
    good = [run["ended_at"] for _, _, run in ended if run["state"] == "succeeded"]
    status = {
        "first_event_at": min((run["first_event_at"] for run in runs.values()), default=None),
        "last_event_at": max((run["last_event_at"] for run in runs.values()), default=None),
        "last_run_at": max((run["first_event_at"] for run in runs.values()), default=None),
        "last_end_at": ended[-1][0] if ended else None,
        "last_outcome": ended[-1][2]["state"] if ended else None,
        "last_success_at": max(good, default=None),
        "counted": "paused" if workflow["state"] == "PAUSED" else "counted",
    }
    if workflow["state"] == "RETIRED" and workflow["counted_until"] <= as_of:
        status["counted"] = "gone"
    status["freshness"] = freshness_of(status, workflow["freshness_slo_seconds"], as_of, slo_hours)
    return status


def freshness_of(
    status: Mapping[str, Any], seconds: int | None, as_of: datetime, slo_hours: int
) -> str:
    """Whether the last success is recent enough."""
    since = status["last_success_at"] or status["first_event_at"]
    if since is None:
        return "unmeasured"
    allowed = timedelta(hours=slo_hours) if seconds is None else timedelta(seconds=seconds)
    if status["last_outcome"] == "failed" or as_of - since >= allowed:
        return "stale"
    return "fresh" if status["last_success_at"] else "unmeasured"


async def read(connection: Any) -> dict[str, list[Any]]:
    """What is needed, in the caller's transaction."""
    tables = ("workflows", "workflow_events", "workflow_runs", "workflow_status")
    return {table: await connection.fetch(f"SELECT * FROM {table}") for table in tables}


def recount(
    tables: Mapping[str, Sequence[Any]], as_of: Mapping[UUID, datetime], slo_hours: int
) -> tuple[dict[UUID, tuple[int, int]], list[str]]:
    """Fresh and stale workflows by tenant, and each digit that the database holds otherwise."""
    runs: dict[Key, dict[str, list[Any]]] = {}
    for one in tables["workflow_events"]:
        of_workflow = runs.setdefault((one["tenant_id"], one["workflow_id"]), {})
        of_workflow.setdefault(one["run_id"], []).append(one)
    expected: dict[Key, dict[str, Any]] = {}
    expected_runs: dict[tuple[Key, str], dict[str, Any]] = {}
    for one in tables["workflows"]:
        key = (one["tenant_id"], one["id"])
        made = {name: run_of(events) for name, events in runs.get(key, {}).items()}
        expected_runs |= {(key, name): run for name, run in made.items()}
        expected[key] = status_of(one, made, as_of[key[0]], slo_hours)
    stored_runs = {
        ((row["tenant_id"], row["workflow_id"]), row["run_id"]): row
        for row in tables["workflow_runs"]
    }
    stored = {(row["tenant_id"], row["workflow_id"]): row for row in tables["workflow_status"]}
    found = [*_compare("run", expected_runs, stored_runs), *_compare("workflow", expected, stored)]
    return _sums(expected), found


def _sums(expected: Mapping[Key, Mapping[str, Any]]) -> dict[UUID, tuple[int, int]]:
    counted = [
        (key[0], one["freshness"]) for key, one in expected.items() if one["counted"] == "counted"
    ]
    tenants = {tenant for tenant, _ in counted}
    return {
        tenant: (counted.count((tenant, "fresh")), counted.count((tenant, "stale")))
        for tenant in tenants
    }


def _compare(
    noun: str, expected: Mapping[Any, Mapping[str, Any]], stored: Mapping[Any, Any]
) -> Iterable[str]:
    for key in expected.keys() ^ stored.keys():
        yield f"{noun} {key}: in one place only"
    for key in expected.keys() & stored.keys():
        for name, value in expected[key].items():
            if stored[key][name] != value:
                yield f"{noun} {key}: {name} is {stored[key][name]}, not {value}"
