"""Faults to plant, one per rule of trust: a statement with one thing changed, or a function."""

from dataclasses import dataclass
from typing import Any

import pytest

from orca_server.domain import fleet_trust
from orca_server.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Fault:
    """A planted fault: in a statement, `old` becomes `new`."""

    query: str
    old: str
    new: str

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        assert self.old in QUERIES[self.query], "there is nothing to replace"
        patch.setitem(QUERIES, self.query, QUERIES[self.query].replace(self.old, self.new))


def computing(old: str, new: str) -> Fault:
    return Fault("compute_agent_trust", old, new)


def summing(old: str, new: str) -> Fault:
    return Fault("sum_fleets", old, new)


# Faults in what a tick computes from the facts: it is enough to compute once more.
IN_COMPUTING = {
    "prior of success, its weight": computing("20 * $5", "19 * $5"),
    "prior of success, its size": computing("(sums.operations + 20)", "(sums.operations + 21)"),
    "prior of recent success": computing("(sums.recent_operations + 20)", "sums.recent_operations"),
    "baseline": computing("20 * $5::numeric", "20 * ($5::numeric + 1)"),
    "recent hours from twenty operations on": computing(
        "recent_operations >= 20", "recent_operations > 20"
    ),
    "recent hours never raise": computing(
        "THEN least(\n                div(", "THEN greatest(\n                div("
    ),
    "six recent hours": computing("interval '6 hours'", "interval '5 hours'"),
    "window, its start": computing("interval '168 hours'", "interval '167 hours'"),
    "window, one hour too long": computing("interval '168 hours'", "interval '169 hours'"),
    "window ends with operations": computing(" AND h.operations > 0", ""),
    "success rounds half up": computing(
        "* 1000000000 + 20 * $5::numeric) + (sums.operations + 20)",
        "* 1000000000 + 20 * $5::numeric)",
    ),
    "adherence rounds half up": computing(
        "* 1000000000 + 10 * (sums.operations + 100)", "* 1000000000"
    ),
    "level rounds half up": computing(" + 10, 20) AS level_ppb", ", 20) AS level_ppb"),
    "health rounds half up": computing(
        "latency_factor + 1000000000, 2000000000", "latency_factor, 2000000000"
    ),
    "weight of a violation": computing(
        "- 20 * (10 * sums.violations", "- 19 * (10 * sums.violations"
    ),
    "a blocked violation is a tenth": computing(
        "+ sums.blocked_violations)", "+ 10 * sums.blocked_violations)"
    ),
    "prior of adherence": computing("sums.operations + 100", "sums.operations + 99"),
    "adherence is never negative": computing(
        "2 * greatest(\n                    0,", "2 * greatest(\n                    1,"
    ),
    "level weighs success with 0.6": computing(
        "6 * parts.success_ppb + 4 * parts.adherence_ppb",
        "5 * parts.success_ppb + 5 * parts.adherence_ppb",
    ),
    "a silent value counts half": computing("'silent' THEN 500000000", "'silent' THEN 600000000"),
    "silence caps success": computing(
        "least(levels.success_ppb, levels.cap)", "levels.success_ppb"
    ),
    "silence caps adherence": computing(
        "least(levels.adherence_ppb, levels.cap)", "levels.adherence_ppb"
    ),
    "silence caps the level": computing("least(levels.level_ppb, levels.cap)", "levels.level_ppb"),
    "silence keeps what is lower": computing(
        "least(levels.success_ppb, levels.cap)",
        "CASE levels.cap WHEN 1000000000 THEN levels.success_ppb ELSE levels.cap END",
    ),
    "idle after a day": computing("interval '24 hours'", "interval '25 hours'"),
    "idle at the very instant": computing("sums.idle_at <= ", "sums.idle_at < "),
    "silent after ninety days": computing("interval '2160 hours'", "interval '2161 hours'"),
    "forgotten at the very instant": computing("sums.forgotten_at <= ", "sums.forgotten_at < "),
    "heartbeat at the very instant": computing("sums.heartbeat_at <= ", "sums.heartbeat_at < "),
    "an edit ends no silence": computing("OR sums.overdue_at <= sums.judged_at", ""),
    "grace is a tenth": computing("interval '100 milliseconds'", "interval '101 milliseconds'"),
    "grace is a minute at least": computing(
        "interval '1 minute') AS patience", "interval '61 seconds') AS patience"
    ),
    "heartbeats count as signs of life": computing(
        "subjects.last_counted_at +", "subjects.last_operation_at +"
    ),
    "who left is judged when it left": computing("least($4, subjects.left_at)", "$4"),
    "who left counts for a week": computing("coalesce(sums.counted_until > $4, false)", "false"),
    "who left is gone after a week": computing(
        "sums.counted_until > $4, false", "sums.counted_until >= $4, false"
    ),
    "default latency limit": computing("latency_limit_us, 1000000)", "latency_limit_us, 1000001)"),
    "latency halves at most": computing(
        "ELSE greatest(\n                500000000", "ELSE greatest(\n                400000000"
    ),
    "latency is the mean of what was timed": computing(
        "limit_us * levels.latency_operations", "limit_us * levels.operations"
    ),
    "sums stay at their ceiling": computing("2305843009213693952", "1152921504606846976"),
    "unmeasured agents are in no mean": summing(
        "state = 'measured'", "state IN ('measured', 'unmeasured')"
    ),
    "idle agents are counted": summing("state = 'idle'", "state = 'measured'"),
    "agents that left are in no mean": summing("WHERE in_fleet", "WHERE true"),
    "low criticality weighs 1": summing("'low' THEN 1", "'low' THEN 2"),
    "normal criticality weighs 3": summing("'normal' THEN 3", "'normal' THEN 2"),
    "critical agents weigh 9": summing("ELSE 9 END * ", "ELSE 8 END * "),
    "uptime is the mean of success": summing("sum(counted_success_ppb", "sum(success_ppb"),
    "adherence is a mean of what counts": summing("sum(counted_adherence_ppb", "sum(adherence_ppb"),
    "excellent from 0.85 on": summing(">= 850000000", "> 850000000"),
    "a critical agent caps the band": summing(
        "bool_or(criticality = 'critical' AND", "bool_or(criticality = 'low' AND"
    ),
    "blocked violations break no compliance": summing(
        "sum(violations)", "sum(violations + blocked_violations)"
    ),
    "cost is a total": summing("sum(cost_nano_usd)", "max(cost_nano_usd)"),
    "the worst ten": Fault("list_worst_agents", "LIMIT 10", "LIMIT 9"),
    "the worst first": Fault(
        "list_worst_agents", "ORDER BY counted_level_ppb,", "ORDER BY counted_level_ppb DESC,"
    ),
}

# Faults on the way from records to facts, or in when a tick looks: the history must be played anew.
ON_THE_WAY = {
    "hours are hours": Fault("store_telemetry", "date_bin('1 hour'", "date_bin('2 hours'"),
    "suspended agents' records do not count": Fault(
        "store_telemetry", "sum(operations) FILTER (WHERE counted)", "sum(operations)"
    ),
    "heartbeats of suspended agents are no sign of life": Fault(
        "store_telemetry", "max(observed_at) FILTER (WHERE counted),", "max(observed_at),"
    ),
    "latency is weighed by operations": Fault(
        "store_telemetry", "latency_us::numeric * operations", "latency_us::numeric"
    ),
    "untimed operations have no latency": Fault(
        "store_telemetry", "counted AND latency_us IS NOT NULL", "counted"
    ),
    "heartbeats are no operations": Fault(
        "store_telemetry", "counted AND operations > 0", "counted"
    ),
    "late records add to their hour": Fault(
        "merge_trust_inbox", "least(kept.operations + ", "least("
    ),
    "errors add to their hour": Fault("merge_trust_inbox", "least(kept.errors + ", "least("),
    "the newest record is kept": Fault(
        "merge_trust_inbox", "greatest(kept.last_seen_at,", "least(kept.last_seen_at,"
    ),
    "hourly sums stay at their ceiling": Fault(
        "merge_trust_inbox", "2305843009213693952", "1152921504606846976"
    ),
    "late records add to the window": Fault(
        "merge_trust_inbox", "least(kept.errors + gained.errors", "least(kept.errors"
    ),
    "records from before the window do not add to it": Fault(
        "merge_trust_inbox", "hours.hour >= t.window_end - interval '168 hours' AND ", ""
    ),
    "records from after the window add to it once": Fault(
        "merge_trust_inbox", " AND hours.hour < t.window_end", ""
    ),
    "hours leave the window": computing("-h.errors", "0 * h.errors"),
    "hours come into the window": computing(
        "greatest(subjects.kept_end,", "greatest(subjects.kept_end + interval '9000 hours',"
    ),
    "what was never in the window does not leave it": computing(
        "least(subjects.kept_end, subjects.window_end", "least(NULL, subjects.window_end"
    ),
    "a window with a sum at its ceiling is summed anew": computing(
        "< 2305843009213693952", "<= 2305843009213693952"
    ),
    "passed deadlines are looked at": computing("AND next_deadline_at <= $4", "AND false"),
    "the idle deadline is noted": computing(
        "CASE WHEN sums.idle_at > $4 THEN sums.idle_at END", "NULL"
    ),
    "the heartbeat deadline is noted": computing(
        "CASE WHEN sums.heartbeat_at > $4 THEN sums.heartbeat_at END", "NULL"
    ),
    "the ninety days are noted": computing(
        "CASE WHEN sums.forgotten_at > $4 THEN sums.forgotten_at END", "NULL"
    ),
    "the end of a stay is noted": computing(
        "THEN CASE WHEN sums.counted_until > $4 THEN sums.counted_until END", "THEN NULL"
    ),
    "an operator's change marks the agent": Fault(
        "mark_agents", "SELECT $1, unnest($2::uuid[])", "SELECT $1, unnest($2::uuid[]) LIMIT 0"
    ),
    "reporting enrols": Fault("enrol_reporting_agents", "state = 'CATALOG'", "state = 'NONE'"),
}


def truncated(numerator: int, denominator: int) -> int:
    return numerator // denominator


def last_takes_the_rest(total: int, weights: list[int]) -> list[int]:
    parts = [total * weight // sum(weights) for weight in weights]
    return [*parts[:-1], parts[-1] + total - sum(parts)]


def smallest_remainder(total: int, weights: list[int]) -> list[int]:
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    order = sorted(range(len(parts)), key=lambda i: (total * weights[i] % whole, i))
    for index in order[: total - sum(parts)]:
        parts[index] += 1
    return parts


def sync_freshness_zero(sums: fleet_trust.FleetSums) -> dict[str, int | None]:
    return {**VALUES(sums), "sync_freshness": 0}


def never_negative(*args: Any) -> int | None:
    worth = RISK(*args)
    return None if worth is None else max(0, worth)


VALUES, RISK = fleet_trust.component_values, fleet_trust._risk_avoided

# Faults in the fleet's score, planted by name in the module.
IN_THE_SCORE: dict[str, tuple[str, Any]] = {
    "means round half up": ("divide_half_up", truncated),
    "what is left goes to the largest remainder": ("share_out", smallest_remainder),
    "ties go to the first component": ("share_out", last_takes_the_rest),
    "an absent component has no weight": ("component_values", sync_freshness_zero),
    "uptime has a floor": ("FLOORS_PPB", {"policy_adherence": 850_000_000}),
    "adherence has a floor": ("FLOORS_PPB", {"agent_uptime": 850_000_000}),
    "what is avoided may be negative": ("_risk_avoided", never_negative),
}
