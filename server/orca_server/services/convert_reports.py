"""Reports for replies: from the rows of one snapshot."""

import json
from datetime import datetime
from typing import Any
from urllib.parse import quote

from orca.v1 import report_pb2 as pb
from orca.v1 import trust_pb2 as trust_pb
from orca_server.domain import reports
from orca_server.domain.numbers import PPB
from orca_server.domain.reports import (
    PERIODS,
    AgentFacts,
    DriftFacts,
    Finding,
    Kind,
    ScorePoint,
    ViolationFacts,
    WorkflowFacts,
)
from orca_server.services.convert_trust import rfc3339, trust_to_proto
from orca_server.store.database import Record
from orca_server.store.reports import FindingRows, SummaryRows

_FLEET = "/agents"


def summary_to_proto(rows: SummaryRows) -> pb.ExecutiveSummary:
    """The summary, but for the time of its creation."""
    trust = trust_to_proto(rows.trust)
    tick = json.loads(rows.trust["summary"])
    summary = pb.ExecutiveSummary(
        fleet=_fleet(rows, tick, trust),
        trust=_trust(rows, tick, trust),
        freshness=pb.FreshnessReport(
            workflows=trust.workflows,
            stale=_stale(rows, trust.workflows.stale),
            evidence=trust.components.sync_freshness.evidence,
        ),
        compliance=_compliance(rows),
        risk=pb.RiskReport(evidence="/trust"),
        costs=_costs(rows, tick),
        drift=_drift(rows, trust),
    )
    summary.as_of.FromDatetime(rows.trust["as_of"])
    if trust.HasField("sync_freshness_pct"):
        summary.freshness.sync_freshness_pct = trust.sync_freshness_pct
    if trust.HasField("compliance_sla_pct"):
        summary.compliance.compliance_sla_pct = trust.compliance_sla_pct
    if trust.HasField("risk_avoided_usd"):
        summary.risk.risk_avoided_usd = trust.risk_avoided_usd
    return summary


def _fleet(rows: SummaryRows, tick: dict[str, Any], trust: trust_pb.Trust) -> pb.FleetReport:
    known = tick["measured"] + tick["idle"] + tick["silent"]
    return pb.FleetReport(
        agents=tick["agents"],
        measured=tick["measured"],
        idle=tick["idle"],
        silent=_quiet(rows, "silent", tick["silent"]),
        unmeasured=_quiet(rows, "unmeasured", tick["agents"] - known),
        bands=trust.agents_by_band,
        evidence=_FLEET,
    )


def _quiet(rows: SummaryRows, state: str, total: int) -> pb.NamedAgents:
    return pb.NamedAgents(
        total=total,
        agents=[_agent(row) for row in rows.quiet if row["state"] == state],
        evidence=f"/agents?filter=trust_state={state.upper()}",
    )


def _agent(row: Record) -> pb.ReportedAgent:
    agent = pb.ReportedAgent(
        id=str(row["id"]),
        type=row["type"],
        name=row["name"],
        owner=row["owner"],
        evidence=f"/agents/{row['id']}",
    )
    if row["last_seen_at"] is not None:
        agent.last_seen_at.FromDatetime(row["last_seen_at"])
    return agent


def _trust(rows: SummaryRows, tick: dict[str, Any], trust: trust_pb.Trust) -> pb.TrustReport:
    report = pb.TrustReport(
        band=trust.band,
        capped_by=trust.capped_by,
        components=trust.components,
        worst=trust.worst,
        evidence="/trust",
    )
    if trust.HasField("trust_ppb"):
        report.trust_score, report.trust_ppb = trust.trust_score, trust.trust_ppb
    now = _point(rows.trust["trust_ppb"], tick)
    for period, age in PERIODS.items():
        since = rows.trust["as_of"] - age
        report.changes.append(_change(period, since, rows, now))
    for row in sorted(rows.before.values(), key=lambda each: each["at"]):
        _add_point(report, row["at"], row["trust_ppb"])
    _add_point(report, rows.trust["as_of"], rows.trust["trust_ppb"])
    return report


def _add_point(report: pb.TrustReport, at: datetime, trust_ppb: int | None) -> None:
    """Adds to the history what was measured."""
    if trust_ppb is not None:
        point = report.history.add(trust_score=trust_ppb / PPB, trust_ppb=trust_ppb)
        point.at.FromDatetime(at)


def _point(trust_ppb: int | None, tick: dict[str, Any]) -> ScorePoint | None:
    if trust_ppb is None:
        return None
    parts = tick["components"].items()
    return ScorePoint(trust_ppb, {name: part["contribution_ppb"] or 0 for name, part in parts})


def _change(
    period: str, since: datetime, rows: SummaryRows, now: ScorePoint | None
) -> pb.TrustChange:
    start, end = rfc3339(since), rfc3339(rows.trust["as_of"])
    change = pb.TrustChange(
        period=period, evidence=f"/trust/history?start_time={start}&end_time={end}"
    )
    change.since.FromDatetime(since)
    row = rows.before.get(since)
    before = None if row is None else _point(row["trust_ppb"], json.loads(row["summary"]))
    if before is None:
        return change
    change.before_ppb = before.trust_ppb
    if now is not None:
        found = reports.compare(before, now)
        change.change_ppb = found.change_ppb
        change.change = found.change_ppb / PPB
        for name, ppb in found.moved_by:
            change.moved_by.add(name=name, change_ppb=ppb, change=ppb / PPB)
    return change


def _stale(rows: SummaryRows, total: float) -> pb.NamedWorkflows:
    return pb.NamedWorkflows(
        total=total,
        workflows=[_workflow(row) for row in rows.stale],
        evidence="/workflows?filter=freshness=STALE%20AND%20state!=PAUSED",
    )


def _workflow(row: Record) -> pb.ReportedWorkflow:
    workflow = pb.ReportedWorkflow(
        id=str(row["id"]),
        provider=row["provider"],
        name=row["name"],
        owner=row["owner"],
        last_outcome=row["last_outcome"] or "",
        evidence=f"/workflows/{row['id']}",
    )
    if row["last_success_at"] is not None:
        workflow.last_success_at.FromDatetime(row["last_success_at"])
    return workflow


def _compliance(rows: SummaryRows) -> pb.ComplianceReport:
    report = pb.ComplianceReport(evidence="/agents?filter=violations>0")
    if rows.owners:  # every agent has an owner or none, so no row means no agent
        report.operations = float(rows.owners[0]["operations"])
        report.violations = float(rows.owners[0]["violations"])
    report.open.evidence = "/violations?filter=resolved=false"
    report.open.total = rows.violations[0]["total"] if rows.violations else 0
    for row in rows.violations:
        found = report.open.violations.add(
            violations=row["violations"],
            blocked_violations=row["blocked_violations"],
            evidence=f"/violations?filter=id=%22{row['id']}%22",
        )
        _name_finding(found, row)
    return report


def _drift(rows: SummaryRows, trust: trust_pb.Trust) -> pb.DriftReport:
    report = pb.DriftReport(
        baselines=trust.drift.baselines,
        drifted=trust.drift.drifted,
        total=rows.drift[0]["total"] if rows.drift else 0,
        evidence="/drift?filter=resolved=false",
    )
    if trust.HasField("drift_rate_pct"):
        report.drift_rate_pct = trust.drift_rate_pct
    for row in rows.drift:
        found = report.drift.add(
            difference_count=row["difference_count"],
            first_path=row["first_path"] or "",
            evidence=f"/drift?filter=id=%22{row['id']}%22",
        )
        _name_finding(found, row)
    return report


def _name_finding(found: pb.ReportedViolation | pb.ReportedDrift, row: Record) -> None:
    found.id, found.entity_id = str(row["id"]), str(row["entity_id"])
    found.entity, found.rule = f"{row['type']}/{row['name']}", row["rule"]
    found.last_seen_at.FromDatetime(row["last_seen_at"])


def _costs(rows: SummaryRows, tick: dict[str, Any]) -> pb.CostReport:
    return pb.CostReport(
        cost_usd=tick["cost_nano_usd"] / PPB,
        input_tokens=tick["input_tokens"],
        output_tokens=tick["output_tokens"],
        owners=[
            pb.OwnerCost(
                owner=row["owner"],
                agents=row["agents"],
                evidence=_owned_by(row["owner"]),
                **_cost(row),
            )
            for row in rows.owners
        ],
        total_owners=rows.owners[0]["total"] if rows.owners else 0,
        agents=[pb.AgentCost(agent=_agent(row), **_cost(row)) for row in rows.agents],
        total_agents=rows.agents[0]["total"] if rows.agents else 0,
        evidence=_FLEET,
    )


def _cost(row: Record) -> dict[str, float]:
    return {
        "cost_usd": int(row["cost_nano_usd"]) / PPB,
        "input_tokens": float(row["input_tokens"]),
        "output_tokens": float(row["output_tokens"]),
    }


def _owned_by(owner: str) -> str:
    text = owner.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    return "/agents?filter=" + quote(f'owner = "{text}"', safe="")


def healing_to_proto(rows: FindingRows, limit: int) -> pb.Healing:
    """Findings, the most severe first, and how many there are."""
    totals = dict.fromkeys(Kind, 0)
    for found in (rows.agents, rows.workflows):
        for kind, total in {row["kind"]: row["total"] for row in found}.items():
            totals[Kind(kind)] += total
    findings = [reports.diagnose_agent(Kind(row["kind"]), _agent_facts(row)) for row in rows.agents]
    findings += [
        reports.diagnose_workflow(Kind(row["kind"]), _workflow_facts(row)) for row in rows.workflows
    ]
    healing = pb.Healing(
        findings=[_finding(each) for each in reports.order(findings)[:limit]],
        totals=[pb.FindingTotal(kind=kind, total=total) for kind, total in totals.items()],
        total_size=sum(totals.values()),
    )
    healing.as_of.FromDatetime(rows.as_of)
    return healing


def _agent_facts(row: Record) -> AgentFacts:
    measured = row["latency_operations"]
    return AgentFacts(
        id=row["id"],
        type=row["type"],
        name=row["name"],
        source=row["source"],
        critical=row["criticality"] == "critical",
        heartbeat_seconds=row["heartbeat_interval_seconds"],
        operations=row["operations"],
        errors=row["errors"],
        trust_ppb=row["counted_level_ppb"],
        health_ppb=row["health_ppb"],
        latency_us=row["latency_us"] // measured if measured else None,
        last_seen_at=row["last_seen_at"],
        probe_state=row["probe_state"],
        drift=_drift_facts(row),
        violated=_violation_facts(row),
    )


def _drift_facts(row: Record) -> DriftFacts | None:
    if row["drift_id"] is None:
        return None
    return DriftFacts(
        row["drift_id"], row["drift_rules"], int(row["differences"]), row["drifted_at"]
    )


def _violation_facts(row: Record) -> ViolationFacts | None:
    if row["newest_rule"] is None:
        return None
    return ViolationFacts(
        rules=row["violated_rules"],
        newest_rule=row["newest_rule"],
        violations=int(row["violations"]),
        blocked=int(row["blocked_violations"]),
        last_seen_at=row["violated_at"],
    )


def _workflow_facts(row: Record) -> WorkflowFacts:
    return WorkflowFacts(
        id=row["id"],
        provider=row["provider"],
        name=row["name"],
        failed=row["failed"],
        last_success_at=row["last_success_at"],
        last_end_at=row["last_end_at"],
    )


def _finding(found: Finding) -> pb.Finding:
    return pb.Finding(
        kind=found.kind,
        severity=pb.Finding.Severity.Value(f"SEVERITY_{found.severity.name}"),
        entity_type=found.entity_type,
        entity_id=str(found.entity_id),
        entity=found.entity,
        figures=found.figures,
        evidence=found.evidence,
        likely_cause=found.likely_cause,
        proposed_action=found.proposed_action,
        command=found.command,
        automatic=found.automatic,
    )
