"""One agent's trust: the definition (docs/trust.md).

The tick's SQL (sql/queries/trust.sql, `compute_agent_trust`) computes the same for many
agents at once and is held to this module digit by digit. Scores are integers in parts per
billion; see `numbers`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum

from orca_server.domain.numbers import PPB, divide_half_up, saturated

WINDOW = timedelta(hours=168)
RECENT = timedelta(hours=6)
RECENT_MINIMUM_OPERATIONS = 20
PRIOR_OPERATIONS = 20  # weight of the baseline: three operations prove little
ADHERENCE_PRIOR_OPERATIONS = 100
VIOLATION_FACTOR = 20  # a 5 % rate scores 0
SUCCESS_WEIGHT, ADHERENCE_WEIGHT, WEIGHT_SUM = 6, 4, 10
SILENT_CAP_PPB = PPB // 2
IDLE_AFTER = timedelta(hours=24)
FORGOTTEN_AFTER = timedelta(days=90)
MINIMUM_GRACE = timedelta(seconds=60)
COUNTED_AFTER_LEAVING = timedelta(days=7)
DEFAULT_LATENCY_LIMIT_US = 1_000_000
HOUR = timedelta(hours=1)


class TrustState(Enum):
    """Whether a value was measured, and how fresh it is."""

    MEASURED = "measured"
    IDLE = "idle"
    SILENT = "silent"
    UNMEASURED = "unmeasured"


class Band(Enum):
    """Class of a score, best first."""

    EXCELLENT = "excellent"
    GOOD = "good"
    MODERATE = "moderate"
    CRITICAL = "critical"


_BAND_FLOORS = (
    (850_000_000, Band.EXCELLENT),
    (700_000_000, Band.GOOD),
    (500_000_000, Band.MODERATE),
    (0, Band.CRITICAL),
)


def band_of(ppb: int) -> Band:
    """The band of a score, before caps."""
    return next(band for floor, band in _BAND_FLOORS if ppb >= floor)


@dataclass(frozen=True, slots=True)
class Facts:
    """Sums over a stretch of hours; each stays at `numbers.MAX_SUM` once it is there.

    Attributes:
        operations: Operations with a final outcome.
        errors: Those whose outcome was an error.
        violations: Unblocked policy violations.
        blocked_violations: Blocked ones.
        latency_us: Sum of mean latency times operations, microseconds.
        latency_operations: Operations whose latency was reported.
        cost_nano_usd: Cost in 10^-9 US dollars.
        input_tokens: Input tokens.
        output_tokens: Output tokens.
    """

    operations: int = 0
    errors: int = 0
    violations: int = 0
    blocked_violations: int = 0
    latency_us: int = 0
    latency_operations: int = 0
    cost_nano_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class AgentHour:
    """One row of `agent_hours`.

    Attributes:
        hour: Start of the hour.
        facts: Its sums.
        last_operation_at: Newest counted record with operations.
        last_counted_at: Newest counted record, heartbeats included.
        last_seen_at: Newest record of any kind.
    """

    hour: datetime
    facts: Facts
    last_operation_at: datetime | None
    last_counted_at: datetime | None
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What an operator declared of an agent.

    Attributes:
        left_at: When it was suspended or retired; None while active.
        counted_until: End of its stay in the means after it left.
        heartbeat_interval: How often it promises to report.
        overdue_at: When that promise was changed although it was past it: silence stays
            until a report that is newer.
        latency_limit_us: Mean latency above which its health is lowered.
    """

    left_at: datetime | None = None
    counted_until: datetime | None = None
    heartbeat_interval: timedelta | None = None
    latency_limit_us: int | None = None
    overdue_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AgentTrust:
    """One agent's trust at an instant. Values are None while unmeasured.

    Attributes:
        state: How fresh it is.
        success_ppb: s, before silence.
        adherence_ppb: p, before silence.
        level_ppb: 0.6 s + 0.4 p, before silence.
        counted_success_ppb: s as it counts.
        counted_adherence_ppb: p as it counts.
        counted_level_ppb: The level as it counts: `trust_level`.
        health_ppb: The counted level, lowered by latency.
        window_end: End, exclusive, of the window.
        window: Its sums.
        recent: Sums of its last 6 hours.
        in_fleet: Whether it counts in means and totals.
        next_deadline_at: When time alone changes state or membership next.
    """

    state: TrustState
    success_ppb: int | None
    adherence_ppb: int | None
    level_ppb: int | None
    counted_success_ppb: int | None
    counted_adherence_ppb: int | None
    counted_level_ppb: int | None
    health_ppb: int | None
    window_end: datetime | None
    window: Facts
    recent: Facts
    in_fleet: bool
    next_deadline_at: datetime | None


def add_facts(parts: Iterable[Facts]) -> Facts:
    """The sums of several stretches."""
    rows = list(parts)
    return Facts(
        **{f.name: saturated(sum(getattr(row, f.name) for row in rows)) for f in fields(Facts)}
    )


def success_ppb(operations: int, errors: int, baseline_ppb: int) -> int:
    """ŝ = (ok + 20 m) / (operations + 20), m the baseline."""
    ok = operations - errors
    return divide_half_up(ok * PPB + PRIOR_OPERATIONS * baseline_ppb, operations + PRIOR_OPERATIONS)


def adherence_ppb(facts: Facts) -> int:
    """p = max(0, 1 - 20 V / (operations + 100)), V = violations + blocked / 10."""
    tenths = 10 * facts.violations + facts.blocked_violations
    denominator = 10 * (facts.operations + ADHERENCE_PRIOR_OPERATIONS)
    return divide_half_up(max(0, denominator - VIOLATION_FACTOR * tenths) * PPB, denominator)


def level_ppb(success: int, adherence: int) -> int:
    """0.6 s + 0.4 p."""
    return divide_half_up(SUCCESS_WEIGHT * success + ADHERENCE_WEIGHT * adherence, WEIGHT_SUM)


def health_ppb(level: int, facts: Facts, latency_limit_us: int | None) -> int:
    """The level times 1, or times max(0.5, limit / mean latency) at or above the limit."""
    allowed = (latency_limit_us or DEFAULT_LATENCY_LIMIT_US) * facts.latency_operations
    if facts.latency_us <= allowed:
        return level
    factor = max(PPB // 2, divide_half_up(allowed * PPB, facts.latency_us))
    return divide_half_up(level * factor, PPB)


def heartbeat_grace(interval: timedelta) -> timedelta:
    """What is tolerated past a declared heartbeat: a tenth of it, at least a minute."""
    return max(interval / 10, MINIMUM_GRACE)


def evaluate(
    hours: Iterable[AgentHour], standing: Standing, as_of: datetime, baseline_ppb: int
) -> AgentTrust:
    """One agent's trust at `as_of`, from all its hours in any order.

    Args:
        hours: Its rows of `agent_hours`, one per hour.
        standing: What operators declared.
        as_of: Instant for which it holds.
        baseline_ppb: TRUST_SCORE_BASELINE in parts per billion.

    Source: docs/trust.md, which derives from no standard; the prior is a Beta mean.
    """
    rows = list(hours)
    deadlines = _deadlines(rows, standing)
    in_fleet = standing.left_at is None or _still_counted(standing, as_of)
    next_deadline = _next_deadline(deadlines, standing, as_of)
    window_end = _window_end(rows)
    if window_end is None:
        return _unmeasured(in_fleet, next_deadline)
    state = _state(deadlines, min(as_of, standing.left_at or as_of))
    cap = SILENT_CAP_PPB if state is TrustState.SILENT else PPB
    window, recent = _windows(rows, window_end)
    success, adherence = _success(window, recent, baseline_ppb), adherence_ppb(window)
    level = level_ppb(success, adherence)
    return AgentTrust(
        state=state,
        success_ppb=success,
        adherence_ppb=adherence,
        level_ppb=level,
        counted_success_ppb=min(success, cap),
        counted_adherence_ppb=min(adherence, cap),
        counted_level_ppb=min(level, cap),
        health_ppb=health_ppb(min(level, cap), window, standing.latency_limit_us),
        window_end=window_end,
        window=window,
        recent=recent,
        in_fleet=in_fleet,
        next_deadline_at=next_deadline,
    )


def _window_end(rows: list[AgentHour]) -> datetime | None:
    """The end of the last hour with operations; None: there is none."""
    with_operations = [row.hour for row in rows if row.facts.operations > 0]
    return max(with_operations) + HOUR if with_operations else None


def _unmeasured(in_fleet: bool, next_deadline: datetime | None) -> AgentTrust:
    nothing = Facts()
    return AgentTrust(
        TrustState.UNMEASURED, *(None,) * 8, nothing, nothing, in_fleet, next_deadline
    )


def _windows(rows: list[AgentHour], end: datetime) -> tuple[Facts, Facts]:
    """The sums of the window that ends then, and of its last hours."""
    return _sum_between(rows, end - WINDOW, end), _sum_between(rows, end - RECENT, end)


def _success(window: Facts, recent: Facts, baseline_ppb: int) -> int:
    """Of the window, or of its last hours where they are worse and say enough."""
    success = success_ppb(window.operations, window.errors, baseline_ppb)
    if recent.operations < RECENT_MINIMUM_OPERATIONS:
        return success
    return min(success, success_ppb(recent.operations, recent.errors, baseline_ppb))


@dataclass(frozen=True, slots=True)
class _Deadlines:
    idle_at: datetime | None
    heartbeat_at: datetime | None
    forgotten_at: datetime | None
    overdue_at: datetime | None


def _deadlines(rows: list[AgentHour], standing: Standing) -> _Deadlines:
    operated_at = max((r.last_operation_at for r in rows if r.last_operation_at), default=None)
    counted_at = max((r.last_counted_at for r in rows if r.last_counted_at), default=None)
    interval = standing.heartbeat_interval
    heartbeat_at = None
    if interval is not None and counted_at is not None:
        heartbeat_at = counted_at + interval + heartbeat_grace(interval)
    overdue_at = None
    if standing.overdue_at is not None and counted_at is not None:
        overdue_at = standing.overdue_at if counted_at <= standing.overdue_at else None
    return _Deadlines(
        idle_at=None if operated_at is None else operated_at + IDLE_AFTER,
        heartbeat_at=heartbeat_at,
        forgotten_at=None if operated_at is None else operated_at + FORGOTTEN_AFTER,
        overdue_at=overdue_at,
    )


def _state(deadlines: _Deadlines, judged_at: datetime) -> TrustState:
    for deadline in (deadlines.heartbeat_at, deadlines.forgotten_at, deadlines.overdue_at):
        if deadline is not None and deadline <= judged_at:
            return TrustState.SILENT
    if deadlines.idle_at is not None and deadlines.idle_at <= judged_at:
        return TrustState.IDLE
    return TrustState.MEASURED


def _still_counted(standing: Standing, as_of: datetime) -> bool:
    return standing.counted_until is not None and standing.counted_until > as_of


def _next_deadline(deadlines: _Deadlines, standing: Standing, as_of: datetime) -> datetime | None:
    if standing.left_at is not None:
        candidates = [standing.counted_until]
    else:
        candidates = [
            deadlines.idle_at,
            deadlines.heartbeat_at,
            deadlines.forgotten_at,
            deadlines.overdue_at,
        ]
    return min((at for at in candidates if at is not None and at > as_of), default=None)


def _sum_between(rows: list[AgentHour], start: datetime, end: datetime) -> Facts:
    return add_facts(row.facts for row in rows if start <= row.hour < end)
