"""Checks of the fleet, from the score that the last tick wrote: tick, freshness, trust."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from orca_server.doctor.database import DatabaseView
from orca_server.doctor.findings import Finding, fail, ok, skipped, warn
from orca_server.domain.fleet_trust import FLOORS_PPB
from orca_server.domain.numbers import PPB
from orca_server.store.database import Record
from orca_server.store.doctor import OpenFindings

LOW_TRUST_PPB = 850_000_000
"""The guide's troubleshooting begins below 0.85."""
LOW_COMPLIANCE_PPB = 990_000_000
STALE_SHARE_PPB = 900_000_000
"""And that of stale workflows below 90 %."""
DRIFT_ALERT_PCT = 10
"""The guide's alert; DRIFT_THRESHOLD_PCT says from where on the doctor warns."""
NAMES = ("tick", "freshness", "adapters", "trust", "agents", "violations", "drift")


def check(
    view: DatabaseView, last_error: str | None, start: str, drift_threshold_pct: Decimal
) -> list[Finding]:
    """All checks of the fleet.

    Args:
        view: What the database gave.
        last_error: What the server says of its last tick; None if it was not asked.
        start: The command that starts database and server.
        drift_threshold_pct: Drift rate above which the fleet is drifting.
    """
    if view.server is None:
        return [skipped(name, "the database does not answer") for name in NAMES]
    if view.trust is None:
        told = "no tick has run yet"
        if "trust" in view.problems:
            told = f"the score cannot be read: {view.problems['trust']}"
        tick = _never(told, last_error, start)
        return [tick, *(skipped(name, told) for name in NAMES[1:])]
    summary = json.loads(view.trust["summary"])
    return [
        check_tick(view.trust, view.server.clock, last_error, start),
        check_freshness(summary),
        check_adapters(summary),
        check_trust(view.trust, summary),
        check_agents(summary),
        check_violations(summary, view.open),
        check_drift(summary, view.open, drift_threshold_pct),
    ]


def _never(told: str, last_error: str | None, start: str) -> Finding:
    if last_error is None:
        return skipped("tick", f"{told}: no server runs")
    cause = last_error or "the server has just begun, or may not read the tables"
    return fail("tick", told, cause, f"{start}; its log says: the trust tick failed")


def check_tick(head: Record, now: datetime, last_error: str | None, start: str) -> Finding:
    """Whether scores are new; `now` is the database's clock."""
    age = max(0.0, (now - head["as_of"]).total_seconds())
    found = f"the newest score is {_span(age)} old, ticks come every {head['interval_seconds']:g} s"
    if last_error:
        return fail("tick", found, last_error, "see the checks of the database; orca status")
    if not head["stale"]:
        return ok("tick", found)
    if last_error is None:
        return warn("tick", found, "no server runs that could compute it", start)
    cause = "another process holds the lock of the tick, or the server is very busy"
    return fail("tick", found, cause, "see the check transactions; orca trust refresh")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def check_freshness(summary: dict[str, Any]) -> Finding:
    """The share of workflows that succeeded before their deadline."""
    counts = summary.get("workflows")
    if not counts or not counts["fresh"] + counts["stale"]:
        return skipped("freshness", "no workflow is measured yet")
    counted = counts["fresh"] + counts["stale"]
    found = (
        f"{_percent(counts['fresh'], counted)} of {counted} workflows are fresh; "
        f"{counts['stale']} stale, {counts['unmeasured']} unmeasured, {counts['paused']} paused"
    )
    if counts["fresh"] * PPB >= STALE_SHARE_PPB * counted:
        return ok("freshness", found)
    return warn(
        "freshness",
        found,
        "they fail, or do not run, or their adapter sends no events: see adapters and ingest",
        "orca workflows list --filter 'freshness = STALE'",
    )


def check_adapters(summary: dict[str, Any]) -> Finding:
    """Whether agents that reported go on reporting."""
    agents, silent = summary["agents"], summary["silent"]
    if not agents:
        return skipped("adapters", "no agent has reported yet")
    found = f"{silent} of {agents} agents are silent, {summary['idle']} idle"
    if not silent:
        return ok("adapters", found)
    return warn(
        "adapters",
        found,
        "their adapter stopped, lost its token, or cannot reach the server",
        "orca agents list --filter 'trust_state = \"silent\"'; then look at each adapter's log",
    )


def check_trust(head: Record, summary: dict[str, Any]) -> Finding:
    """The score against the guide's 0.85, and which component holds it down."""
    trust_ppb = head["trust_ppb"]
    if trust_ppb is None:
        return skipped("trust", "nothing is measured yet, so there is no score")
    found = f"{trust_ppb / PPB:.4f}, {head['band']}"
    parts = {name: part["ppb"] for name, part in summary["components"].items()}
    low = [name for name, ppb in parts.items() if ppb is not None and ppb < LOW_TRUST_PPB]
    if trust_ppb >= LOW_TRUST_PPB and not head["capped_by"]:
        return ok("trust", found)
    listed = ", ".join(f"{name} {parts[name] / PPB:.4f}" for name in low)
    if head["capped_by"]:
        found += f", capped by {', '.join(head['capped_by'])}"
    cause = f"held down by {listed}" if listed else "see the checks agents and violations"
    return warn("trust", found, cause, "orca trust show")


def check_agents(summary: dict[str, Any]) -> Finding:
    """How many agents are in the lowest band, and the worst of them."""
    if not summary["measured"] + summary["idle"] + summary["silent"]:
        return skipped("agents", "no agent is measured yet")
    critical = summary["bands"].get("critical", 0)
    if not critical:
        return ok("agents", "none is critical")
    worst = ", ".join(
        f"{each['type']}/{each['name']} {each['ppb'] / PPB:.2f}" for each in summary["worst"][:3]
    )
    return warn(
        "agents",
        f"{critical} of {summary['agents']} are critical; the worst: {worst}",
        "errors in their telemetry, or silence, which halves their trust",
        f"orca trust show {summary['worst'][0]['type']}/{summary['worst'][0]['name']}",
    )


def check_violations(summary: dict[str, Any], open_: OpenFindings | None) -> Finding:
    """Open violations, and operations without one against the guide's 99.0 %."""
    compliance, part = summary["compliance_ppb"], summary["components"]["policy_adherence"]["ppb"]
    told = [] if open_ is None else [f"{open_.violations} open"]
    if compliance is not None:
        told.append(f"{compliance / PPB:.3%} of the operations are without a violation")
    elif not (open_ and open_.violations):
        return skipped("violations", "no operation was reported yet")
    found = "; ".join(told)
    adheres = part is None or part >= FLOORS_PPB["policy_adherence"]
    complies = compliance is None or compliance >= LOW_COMPLIANCE_PPB
    cause = "some agents do what a policy forbids, and nothing stops them"
    if open_ and open_.violations:
        return warn("violations", found, cause, "orca violations list")
    if complies and adheres:
        return ok("violations", found)
    return warn("violations", found, cause, "orca agents list --filter 'violations > 0'")


def check_drift(
    summary: dict[str, Any], open_: OpenFindings | None, threshold_pct: Decimal
) -> Finding:
    """Share of agents that are not as they were accepted, against DRIFT_THRESHOLD_PCT."""
    counts = summary.get("drift")
    if not counts or not counts["baselines"]:
        return skipped("drift", "nobody looked at what agents are yet")
    drifted, baselines = counts["drifted"], counts["baselines"]
    found = f"{_percent(drifted, baselines)} of {baselines} agents with a baseline have drifted"
    if open_ is not None:
        found += f"; {open_.drifts} open"
    if drifted * 100 <= threshold_pct * baselines:
        return ok("drift", found)
    above = f"DRIFT_THRESHOLD_PCT ({threshold_pct:f} %)"
    if drifted * 100 > DRIFT_ALERT_PCT * baselines:
        above = f"the alert of {DRIFT_ALERT_PCT} %"
    cause = "they were changed or released anew, or somebody tampers with them"
    return warn("drift", f"{found}, above {above}", cause, "orca drift list")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
