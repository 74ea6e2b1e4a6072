"""Runs of workflows and what follows from them: the definition (docs/trust.md).

A run is known by its events alone. Everything kept of it is the greatest or smallest of
something over its events, so it is the same whatever their order, however often they come,
and as far as they are known. The tick's SQL (sql/queries/runs.sql) computes the same for many
workflows at once and is held to this module.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from uuid import UUID

HOUR = timedelta(hours=1)
WINDOW_HOURS = 168
DURATION_DAYS = 8
RELATIVE_ACCURACY = 0.01
_LOG_GAMMA = math.log((1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY))
NO_TIME = -1
"""Bucket of a duration of 0."""


class Kind(StrEnum):
    """What an event says of its run."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    HEARTBEAT = "heartbeat"


ENDS = frozenset({Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED})
RUNNING = "running"


class Freshness(StrEnum):
    """Whether a workflow's last success is recent enough."""

    FRESH = "fresh"
    STALE = "stale"
    UNMEASURED = "unmeasured"


class Counted(StrEnum):
    """Whether a workflow's freshness counts."""

    COUNTED = "counted"
    PAUSED = "paused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Event:
    """What a run is derived from; `key` orders events of one instant."""

    key: UUID
    kind: Kind
    occurred_at: datetime
    attempt: int = 1
    trigger: str = ""
    url: str = ""
    error: tuple[str, str] | None = None
    duration_us: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended; the greatest by attempt, time and key counts."""

    attempt: int
    at: datetime
    key: UUID
    kind: Kind
    duration_us: int | None = None
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its events tell it.

    Attributes:
        attempts: Largest attempt.
        first_event_at: Its first event: when it started, as far as known.
        last_event_at: Its newest event.
        end: The end that counts; None while none is known.
        trigger: By key, the first one named.
        url: By key, the last one named.
    """

    attempts: int
    first_event_at: datetime
    last_event_at: datetime
    end: End | None = None
    trigger: tuple[UUID, str] | None = None
    url: tuple[UUID, str] | None = None

    @property
    def outcome(self) -> End | None:
        """The end of the largest attempt; None while that runs."""
        return self.end if self.end is not None and self.end.attempt >= self.attempts else None

    @property
    def state(self) -> str:
        """`running`, or how it ended."""
        return RUNNING if self.outcome is None else self.outcome.kind

    @property
    def duration_us(self) -> int | None:
        """As the end says, else from the first event; None if only the end is known."""
        if self.outcome is None:
            return None
        if self.outcome.duration_us is not None:
            return self.outcome.duration_us
        passed = (self.outcome.at - self.first_event_at) // timedelta(microseconds=1)
        return passed if passed > 0 else None


def derive(events: Iterable[Event]) -> Run:
    """The run of these events.

    Raises:
        TypeError: If there are none.
    """
    return reduce(merge, map(_run_of, events))


def merge(one: Run, other: Run) -> Run:
    """What two sets of events of a run tell together; in any order, also with common events."""
    return Run(
        attempts=max(one.attempts, other.attempts),
        first_event_at=min(one.first_event_at, other.first_event_at),
        last_event_at=max(one.last_event_at, other.last_event_at),
        end=max((each for each in (one.end, other.end) if each), key=_rank, default=None),
        trigger=min((each for each in (one.trigger, other.trigger) if each), default=None),
        url=max((each for each in (one.url, other.url) if each), default=None),
    )


def _rank(end: End) -> tuple[int, datetime, UUID]:
    return end.attempt, end.at, end.key


def _run_of(event: Event) -> Run:
    at = event.occurred_at
    run = Run(
        attempts=event.attempt,
        first_event_at=at,
        last_event_at=at,
        trigger=(event.key, event.trigger) if event.trigger else None,
        url=(event.key, event.url) if event.url else None,
    )
    if event.kind not in ENDS:
        return run
    end = End(event.attempt, at, event.key, event.kind, event.duration_us, event.error)
    return replace(run, end=end)


@dataclass(frozen=True, slots=True)
class Standing:
    """What an operator declared of a workflow.

    Attributes:
        state: `ACTIVE`, `PAUSED` or `RETIRED`.
        counted_until: End of its stay after it was retired; None while it is not.
        slo: It must succeed at least this often.
    """

    state: str
    counted_until: datetime | None
    slo: timedelta


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """What follows from the runs of a workflow at an instant.

    Attributes:
        last_run_at: Start of the newest run.
        last_end_at: When the run ended that ended last, and `last_outcome` how.
        last_success_at: When the newest successful run ended.
        outcomes: Runs by outcome in the 168 hours that end with the hour of `last_end_at`.
        percentiles_us: p50, p95 and p99 of durations; None if none is known.
        timed_runs: Runs behind them.
        freshness: Whether its last success is recent enough.
        counted: Whether that counts.
        next_deadline_at: When time alone changes freshness or whether it counts.
    """

    first_event_at: datetime | None
    last_event_at: datetime | None
    last_run_at: datetime | None
    last_end_at: datetime | None
    last_outcome: str | None
    last_success_at: datetime | None
    outcomes: dict[str, int]
    percentiles_us: tuple[int, int, int] | None
    timed_runs: int
    freshness: Freshness
    counted: Counted
    next_deadline_at: datetime | None


def judge(runs: Sequence[tuple[str, Run]], standing: Standing, now: datetime) -> WorkflowStatus:
    """The status of a workflow with these runs, each with its run id."""
    ended = [(run.outcome.at, run_id, run) for run_id, run in runs if run.outcome is not None]
    last_end, _, last = max(ended, key=lambda each: each[:2], default=(None, "", None))
    success = max((at for at, _, run in ended if run.state == Kind.SUCCEEDED), default=None)
    first = min((run.first_event_at for _, run in runs), default=None)
    outcome = None if last is None else last.state
    freshness, deadline = _freshness(first, success, outcome, standing.slo, now)
    percentiles, timed = _percentiles([run for _, _, run in ended], last_end)
    return WorkflowStatus(
        first_event_at=first,
        last_event_at=max((run.last_event_at for _, run in runs), default=None),
        last_run_at=max((run.first_event_at for _, run in runs), default=None),
        last_end_at=last_end,
        last_outcome=outcome,
        last_success_at=success,
        outcomes=_outcomes(ended, last_end),
        percentiles_us=percentiles,
        timed_runs=timed,
        freshness=freshness,
        counted=_counted(standing, now),
        next_deadline_at=_earliest_after(now, deadline, standing.counted_until),
    )


def _freshness(
    first: datetime | None,
    success: datetime | None,
    outcome: str | None,
    slo: timedelta,
    now: datetime,
) -> tuple[Freshness, datetime | None]:
    """Freshness, and when time alone makes it stale."""
    if first is None:
        return Freshness.UNMEASURED, None
    deadline = (success or first) + slo
    if outcome == Kind.FAILED or deadline <= now:
        return Freshness.STALE, None
    return Freshness.UNMEASURED if success is None else Freshness.FRESH, deadline


def _counted(standing: Standing, now: datetime) -> Counted:
    if standing.state == "PAUSED":
        return Counted.PAUSED
    gone = standing.counted_until is not None and standing.counted_until <= now
    return Counted.GONE if gone else Counted.COUNTED


def _earliest_after(now: datetime, *instants: datetime | None) -> datetime | None:
    return min((at for at in instants if at is not None and at > now), default=None)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _outcomes(
    ended: Iterable[tuple[datetime, str, Run]], last_end: datetime | None
) -> dict[str, int]:
    if last_end is None:
        return {}
    start = _hour(last_end) - (WINDOW_HOURS - 1) * HOUR
    return dict(Counter(run.state for at, _, run in ended if at >= start))


def bucket_of(duration_us: int) -> int:
    """The bucket of a duration: its logarithm to the base (1 + a) / (1 - a), rounded up.

    Source: C. Masson, J. E. Rim, H. K. Lee (2019), DDSketch, PVLDB 12(12), with a = 0.01.
    """
    return NO_TIME if duration_us == 0 else math.ceil(math.log(duration_us) / _LOG_GAMMA)


def duration_in(bucket: int) -> int:
    """Microseconds that stand for a bucket, within 1 % of all that it holds."""
    if bucket == NO_TIME:
        return 0
    return round(math.exp(bucket * _LOG_GAMMA) * (1 - RELATIVE_ACCURACY))


def _percentiles(
    ended: Iterable[Run], last_end: datetime | None
) -> tuple[tuple[int, int, int] | None, int]:
    if last_end is None:
        return None, 0
    first_day = last_end.date() - timedelta(days=DURATION_DAYS - 1)
    buckets = sorted(
        bucket_of(run.duration_us)
        for run in ended
        if run.duration_us is not None
        and run.outcome is not None
        and run.state != Kind.CANCELLED
        and run.outcome.at.date() >= first_day
    )
    if not buckets:
        return None, 0
    p50, p95, p99 = (buckets[(len(buckets) - 1) * each // 100] for each in (50, 95, 99))
    return (duration_in(p50), duration_in(p95), duration_in(p99)), len(buckets)
