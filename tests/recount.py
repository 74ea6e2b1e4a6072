"""Trust once more, from raw telemetry and by another hand, to catch what the first two share.

Nothing of `orca_server` is imported and none of its SQL is read: records and agents are selected
as they are, everything is an exact rational until the one place where the definition rounds.
`tests.recount_differences` names each digit in which the database disagrees.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any
from uuid import UUID

BILLION = 10**9
CEILING = 2**61
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
HALF = Fraction(1, 2)
LADDER = (("excellent", Fraction(85, 100)), ("good", Fraction(7, 10)), ("moderate", HALF))
SUMMED = (
    "operations",
    "errors",
    "violations",
    "blocked_violations",
    "latency_us",
    "latency_operations",
    "cost_nano_usd",
    "input_tokens",
    "output_tokens",
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an operator chose: baseline, cost of distrust, patience, and a weight per component."""

    baseline: Fraction = Fraction(85, 100)
    cost_nano_usd: int = 10_000 * BILLION
    weights: Mapping[str, Fraction] = field(
        default_factory=lambda: {
            "agent_uptime": Fraction(30, 100),
            "policy_adherence": Fraction(30, 100),
            "sync_freshness": Fraction(25, 100),
            "risk_exposure": Fraction(15, 100),
        }
    )
    slo_hours: int = 24


def rounded(value: Fraction) -> int:
    """The nearest integer, halves up."""
    return floor(value + HALF)


def ppb(value: Fraction) -> int:
    """A ratio in parts per billion."""
    return rounded(value * BILLION)


def step_of(value: int) -> str:
    """The band of a score before caps."""
    return next((name for name, floor_ in LADDER if value >= floor_ * BILLION), "critical")


def apportion(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Whole parts of a total by largest remainder; of equal remainders the first wins."""
    whole = sum(shares)
    if not whole:
        return [0] * len(shares)
    quotas = [total * share / whole for share in shares]
    parts = [floor(quota) for quota in quotas]
    while sum(parts) < total:
        left = [quota - part for quota, part in zip(quotas, parts, strict=True)]
        parts[left.index(max(left))] += 1
    return parts


# One agent.


def instant_us(at: datetime) -> int:
    """Microseconds since 1970."""
    gone = at - EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds


def sums_of(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Totals of records; an absent measure adds nothing, and no total passes the ceiling."""
    totals = dict.fromkeys(SUMMED, 0)
    for one in records:
        for name in SUMMED:
            if name == "latency_us":
                totals[name] += (one["latency_us"] or 0) * one["operations"]
            elif name == "latency_operations":
                totals[name] += 0 if one["latency_us"] is None else one["operations"]
            else:
                totals[name] += one[name] or 0
    return {name: min(total, CEILING) for name, total in totals.items()}


def success(totals: Mapping[str, int], baseline: Fraction) -> Fraction:
    """Good operations of all, with twenty that went as the baseline says."""
    good = totals["operations"] - totals["errors"]
    return (good + 20 * baseline) / (totals["operations"] + 20)


def adherence(totals: Mapping[str, int]) -> Fraction:
    """One less twenty times the rate of violations, among a hundred more clean operations."""
    weighed = totals["violations"] + Fraction(totals["blocked_violations"], 10)
    return max(Fraction(0), 1 - 20 * weighed / (totals["operations"] + 100))


def latency_factor(totals: Mapping[str, int], limit_us: int | None) -> Fraction:
    """One up to the limit of mean latency, then limit / mean, at least a half; nine decimals."""
    if not totals["latency_operations"]:
        return Fraction(1)
    mean = Fraction(totals["latency_us"], totals["latency_operations"])
    limit = 1_000_000 if limit_us is None else limit_us
    return Fraction(1) if mean <= limit else max(HALF, Fraction(ppb(limit / mean), BILLION))


def newest(records: Iterable[Mapping[str, Any]]) -> datetime | None:
    """When the last of some records was observed."""
    return max((one["observed_at"] for one in records), default=None)


def left_fleet(agent: Mapping[str, Any], as_of: datetime) -> bool:
    """Whether an agent's stay in the means is over, a week after it was set aside.

    Raises:
        AssertionError: If its stay was cut short.
    """
    if agent["state"] == "ACTIVE":
        return False
    week_over = agent["left_at"] + timedelta(days=7)
    if agent["state"] == "SUSPENDED":
        assert agent["counted_until"] == week_over, "the stay of a suspended agent is a week"
    # Retired after being suspended: its week began anew.
    assert agent["counted_until"] >= week_over, "the stay of a retired agent is at least a week"
    return bool(as_of >= agent["counted_until"])


def state_of(
    agent: Mapping[str, Any],
    operated_at: datetime | None,
    counted_at: datetime | None,
    as_of: datetime,
) -> str:
    """How fresh an agent's values are: when it left, or else now."""
    if operated_at is None or counted_at is None:
        return "unmeasured"
    at = as_of if agent["left_at"] is None else min(as_of, agent["left_at"])
    promised = agent["heartbeat_interval_seconds"]
    if promised is not None:
        patience = max(Fraction(promised, 10), Fraction(60)) + promised
        if instant_us(at) - instant_us(counted_at) >= patience * 1_000_000:
            return "silent"
    if at - operated_at >= timedelta(days=90):
        return "silent"
    if agent["overdue_at"] is not None and counted_at <= agent["overdue_at"] <= at:
        return "silent"  # its promise was changed when it was broken already
    return "idle" if at - operated_at >= timedelta(days=1) else "measured"


def judge(
    agent: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    as_of: datetime,
    baseline: Fraction,
) -> dict[str, Any]:
    """One agent's digits, by the names of the columns that hold them."""
    counted = [one for one in records if one["counted"]]
    operated_at = newest(one for one in counted if one["operations"] > 0)
    state = state_of(agent, operated_at, newest(counted), as_of)
    digits: dict[str, Any] = {
        "state": state,
        "in_fleet": not left_fleet(agent, as_of),
        "criticality": agent["criticality"],
        "last_operation_at": operated_at,
        "last_counted_at": newest(counted),
        "last_seen_at": newest(records),
        "window_end": None,
    }
    if operated_at is None:
        return digits | values(None, None, state, Fraction(1)) | recent_of({}) | sums_of([])
    last_hour = instant_us(operated_at) // HOUR_US
    by_age = [(last_hour - instant_us(one["observed_at"]) // HOUR_US, one) for one in counted]
    window = sums_of(one for age, one in by_age if 0 <= age < 168)
    recent = sums_of(one for age, one in by_age if 0 <= age < 6)
    digits["window_end"] = EPOCH + timedelta(hours=last_hour + 1)
    s = success(window, baseline)
    if recent["operations"] >= 20:
        s = min(s, success(recent, baseline))
    factor = latency_factor(window, agent["latency_limit_us"])
    found = values(ppb(s), ppb(adherence(window)), state, factor)
    return digits | found | recent_of(recent) | window


def recent_of(recent: Mapping[str, int]) -> dict[str, int]:
    """What is kept of the last six hours."""
    return {f"recent_{name}": recent.get(name, 0) for name in ("operations", "errors")}


def values(s: int | None, p: int | None, state: str, factor: Fraction) -> dict[str, int | None]:
    """Success, adherence, level and health, before and after silence."""
    if s is None or p is None:
        names = ("success", "adherence", "level")
        absent = [f"{pre}{name}_ppb" for pre in ("", "counted_") for name in names]
        return dict.fromkeys([*absent, "health_ppb"])
    level = rounded(Fraction(6 * s + 4 * p, 10))
    top = BILLION // 2 if state == "silent" else BILLION
    return {
        "success_ppb": s,
        "adherence_ppb": p,
        "level_ppb": level,
        "counted_success_ppb": min(s, top),
        "counted_adherence_ppb": min(p, top),
        "counted_level_ppb": min(level, top),
        "health_ppb": rounded(min(level, top) * factor),
    }


# The fleet.

BURDEN = {"low": 1, "normal": 3, "critical": 9}
LEAST = {
    "sync_freshness": Fraction(80, 100),
    "agent_uptime": Fraction(85, 100),
    "policy_adherence": Fraction(85, 100),
}


def mean(pairs: Iterable[tuple[int, int]]) -> int | None:
    """Weighted mean of (weight, value), rounded; None of nothing."""
    kept = list(pairs)
    if not kept:
        return None
    return rounded(Fraction(sum(w * v for w, v in kept), sum(w for w, _ in kept)))


def score(
    agents: Mapping[UUID, dict[str, Any]], chosen: Chosen, fresh: int = 0, stale: int = 0
) -> dict[str, Any]:
    """A fleet's digits from those of its agents, and how many workflows are fresh and stale."""
    fleet = {key: one for key, one in agents.items() if one["in_fleet"]}
    valued = {key: one for key, one in fleet.items() if one["state"] != "unmeasured"}
    parts = {
        "agent_uptime": mean((1, one["counted_success_ppb"]) for one in valued.values()),
        "policy_adherence": mean((1, one["counted_adherence_ppb"]) for one in valued.values()),
        "sync_freshness": mean([(fresh, BILLION), (stale, 0)]) if fresh + stale else None,
        "risk_exposure": mean(
            (BURDEN[one["criticality"]], one["counted_level_ppb"]) for one in valued.values()
        ),
    }
    trust, components = weigh(parts, chosen)
    states = [one["state"] for one in fleet.values()]
    worst = sorted((one["counted_level_ppb"], key, one["state"]) for key, one in valued.items())
    digits = {
        "trust_ppb": trust,
        "components": components,
        "worst": [(level, str(key), state) for level, key, state in worst[:10]],
        "agents": len(fleet),
        "risk_avoided_nano_usd": risk_avoided(trust, len(valued), chosen),
        **{name: states.count(name) for name in ("measured", "idle", "silent")},
        **{name: total(fleet, name) for name in ("cost_nano_usd", *SUMMED[-2:])},
        "compliance_ppb": compliance(fleet),
        "bands": bands(valued),
    }
    band, capped_by = class_of(trust, parts, valued)
    return digits | {"band": band, "capped_by": capped_by}


def total(fleet: Mapping[UUID, dict[str, Any]], name: str) -> int:
    """A total over the agents' windows."""
    return sum(one[name] for one in fleet.values())


def bands(valued: Mapping[UUID, dict[str, Any]]) -> dict[str, int]:
    """Agents per band."""
    found = [step_of(one["counted_level_ppb"]) for one in valued.values()]
    return {name: found.count(name) for name in ("excellent", "good", "moderate", "critical")}


def weigh(
    parts: Mapping[str, int | None], chosen: Chosen
) -> tuple[int | None, dict[str, dict[str, int | None]]]:
    """The score, and value, weight and contribution of each part."""
    present = {name: value for name, value in parts.items() if value is not None}
    weights = [chosen.weights[name] for name in present]
    components: dict[str, dict[str, int | None]] = {
        name: {"ppb": value, "weight_ppb": 0, "contribution_ppb": None}
        for name, value in parts.items()
    }
    if not sum(weights):
        return None, components
    products = [w * v for w, v in zip(weights, present.values(), strict=True)]
    trust = rounded(sum(products, Fraction(0)) / sum(weights))
    scaled = apportion(BILLION, weights)
    shares = apportion(trust, products)
    for name, weight, share in zip(present, scaled, shares, strict=True):
        components[name] |= {"weight_ppb": weight, "contribution_ppb": share}
    return trust, components


def class_of(
    trust: int | None, parts: Mapping[str, int | None], valued: Mapping[UUID, dict[str, Any]]
) -> tuple[str, list[str]]:
    """The fleet's band, and what lowered it."""
    if trust is None:
        return "unmeasured", []
    order = ("agent_uptime", "policy_adherence", "sync_freshness")
    causes = [
        name
        for name in order
        if (value := parts[name]) is not None and Fraction(value, BILLION) < LEAST[name]
    ]
    if any(
        one["criticality"] == "critical" and step_of(one["counted_level_ppb"]) == "critical"
        for one in valued.values()
    ):
        causes.append("critical_agent")
    band = step_of(trust)
    if causes and band in ("excellent", "good"):
        return "moderate", causes
    return band, []


def compliance(fleet: Mapping[UUID, dict[str, Any]]) -> int | None:
    """Share of operations without an unblocked violation."""
    operations, violations = total(fleet, "operations"), total(fleet, "violations")
    if not operations:
        return None
    return ppb(max(Fraction(0), 1 - Fraction(violations, operations)))


def risk_avoided(trust: int | None, agents: int, chosen: Chosen) -> int | None:
    """What trust above the baseline is worth; the size is rounded, not the signed number."""
    if trust is None:
        return None
    worth = chosen.cost_nano_usd * (Fraction(trust, BILLION) - chosen.baseline) * agents
    return rounded(worth) if worth >= 0 else -rounded(-worth)
