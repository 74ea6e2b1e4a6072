"""Runs: what follows from events, in any order."""

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain import runs
from orca_server.domain.runs import Event, Kind, Run, Standing
from orca_server.store.queries import QUERIES

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ACTIVE = Standing("ACTIVE", None, DAY)


def event(kind: Kind, minute: int = 0, *, key: int = 0, **said: object) -> Event:
    """An event some minutes after the start."""
    at = START + timedelta(minutes=minute)
    return Event(UUID(int=key or minute + 1), kind, at, **said)  # type: ignore[arg-type]


events = st.builds(
    event,
    st.sampled_from(Kind),
    st.integers(0, 5),
    key=st.integers(1, 9),
    attempt=st.integers(1, 3),
    trigger=st.sampled_from(["", "schedule", "webhook"]),
    url=st.sampled_from(["", "https://example.com/1"]),
    duration_us=st.sampled_from([None, 0, 7]),
)
histories = st.lists(events, min_size=1, max_size=8, unique_by=lambda each: each.key)


@given(st.data(), histories)
def test_order_doubling_and_batches_change_nothing(data: st.DataObject, told: list[Event]) -> None:
    whole = runs.derive(told)
    assert runs.derive(data.draw(st.permutations(told))) == whole
    assert runs.derive([*told, *told]) == whole
    cut = data.draw(st.integers(1, len(told)))
    parts = [runs.derive(part) for part in (told[:cut], told[cut:]) if part]
    assert runs.merge(parts[-1], parts[0]) == whole


@pytest.mark.parametrize(
    ("told", "state", "duration_us"),
    [
        ([event(Kind.STARTED)], "running", None),
        ([event(Kind.STARTED), event(Kind.HEARTBEAT, 5)], "running", None),
        ([event(Kind.STARTED), event(Kind.SUCCEEDED, 2)], "succeeded", 120_000_000),
        ([event(Kind.SUCCEEDED, 2)], "succeeded", None),
        ([event(Kind.SUCCEEDED, 2, duration_us=9)], "succeeded", 9),
        ([event(Kind.FAILED, 1), event(Kind.STARTED, 2, attempt=2)], "running", None),
        (
            [event(Kind.FAILED, 1), event(Kind.SUCCEEDED, 3, attempt=2)],
            "succeeded",
            120_000_000,
        ),
        ([event(Kind.SUCCEEDED, 3), event(Kind.FAILED, 4)], "failed", 60_000_000),
        ([event(Kind.CANCELLED, 4), event(Kind.FAILED, 3)], "cancelled", 60_000_000),
        ([event(Kind.SUCCEEDED, 9), event(Kind.FAILED, 1, attempt=2)], "failed", None),
    ],
)
def test_a_run_is_what_its_newest_attempt_came_to(
    told: list[Event], state: str, duration_us: int | None
) -> None:
    run = runs.derive(told)
    assert (run.state, run.duration_us) == (state, duration_us)


def test_the_first_trigger_and_the_last_address_are_told() -> None:
    run = runs.derive(
        [
            event(Kind.SUCCEEDED, 3, url="https://example.com/end"),
            event(Kind.STARTED, 1, trigger="schedule", url="https://example.com/start"),
            event(Kind.HEARTBEAT, 2, trigger="retry"),
        ]
    )
    assert run.trigger == (UUID(int=2), "schedule")
    assert run.url == (UUID(int=4), "https://example.com/end")


def judged(
    told: list[list[Event]], after: timedelta, standing: Standing = ACTIVE
) -> tuple[str, str]:
    """Freshness of a workflow with these runs, and whether it counts."""
    found = [(f"run {number}", runs.derive(each)) for number, each in enumerate(told)]
    status = runs.judge(found, standing, START + after)
    return status.freshness, status.counted


@pytest.mark.parametrize(
    ("told", "after", "freshness"),
    [
        ([], 9 * DAY, "unmeasured"),
        ([[event(Kind.STARTED)]], DAY - timedelta(seconds=1), "unmeasured"),
        ([[event(Kind.STARTED)]], DAY, "stale"),
        ([[event(Kind.SUCCEEDED)]], DAY - timedelta(seconds=1), "fresh"),
        ([[event(Kind.SUCCEEDED)]], DAY, "stale"),
        ([[event(Kind.SUCCEEDED)], [event(Kind.FAILED, 1)]], timedelta(hours=1), "stale"),
        ([[event(Kind.SUCCEEDED)], [event(Kind.CANCELLED, 1)]], timedelta(hours=1), "fresh"),
        ([[event(Kind.SUCCEEDED, 2)], [event(Kind.FAILED, 1)]], timedelta(hours=1), "fresh"),
        ([[event(Kind.FAILED, 1)], [event(Kind.STARTED, 2)]], timedelta(hours=1), "stale"),
    ],
)
def test_fresh_is_a_success_within_the_deadline_and_no_failure_since(
    told: list[list[Event]], after: timedelta, freshness: str
) -> None:
    assert judged(told, after)[0] == freshness


def test_paused_and_gone_workflows_are_not_counted_and_retired_ones_are_for_a_week() -> None:
    told = [[event(Kind.SUCCEEDED)]]
    until = START + 7 * DAY
    assert judged(told, DAY, Standing("PAUSED", None, DAY)) == ("stale", "paused")
    assert judged(told, 6 * DAY, Standing("RETIRED", until, DAY)) == ("stale", "counted")
    assert judged(told, 7 * DAY, Standing("RETIRED", until, DAY)) == ("stale", "gone")


def test_the_next_deadline_is_when_time_alone_changes_something() -> None:
    found = [("a", runs.derive([event(Kind.SUCCEEDED)]))]
    until = START + timedelta(hours=30)
    standing = Standing("RETIRED", until, DAY)
    assert runs.judge(found, standing, START).next_deadline_at == START + DAY
    assert runs.judge(found, standing, START + DAY).next_deadline_at == until
    assert runs.judge(found, standing, until).next_deadline_at is None


@given(st.integers(0, 31_622_400_000_000))
def test_a_bucket_stands_for_its_durations_within_one_per_cent(duration_us: int) -> None:
    told = runs.duration_in(runs.bucket_of(duration_us))
    assert abs(told - duration_us) <= 0.01 * duration_us + 0.5


def test_percentiles_are_those_of_the_last_days() -> None:
    def ended(day: int, duration_us: int, kind: Kind = Kind.SUCCEEDED) -> Run:
        return runs.derive([event(kind, day * 24 * 60, duration_us=duration_us)])

    old = [ended(0, 10**9)]
    new = [ended(8, 1_000 * n) for n in range(1, 101)]
    rest = [ended(8, 10**12, Kind.CANCELLED)]
    found = [(str(number), run) for number, run in enumerate([*old, *new, *rest])]
    status = runs.judge(found, ACTIVE, START + 9 * DAY)
    assert status.timed_runs == 100
    assert status.percentiles_us is not None
    for told, exact in zip(status.percentiles_us, (50_000, 95_000, 99_000), strict=True):
        assert told == pytest.approx(exact, rel=0.01)


def test_the_statements_use_the_same_buckets() -> None:
    base = repr(math.log((1 + runs.RELATIVE_ACCURACY) / (1 - runs.RELATIVE_ACCURACY)))
    assert f"/ {base}::double precision" in QUERIES["merge_workflow_inbox"]
    assert f"* {base}::double precision" in QUERIES["compute_workflow_status"]
