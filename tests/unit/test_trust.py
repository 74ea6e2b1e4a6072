"""One agent's trust: values worked by hand from the definition, then what always holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.numbers import MAX_SUM, PPB
from orca_server.domain.trust import (
    AgentHour,
    AgentTrust,
    Band,
    Facts,
    Standing,
    TrustState,
    adherence_ppb,
    band_of,
    evaluate,
    health_ppb,
    heartbeat_grace,
    level_ppb,
    success_ppb,
)

M = 850_000_000
T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


def hour_row(
    hour: datetime, operations: int = 0, errors: int = 0, *, minute: int = 30, **facts: int
) -> AgentHour:
    """An hour whose only record lies `minute` minutes into it."""
    at = hour + timedelta(minutes=minute)
    operated_at = at if operations else None
    return AgentHour(
        hour, Facts(operations=operations, errors=errors, **facts), operated_at, at, at
    )


def judge(*rows: AgentHour, at: datetime = T0 + HOUR, **declared: object) -> AgentTrust:
    """Trust at an instant, by default within a day of T0."""
    return evaluate(rows, Standing(**declared), at, M)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operations", "errors", "baseline", "expected"),
    [
        (0, 0, M, 850_000_000),
        (10, 0, M, 900_000_000),  # (10 + 17) / 30
        (3, 0, M, 869_565_217),  # 20 / 23
        (10, 10, M, 566_666_667),  # 17 / 30
        (20, 20, M, 425_000_000),  # 17 / 40
        (1000, 0, M, 997_058_824),  # 1017 / 1020
        (1004, 20, M, 977_539_063),  # 1001 / 1024 = .9775390625
        (80, 0, 0, 800_000_000),
        (80, 80, PPB, 200_000_000),
    ],
)
def test_success(operations: int, errors: int, baseline: int, expected: int) -> None:
    assert success_ppb(operations, errors, baseline) == expected


@pytest.mark.parametrize(
    ("operations", "violations", "blocked", "expected"),
    [
        (0, 0, 0, PPB),
        (100, 1, 0, 900_000_000),  # 1 - 20 / 200
        (100, 0, 1, 990_000_000),  # a blocked one weighs a tenth
        (100, 1, 10, 800_000_000),
        (100, 10, 0, 0),
        (100, 11, 0, 0),  # never below 0
        (20_000, 1_000, 0, 4_975_124),  # 5 %: 1 - 20,000 / 20,100
        (200, 0, 1, 993_333_333),  # 1 - 2 / 300
    ],
)
def test_adherence(operations: int, violations: int, blocked: int, expected: int) -> None:
    facts = Facts(operations=operations, violations=violations, blocked_violations=blocked)
    assert adherence_ppb(facts) == expected


@pytest.mark.parametrize(
    ("success", "adherence", "expected"),
    [
        (PPB, PPB, PPB),
        (0, PPB, 400_000_000),
        (PPB, 0, 600_000_000),
        (869_565_217, PPB, 921_739_130),
    ],
)
def test_level(success: int, adherence: int, expected: int) -> None:
    assert level_ppb(success, adherence) == expected


@pytest.mark.parametrize(
    ("mean_ms", "limit_us", "expected"),
    [
        (0, None, 900_000_000),
        (999, None, 900_000_000),
        (1000, None, 900_000_000),  # at its limit: 1000 / 1000
        (1500, None, 600_000_000),  # .9 x .666666667
        (2000, None, 450_000_000),
        (9000, None, 450_000_000),  # never less than half
        (9000, 9_000_000, 900_000_000),
        (4, 3_000, 675_000_000),
    ],
)
def test_health_falls_with_latency(mean_ms: int, limit_us: int | None, expected: int) -> None:
    facts = Facts(operations=9, latency_operations=7, latency_us=7 * mean_ms * 1000)
    assert health_ppb(900_000_000, facts, limit_us) == expected


def test_latency_that_was_never_reported_lowers_nothing() -> None:
    assert health_ppb(900_000_000, Facts(operations=9), 1_000) == 900_000_000


@pytest.mark.parametrize(
    ("ppb", "band"),
    [
        (PPB, Band.EXCELLENT),
        (850_000_000, Band.EXCELLENT),
        (849_999_999, Band.GOOD),
        (700_000_000, Band.GOOD),
        (699_999_999, Band.MODERATE),
        (500_000_000, Band.MODERATE),
        (499_999_999, Band.CRITICAL),
        (0, Band.CRITICAL),
    ],
)
def test_bands(ppb: int, band: Band) -> None:
    assert band_of(ppb) is band


def test_an_agent_with_ten_good_operations() -> None:
    trust = judge(hour_row(T0, 10))
    assert trust.state is TrustState.MEASURED
    assert (trust.success_ppb, trust.adherence_ppb) == (900_000_000, PPB)
    assert trust.level_ppb == trust.counted_level_ppb == trust.health_ppb == 940_000_000
    assert trust.window_end == T0 + HOUR
    assert trust.next_deadline_at == T0 + timedelta(hours=24, minutes=30)


def test_an_agent_that_never_operated_has_no_values() -> None:
    for rows in ([], [hour_row(T0)]):
        trust = judge(*rows)
        assert trust.state is TrustState.UNMEASURED
        assert trust.in_fleet
        assert trust.window == trust.recent == Facts()
        values = (trust.success_ppb, trust.adherence_ppb, trust.level_ppb, trust.health_ppb)
        counted = (trust.counted_success_ppb, trust.counted_adherence_ppb, trust.counted_level_ppb)
        assert set(values + counted + (trust.window_end,)) == {None}


@pytest.mark.parametrize(
    ("hours_ago", "counts"), [(1, True), (167, True), (168, False), (1000, False)]
)
def test_the_window_has_168_hours(hours_ago: int, counts: bool) -> None:
    trust = judge(hour_row(T0, 1), hour_row(T0 - hours_ago * HOUR, 50, 50))
    assert trust.window.operations == (51 if counts else 1)


@pytest.mark.parametrize(
    ("bad_ago", "errors", "lowered"), [(5, 19, True), (5, 18, False), (6, 19, False)]
)
def test_the_last_six_hours_lower_success_from_twenty_operations_on(
    bad_ago: int, errors: int, lowered: bool
) -> None:
    good = hour_row(T0 - 100 * HOUR, 980)
    trust = judge(good, hour_row(T0 - bad_ago * HOUR, errors, errors), hour_row(T0, 1))
    # (1 + 17) / 40 once there are 20 of them, else all 168 hours: (981 + 17) / (981 + errors + 20)
    whole = {19: 978_431_373, 18: 979_391_560}[errors]
    assert trust.success_ppb == (450_000_000 if lowered else whole)


def test_good_last_hours_do_not_raise_success() -> None:
    trust = judge(hour_row(T0 - 100 * HOUR, 100, 100), hour_row(T0, 100))
    assert trust.success_ppb == success_ppb(200, 100, M)
    assert trust.recent.operations == 100


def test_the_window_stands_still_while_the_agent_is_quiet() -> None:
    rows = (hour_row(T0 - 100 * HOUR, 50, 50), hour_row(T0, 1))
    beats = tuple(hour_row(T0 + n * HOUR) for n in range(1, 80))
    quiet = judge(*rows, *beats, at=T0 + timedelta(days=80))
    assert quiet.window == judge(*rows).window
    assert quiet.state is TrustState.IDLE


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (timedelta(hours=24) - INSTANT, TrustState.MEASURED),
        (timedelta(hours=24), TrustState.IDLE),
        (timedelta(days=90) - INSTANT, TrustState.IDLE),
        (timedelta(days=90), TrustState.SILENT),
    ],
)
def test_states_change_at_the_very_instant_of_their_deadline(
    after: timedelta, state: TrustState
) -> None:
    last = T0 + timedelta(minutes=30)
    assert judge(hour_row(T0, 10), at=last + after).state is state


def test_deadlines_follow_one_another() -> None:
    last, row = T0 + timedelta(minutes=30), hour_row(T0, 10)
    day, ninety = last + timedelta(days=1), last + timedelta(days=90)
    found = [judge(row, at=at).next_deadline_at for at in (last, day - INSTANT, day, ninety)]
    assert found == [day, day, ninety, None]


@pytest.mark.parametrize(
    ("interval", "grace"),
    [(10, 60), (599, 60), (600, 60), (601, 60.1), (3600, 360), (2_592_000, 259_200)],
)
def test_grace_past_a_heartbeat(interval: int, grace: float) -> None:
    assert heartbeat_grace(timedelta(seconds=interval)) == timedelta(seconds=grace)


def test_a_missed_heartbeat_halves_at_the_very_instant_and_a_new_one_restores() -> None:
    interval = timedelta(hours=1)
    due = T0 + timedelta(minutes=30) + interval + timedelta(minutes=6)
    row = hour_row(T0, 10)
    before = judge(row, at=due - INSTANT, heartbeat_interval=interval)
    silent = judge(row, at=due, heartbeat_interval=interval)
    assert (before.state, before.next_deadline_at) == (TrustState.MEASURED, due)
    assert silent.state is TrustState.SILENT
    counted = (silent.counted_success_ppb, silent.counted_adherence_ppb, silent.counted_level_ppb)
    assert counted == (500_000_000,) * 3
    assert silent.health_ppb == 500_000_000
    assert (silent.success_ppb, silent.level_ppb) == (900_000_000, 940_000_000)
    beat = AgentHour(due.replace(minute=0), Facts(), None, due, due)
    back = judge(row, beat, at=due, heartbeat_interval=interval)
    assert back.state is TrustState.MEASURED
    assert back.counted_level_ppb == 940_000_000


def test_a_promise_that_was_changed_when_broken_leaves_silence_until_a_newer_report() -> None:
    last, changed = T0 + timedelta(minutes=30), T0 + timedelta(hours=5)
    row = hour_row(T0, 10)
    for at, state in (
        (changed - INSTANT, TrustState.MEASURED),
        (changed, TrustState.SILENT),
        (changed + HOUR, TrustState.SILENT),
    ):
        assert judge(row, at=at, overdue_at=changed).state is state
    assert judge(row, at=last, overdue_at=changed).next_deadline_at == changed
    for reported, state in (
        (changed, TrustState.SILENT),
        (changed + INSTANT, TrustState.MEASURED),
    ):
        beat = AgentHour(changed.replace(minute=0), Facts(), None, reported, reported)
        assert judge(row, beat, at=changed + HOUR, overdue_at=changed).state is state


def test_silence_does_not_raise_what_is_below_half() -> None:
    row = hour_row(T0, 100, 100, violations=50)
    trust = judge(row, at=T0 + timedelta(days=200))
    assert trust.state is TrustState.SILENT
    assert trust.counted_success_ppb == trust.success_ppb == 141_666_667
    assert trust.counted_adherence_ppb == 0
    assert trust.counted_level_ppb == 85_000_000


def test_a_record_that_was_not_counted_is_no_heartbeat() -> None:
    unseen = AgentHour(T0 + HOUR, Facts(), None, None, T0 + HOUR)
    at = T0 + timedelta(hours=3)
    trust = judge(hour_row(T0, 10), unseen, at=at, heartbeat_interval=timedelta(hours=1))
    assert trust.state is TrustState.SILENT


def test_an_agent_that_left_is_judged_when_it_left_and_counts_for_its_stay() -> None:
    left = T0 + timedelta(hours=2)
    stay = left + timedelta(days=7)
    declared = {"left_at": left, "counted_until": stay, "heartbeat_interval": timedelta(hours=3)}
    row = hour_row(T0, 10)
    last = judge(row, at=stay - INSTANT, **declared)
    assert last.state is TrustState.MEASURED
    assert (last.in_fleet, last.next_deadline_at) == (True, stay)
    gone = judge(row, at=stay, **declared)
    assert (gone.in_fleet, gone.next_deadline_at) == (False, None)
    assert gone.counted_level_ppb == 940_000_000


def test_an_agent_that_left_silent_stays_silent() -> None:
    interval = timedelta(hours=1)
    due = T0 + timedelta(minutes=30) + interval + timedelta(minutes=6)
    row = hour_row(T0, 10)
    for left, state in ((due, TrustState.SILENT), (due - INSTANT, TrustState.MEASURED)):
        trust = judge(
            row,
            at=due + HOUR,
            left_at=left,
            counted_until=left + timedelta(days=7),
            heartbeat_interval=interval,
        )
        assert trust.state is state


def test_sums_of_a_window_saturate_and_still_divide() -> None:
    facts = {"latency_us": MAX_SUM, "latency_operations": 10**9, "cost_nano_usd": MAX_SUM}
    rows = [hour_row(T0 - n * HOUR, 10**9, 10**9, violations=10**9, **facts) for n in range(9)]
    trust = judge(*rows)
    assert trust.window.operations == 9 * 10**9
    assert trust.window.latency_us == trust.window.cost_nano_usd == MAX_SUM
    assert trust.success_ppb == 2  # 17 / 9,000,000,020
    assert trust.adherence_ppb == 0
    assert trust.health_ppb == 1


histories = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=400),  # hours ago
        st.integers(min_value=0, max_value=60),  # operations
        st.integers(min_value=0, max_value=60),  # errors, cut to operations
        st.integers(min_value=0, max_value=5),  # violations
        st.integers(min_value=0, max_value=5),  # blocked
        st.integers(min_value=0, max_value=59),  # minute
    ),
    max_size=30,
    unique_by=lambda row: row[0],
)


def rows_of(history: list[tuple[int, ...]]) -> list[AgentHour]:
    return [
        hour_row(
            T0 - ago * HOUR,
            operations,
            min(errors, operations),
            minute=minute,
            violations=violations if operations else 0,
            blocked_violations=blocked if operations else 0,
        )
        for ago, operations, errors, violations, blocked, minute in history
    ]


@given(history=histories, seed=st.integers(min_value=0, max_value=99))
def test_the_order_of_hours_does_not_matter(history: list[tuple[int, ...]], seed: int) -> None:
    rows = rows_of(history)
    shuffled = list(rows)
    Random(seed).shuffle(shuffled)
    assert judge(*shuffled) == judge(*rows)


@given(history=histories)
def test_values_are_the_rounded_exact_values(history: list[tuple[int, ...]]) -> None:
    rows = rows_of(history)
    trust = judge(*rows)
    if trust.success_ppb is None or trust.adherence_ppb is None:
        assert not any(row.facts.operations for row in rows)
        return
    w = trust.window
    exact = Fraction(w.operations - w.errors + 17, w.operations + 20)
    r = trust.recent
    if r.operations >= 20:
        exact = min(exact, Fraction(r.operations - r.errors + 17, r.operations + 20))
    assert abs(trust.success_ppb - exact * PPB) <= Fraction(1, 2)
    rate = Fraction(10 * w.violations + w.blocked_violations, 10 * (w.operations + 100))
    assert abs(trust.adherence_ppb - max(0, 1 - 20 * rate) * PPB) <= Fraction(1, 2)


@given(
    history=histories,
    interval=st.none() | st.integers(min_value=10, max_value=100_000),
    waits=st.lists(st.integers(min_value=0, max_value=40_000_000), min_size=2, max_size=5),
)
def test_waiting_never_raises_a_value(
    history: list[tuple[int, ...]], interval: int | None, waits: list[int]
) -> None:
    rows = rows_of(history)
    declared = {} if interval is None else {"heartbeat_interval": timedelta(seconds=interval)}
    moments = [T0 + HOUR + timedelta(seconds=wait) for wait in sorted(waits)]
    found = [judge(*rows, at=at, **declared) for at in moments]
    for earlier, later in pairwise(found):
        for name in ("counted_success_ppb", "counted_adherence_ppb", "counted_level_ppb"):
            assert (getattr(later, name) or 0) <= (getattr(earlier, name) or 0)
        assert (later.health_ppb or 0) <= (earlier.health_ppb or 0)
        assert replace(later, state=earlier.state).window == earlier.window


@given(history=histories, wait=st.integers(min_value=0, max_value=20_000_000))
def test_between_deadlines_nothing_changes(history: list[tuple[int, ...]], wait: int) -> None:
    rows = rows_of(history)
    at = T0 + HOUR + timedelta(seconds=wait)
    now = judge(*rows, at=at)
    if now.next_deadline_at is not None:
        assert judge(*rows, at=now.next_deadline_at - INSTANT) == now
        assert judge(*rows, at=now.next_deadline_at) != now
