"""Trust for replies: from the rows that the tick wrote."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from orca.v1 import trust_pb2 as pb
from orca_server.domain.fleet_trust import COMPONENTS, WorkflowSums
from orca_server.domain.numbers import PPB, share_out
from orca_server.domain.trust import (
    ADHERENCE_WEIGHT,
    RECENT,
    SUCCESS_WEIGHT,
    WEIGHT_SUM,
    WINDOW,
    TrustState,
    band_of,
)

STATES = {state.value: pb.TrustState.Value(f"TRUST_STATE_{state.name}") for state in TrustState}
_AGENT_EVIDENCE = "/agents?filter=trust_state!=unmeasured&order_by=trust_level"
_WORKFLOW_EVIDENCE = "/workflows?filter=freshness!=UNMEASURED"


def band_to_proto(name: str) -> pb.Band.ValueType:
    """A band by its stored name; unspecified while nothing was measured."""
    return (
        pb.Band.BAND_UNSPECIFIED if name == "unmeasured" else pb.Band.Value(f"BAND_{name.upper()}")
    )


def trust_to_proto(row: Record) -> pb.Trust:
    """The fleet's score."""
    summary = json.loads(row["summary"])
    trust = pb.Trust(
        band=band_to_proto(row["band"]),
        capped_by=row["capped_by"],
        components=components_to_proto(summary),
        agents_by_band=pb.AgentsByBand(**summary["bands"]),
        workflows=pb.WorkflowsByFreshness(**_workflows(summary)),
        worst=[_worst(agent) for agent in summary["worst"]],
        coverage=_coverage(summary),
        stale=row["stale"],
        cost_usd=summary["cost_nano_usd"] / PPB,
        input_tokens=summary["input_tokens"],
        output_tokens=summary["output_tokens"],
        drift=pb.DriftCounts(**_drift(summary)),
    )
    trust.as_of.FromDatetime(row["as_of"])
    if row["trust_ppb"] is not None:
        trust.trust_ppb = row["trust_ppb"]
        trust.trust_score = row["trust_ppb"] / PPB
        trust.risk_avoided_usd = summary["risk_avoided_nano_usd"] / PPB
    freshness = summary["components"]["sync_freshness"]["ppb"]
    if freshness is not None:
        trust.sync_freshness_pct = freshness / (PPB // 100)
    if summary["compliance_ppb"] is not None:
        trust.compliance_sla_pct = summary["compliance_ppb"] / (PPB // 100)
    if (drift := summary.get("drift_ppb")) is not None:
        trust.drift_rate_pct = drift / (PPB // 100)
    return trust


def components_to_proto(summary: dict[str, Any]) -> pb.TrustComponents:
    """The parts of a score."""
    return pb.TrustComponents(**{name: _component(name, summary) for name in COMPONENTS})


def _component(name: str, summary: dict[str, Any]) -> pb.TrustComponent:
    part = summary["components"][name]
    component = pb.TrustComponent(weight=part["weight_ppb"] / PPB, evidence=_AGENT_EVIDENCE)
    if part["ppb"] is not None:
        component.ppb = part["ppb"]
        component.score = part["ppb"] / PPB
    if part["contribution_ppb"] is not None:
        component.contribution_ppb = part["contribution_ppb"]
        component.contribution = part["contribution_ppb"] / PPB
    if name == "sync_freshness":
        workflows = _workflows(summary)
        component.evidence = _WORKFLOW_EVIDENCE
        component.measured = workflows["fresh"] + workflows["stale"]
        component.unmeasured = workflows["unmeasured"]
        return component
    component.measured = summary["measured"]
    component.idle = summary["idle"]
    component.silent = summary["silent"]
    component.unmeasured = summary["agents"] - _with_values(summary)
    return component


def _workflows(summary: dict[str, Any]) -> dict[str, int]:
    """How many workflows are fresh, stale, unmeasured, paused; older scores knew of none."""
    found: dict[str, int] = summary.get("workflows", asdict(WorkflowSums()))
    return found


def _drift(summary: dict[str, Any]) -> dict[str, int]:
    """How many agents have a baseline and a drift; older scores knew of none."""
    found: dict[str, int] = summary.get("drift", {"baselines": 0, "drifted": 0})
    return found


def _with_values(summary: dict[str, Any]) -> int:
    return int(summary["measured"] + summary["idle"] + summary["silent"])


def _worst(agent: dict[str, Any]) -> pb.WorstAgent:
    return pb.WorstAgent(
        id=agent["id"],
        type=agent["type"],
        name=agent["name"],
        trust_level=agent["ppb"] / PPB,
        trust_ppb=agent["ppb"],
        trust_state=STATES[agent["state"]],
        evidence=f"/agents/{agent['id']}/trust",
    )


def _coverage(summary: dict[str, Any]) -> pb.Coverage:
    coverage = pb.Coverage(
        agents=summary["agents"],
        agents_with_values=_with_values(summary),
        absent_components=[
            name for name in COMPONENTS if summary["components"][name]["ppb"] is None
        ],
    )
    if summary["agents"]:
        coverage.agents_ratio = _with_values(summary) / summary["agents"]
    return coverage


def agent_trust_to_proto(agent_id: UUID, row: Record) -> pb.AgentTrust:
    """One agent's trust, explained."""
    trust = pb.AgentTrust(
        agent_id=str(agent_id),
        trust_state=STATES[row["state"] or "unmeasured"],
        cause=row["cause"] or "",
        explanation=_explanation(row),
        stale=row["stale"],
    )
    if row["as_of"] is not None:
        trust.as_of.FromDatetime(row["as_of"])
    if row["next_deadline_at"] is not None:
        trust.next_deadline_at.FromDatetime(row["next_deadline_at"])
    if row["counted_level_ppb"] is None:
        return trust
    trust.trust_ppb = row["counted_level_ppb"]
    trust.trust_level = row["counted_level_ppb"] / PPB
    trust.band = band_to_proto(band_of(row["counted_level_ppb"]).value)
    trust.contributions.extend(_contributions(row))
    end: datetime = row["window_end"]
    trust.window.CopyFrom(_window(row, end))
    trust.recent.operations = row["recent_operations"]
    trust.recent.errors = row["recent_errors"]
    trust.recent.start_at.FromDatetime(end - RECENT)
    trust.recent.end_at.FromDatetime(end)
    trust.evidence = (
        f"/agents/{agent_id}/telemetry?start_time={rfc3339(end - WINDOW)}&end_time={rfc3339(end)}"
    )
    return trust


def _contributions(row: Record) -> list[pb.AgentContribution]:
    """Success, adherence and, when silence lowers the level, what it takes away."""
    level, counted = row["level_ppb"], row["counted_level_ppb"]
    products = [SUCCESS_WEIGHT * row["success_ppb"], ADHERENCE_WEIGHT * row["adherence_ppb"]]
    shares = share_out(level, products) if any(products) else [0, 0]
    parts = [
        _contribution("success", row["success_ppb"], SUCCESS_WEIGHT, shares[0]),
        _contribution("adherence", row["adherence_ppb"], ADHERENCE_WEIGHT, shares[1]),
    ]
    if row["state"] == TrustState.SILENT.value:
        parts.append(_contribution("silence", None, 0, counted - level))
    return parts


def _contribution(name: str, ppb: int | None, weight: int, share: int) -> pb.AgentContribution:
    part = pb.AgentContribution(
        name=name, weight=weight / WEIGHT_SUM, contribution=share / PPB, contribution_ppb=share
    )
    if ppb is not None:
        part.ppb = ppb
        part.score = ppb / PPB
    return part


def _window(row: Record, end: datetime) -> pb.TrustFacts:
    facts = pb.TrustFacts(
        operations=row["operations"],
        errors=row["errors"],
        violations=row["violations"],
        blocked_violations=row["blocked_violations"],
    )
    facts.start_at.FromDatetime(end - WINDOW)
    facts.end_at.FromDatetime(end)
    if row["latency_operations"]:
        facts.latency_ms = row["latency_us"] / row["latency_operations"] / 1000
    return facts


def _explanation(row: Record) -> str:
    """Why the values are what they are, for people."""
    if row["agent_state"] == "CATALOG":
        return "It is in the catalogue and counts in nothing; enrol it, or let it report."
    if row["state"] is None or row["state"] == TrustState.UNMEASURED.value:
        return "It never reported an operation, so nothing is known of it."
    text = _STATE_TEXTS[row["state"]].format(
        operated=rfc3339(row["last_operation_at"]), reported=rfc3339(row["last_counted_at"])
    )
    if row["left_at"] is not None:
        left = f"{row['agent_state'].lower()} at {rfc3339(row['left_at'])}"
        text += f" It was {left} and keeps its values."
    return f"{text} {_CAUSE_TEXTS[row['cause']]}"


_STATE_TEXTS = {
    "measured": "Its newest operation was at {operated}.",
    "idle": "Its newest operation was at {operated}, more than a day ago; it keeps its values.",
    "silent": "It is past the deadline for its next report (newest operation {operated}, newest "
    "report {reported}), so each of its values counts as at most 0.5 until it reports again.",
}
_CAUSE_TEXTS = {
    "facts": "It changed last because telemetry came in.",
    "deadline": "It changed last because a deadline passed.",
    "operator": "It changed last because an operator changed the agent.",
}


def point_to_proto(row: Record, *, of_agent: bool) -> pb.TrustPoint:
    """A point of history."""
    point = pb.TrustPoint()
    point.as_of.FromDatetime(row["as_of"])
    ppb = row["counted_level_ppb"] if of_agent else row["trust_ppb"]
    if ppb is not None:
        point.trust_ppb = ppb
        point.trust_score = ppb / PPB
    if of_agent:
        point.trust_state = STATES[row["state"]]
        point.cause = row["cause"]
        point.band = pb.Band.BAND_UNSPECIFIED if ppb is None else band_to_proto(band_of(ppb).value)
    else:
        point.band = band_to_proto(row["band"])
        point.components.CopyFrom(components_to_proto(json.loads(row["summary"])))
    return point


def rfc3339(at: datetime) -> str:
    """The instant as paths and texts have it."""
    text = at.isoformat(timespec="seconds" if at.microsecond == 0 else "microseconds")
    return text.replace("+00:00", "Z")
