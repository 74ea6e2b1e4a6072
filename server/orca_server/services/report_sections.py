"""An executive summary as sections, tables of figures, which each format writes in its own way."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from orca.v1 import report_pb2 as pb
from orca.v1 import trust_pb2
from orca_server.domain.fleet_trust import COMPONENTS

TITLE = "Executive summary"
Cell = str | float | None
"""A text, a number, or nothing known."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PART_COLUMNS = ("component", "score", "weight", "contribution")
_COST_COLUMNS = ("US dollars", "input tokens", "output tokens")
_BANDS = {
    "excellent": "trust_level>=0.85",
    "good": "trust_level>=0.7%20AND%20trust_level<0.85",
    "moderate": "trust_level>=0.5%20AND%20trust_level<0.7",
    "critical": "trust_level<0.5",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: cells, the first of which names it, and the REST path behind it."""

    cells: Sequence[Cell]
    evidence: str


@dataclass(frozen=True, slots=True)
class Section:
    """A table: its title, the headings of its cells, its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]


def sections(summary: pb.ExecutiveSummary) -> list[Section]:
    """All figures of a summary."""
    stale = summary.freshness.stale
    return [
        Section("Figures", ("figure", "value"), list(_figures(summary))),
        Section("Parts of trust", _PART_COLUMNS, _parts(summary)),
        Section("Changes of trust", ("since", "change", "moved by"), _changes(summary)),
        Section("Lowest trust", ("agent", "trust", "state"), _worst(summary)),
        Section(
            _of("Stale workflows", len(stale.workflows), stale.total),
            ("workflow", "owner", "last outcome", "last success"),
            _workflows(stale),
        ),
        _violations(summary.compliance.open),
        _drift(summary.drift),
        _quiet("Silent agents", summary.fleet.silent),
        _quiet("Unmeasured agents", summary.fleet.unmeasured),
        *_costs(summary.costs),
    ]


def _quiet(title: str, named: pb.NamedAgents) -> Section:
    rows = [
        Row((_name(each), each.owner, instant(each, "last_seen_at")), each.evidence)
        for each in named.agents
    ]
    shown = _of(title, len(rows), named.total)
    return Section(shown, ("agent", "owner", "last report"), rows)


def _costs(costs: pb.CostReport) -> Iterator[Section]:
    owners = [
        Row((each.owner or "no owner", each.agents, *_cost(each)), each.evidence)
        for each in costs.owners
    ]
    title = _of("Cost by owner", len(owners), costs.total_owners)
    yield Section(title, ("owner", "agents", *_COST_COLUMNS), owners)
    agents = [
        Row((_name(each.agent), each.agent.owner, *_cost(each)), each.agent.evidence)
        for each in costs.agents
    ]
    title = _of("Cost by agent", len(agents), costs.total_agents)
    yield Section(title, ("agent", "owner", *_COST_COLUMNS), agents)


def _figures(summary: pb.ExecutiveSummary) -> Iterator[Row]:
    fleet, trust, costs = summary.fleet, summary.trust, summary.costs
    band = trust_pb2.Band.Name(trust.band).removeprefix("BAND_").lower() if trust.band else None
    yield Row(("trust score", optional(trust, "trust_score")), trust.evidence)
    yield Row(("band", band), trust.evidence)
    yield Row(("band capped by", ", ".join(trust.capped_by) or None), trust.evidence)
    yield Row(("agents", fleet.agents), fleet.evidence)
    yield Row(("agents measured", fleet.measured), "/agents?filter=trust_state=MEASURED")
    yield Row(("agents idle", fleet.idle), "/agents?filter=trust_state=IDLE")
    yield Row(("agents silent", fleet.silent.total), fleet.silent.evidence)
    yield Row(("agents unmeasured", fleet.unmeasured.total), fleet.unmeasured.evidence)
    for name, levels in _BANDS.items():
        path = f"/agents?filter={levels}"
        yield Row((f"agents in band {name}", getattr(fleet.bands, name)), path)
    fresh = summary.freshness
    yield Row(("sync freshness, %", optional(fresh, "sync_freshness_pct")), fresh.evidence)
    for name in ("fresh", "stale", "unmeasured"):
        path = f"/workflows?filter=freshness={name.upper()}%20AND%20state!=PAUSED"
        yield Row((f"workflows {name}", getattr(fresh.workflows, name)), path)
    paused = fresh.workflows.paused
    yield Row(("workflows paused", paused), "/workflows?filter=state=PAUSED")
    comply = summary.compliance
    yield Row(("compliance, %", optional(comply, "compliance_sla_pct")), comply.evidence)
    yield Row(("operations", comply.operations), fleet.evidence)
    yield Row(("violations", comply.violations), comply.evidence)
    yield Row(("open violations", comply.open.total), comply.open.evidence)
    drift = summary.drift
    yield Row(("drift rate, %", optional(drift, "drift_rate_pct")), "/trust")
    yield Row(("baselines", drift.baselines), "/trust")
    yield Row(("drifted agents", drift.drifted), drift.evidence)
    yield Row(("open drifts", drift.total), drift.evidence)
    risk = optional(summary.risk, "risk_avoided_usd")
    yield Row(("risk avoided, US dollars", risk), summary.risk.evidence)
    yield Row(("cost, US dollars", costs.cost_usd), costs.evidence)
    yield Row(("input tokens", costs.input_tokens), costs.evidence)
    yield Row(("output tokens", costs.output_tokens), costs.evidence)


def _parts(summary: pb.ExecutiveSummary) -> list[Row]:
    rows = []
    for name in COMPONENTS:
        part: trust_pb2.TrustComponent = getattr(summary.trust.components, name)
        cells = (name, optional(part, "score"), part.weight, optional(part, "contribution"))
        rows.append(Row(cells, part.evidence))
    return rows


def _changes(summary: pb.ExecutiveSummary) -> list[Row]:
    return [
        Row(
            (
                f"a {each.period} before",
                optional(each, "change"),
                ", ".join(f"{part.name} {part.change:+.4f}" for part in each.moved_by) or None,
            ),
            each.evidence,
        )
        for each in summary.trust.changes
    ]


def _worst(summary: pb.ExecutiveSummary) -> list[Row]:
    return [
        Row(
            (
                f"{each.type}/{each.name}",
                each.trust_level,
                trust_pb2.TrustState.Name(each.trust_state).removeprefix("TRUST_STATE_").lower(),
            ),
            each.evidence,
        )
        for each in summary.trust.worst
    ]


def _workflows(named: pb.NamedWorkflows) -> list[Row]:
    return [
        Row(
            (
                f"{each.provider}/{each.name}",
                each.owner,
                each.last_outcome or None,
                instant(each, "last_success_at"),
            ),
            each.evidence,
        )
        for each in named.workflows
    ]


def _violations(open_: pb.OpenViolations) -> Section:
    rows = [
        Row(
            (
                each.entity,
                each.rule,
                each.violations,
                each.blocked_violations,
                instant(each, "last_seen_at"),
            ),
            each.evidence,
        )
        for each in open_.violations
    ]
    title = _of("Open violations", len(rows), open_.total)
    return Section(title, ("agent", "rule", "violations", "blocked", "last seen"), rows)


def _drift(report: pb.DriftReport) -> Section:
    rows = [
        Row(
            (
                each.entity,
                each.rule,
                each.difference_count,
                each.first_path,
                instant(each, "last_seen_at"),
            ),
            each.evidence,
        )
        for each in report.drift
    ]
    title = _of("Open drift", len(rows), report.total)
    return Section(title, ("agent", "rule", "differences", "first path", "last seen"), rows)


def _of(title: str, shown: int, total: float) -> str:
    return f"{title} ({shown} of {number(total)})"


def _name(agent: pb.ReportedAgent) -> str:
    return f"{agent.type}/{agent.name}"


def _cost(each: pb.OwnerCost | pb.AgentCost) -> tuple[float, float, float]:
    return each.cost_usd, each.input_tokens, each.output_tokens


def optional(message: Message, name: str) -> float | None:
    """A number that may be absent."""
    return getattr(message, name) if message.HasField(name) else None


def instant(message: Message, name: str) -> str | None:
    """An instant that may be absent."""
    stamp: Timestamp = getattr(message, name)
    return stamp.ToJsonString() if message.HasField(name) else None


def head(summary: pb.ExecutiveSummary) -> str:
    """What the figures are, and when they were computed."""
    if not summary.HasField("as_of"):
        return f"Nothing was computed yet. Created {summary.created_at.ToJsonString()}."
    return (
        f"As of {summary.as_of.ToJsonString()}. Created {summary.created_at.ToJsonString()}. "
        "Costs are of each agent's window of seven days."
    )


def number(value: float) -> str:
    """A number for people."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def text_of(cell: Cell) -> str:
    """A cell for people, on one line."""
    if cell is None:
        return "–"
    return CONTROL.sub(" ", cell) if isinstance(cell, str) else number(cell)
