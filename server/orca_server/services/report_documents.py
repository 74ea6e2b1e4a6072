"""The executive summary as a document: markdown, JSON, CSV, HTML.

A summary becomes sections, tables of figures, which each format writes in its own way. Names come
from strangers: in each format they are text and nothing else.
"""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from orca.v1 import report_pb2 as pb
from orca.v1 import trust_pb2
from orca_server.domain.fleet_trust import COMPONENTS

TITLE = "Executive summary"
Cell = str | float | None
"""A text, a number, or nothing known."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")
_PART_COLUMNS = ("component", "score", "weight", "contribution")
_COST_COLUMNS = ("US dollars", "input tokens", "output tokens")
_BANDS = {
    "excellent": "trust_level>=0.85",
    "good": "trust_level>=0.7%20AND%20trust_level<0.85",
    "moderate": "trust_level>=0.5%20AND%20trust_level<0.7",
    "critical": "trust_level<0.5",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a text."""


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


@dataclass(frozen=True, slots=True)
class Document:
    """A format: how it is called on the web and on a disk, and how it is written."""

    content_type: str
    extension: str
    write: Callable[[pb.ExecutiveSummary], str]


def file_name(summary: pb.ExecutiveSummary, document: Document) -> str:
    """The name of the file: by the instant for which its figures hold."""
    if not summary.HasField("as_of"):
        return f"executive_summary.{document.extension}"
    return f"executive_summary_{summary.as_of.ToDatetime():%Y%m%dT%H%M%SZ}.{document.extension}"


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
        _quiet("Silent agents", summary.fleet.silent),
        _quiet("Unmeasured agents", summary.fleet.unmeasured),
        *_costs(summary.costs),
    ]


def _quiet(title: str, named: pb.NamedAgents) -> Section:
    rows = [
        Row((_name(each), each.owner, _instant(each, "last_seen_at")), each.evidence)
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
    yield Row(("trust score", _optional(trust, "trust_score")), trust.evidence)
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
    yield Row(("sync freshness, %", _optional(fresh, "sync_freshness_pct")), fresh.evidence)
    for name in ("fresh", "stale", "unmeasured"):
        path = f"/workflows?filter=freshness={name.upper()}%20AND%20state!=PAUSED"
        yield Row((f"workflows {name}", getattr(fresh.workflows, name)), path)
    paused = fresh.workflows.paused
    yield Row(("workflows paused", paused), "/workflows?filter=state=PAUSED")
    comply = summary.compliance
    yield Row(("compliance, %", _optional(comply, "compliance_sla_pct")), comply.evidence)
    yield Row(("operations", comply.operations), fleet.evidence)
    yield Row(("violations", comply.violations), comply.evidence)
    risk = _optional(summary.risk, "risk_avoided_usd")
    yield Row(("risk avoided, US dollars", risk), summary.risk.evidence)
    yield Row(("cost, US dollars", costs.cost_usd), costs.evidence)
    yield Row(("input tokens", costs.input_tokens), costs.evidence)
    yield Row(("output tokens", costs.output_tokens), costs.evidence)


def _parts(summary: pb.ExecutiveSummary) -> list[Row]:
    rows = []
    for name in COMPONENTS:
        part: trust_pb2.TrustComponent = getattr(summary.trust.components, name)
        cells = (name, _optional(part, "score"), part.weight, _optional(part, "contribution"))
        rows.append(Row(cells, part.evidence))
    return rows


def _changes(summary: pb.ExecutiveSummary) -> list[Row]:
    return [
        Row(
            (
                f"a {each.period} before",
                _optional(each, "change"),
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
                _instant(each, "last_success_at"),
            ),
            each.evidence,
        )
        for each in named.workflows
    ]


def _of(title: str, shown: int, total: float) -> str:
    return f"{title} ({shown} of {_number(total)})"


def _name(agent: pb.ReportedAgent) -> str:
    return f"{agent.type}/{agent.name}"


def _cost(each: pb.OwnerCost | pb.AgentCost) -> tuple[float, float, float]:
    return each.cost_usd, each.input_tokens, each.output_tokens


def _optional(message: Message, name: str) -> float | None:
    return getattr(message, name) if message.HasField(name) else None


def _instant(message: Message, name: str) -> str | None:
    stamp: Timestamp = getattr(message, name)
    return stamp.ToJsonString() if message.HasField(name) else None


def _head(summary: pb.ExecutiveSummary) -> str:
    if not summary.HasField("as_of"):
        return f"Nothing was computed yet. Created {summary.created_at.ToJsonString()}."
    return (
        f"As of {summary.as_of.ToJsonString()}. Created {summary.created_at.ToJsonString()}. "
        "Costs are of each agent's window of seven days."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def _text(cell: Cell) -> str:
    """A cell for people, on one line."""
    if cell is None:
        return "–"
    return _CONTROL.sub(" ", cell) if isinstance(cell, str) else _number(cell)


def to_markdown(summary: pb.ExecutiveSummary) -> str:
    """Tables in the dialect of GitHub."""
    lines = [f"# {TITLE}", "", _head(summary)]
    for section in sections(summary):
        lines += ["", f"## {section.title}", ""]
        if not section.rows:
            lines.append("None.")
            continue
        lines.append(f"| {' | '.join((*section.columns, 'rows'))} |")
        lines.append("|---" * (len(section.columns) + 1) + "|")
        for row in section.rows:
            cells = [_MARKDOWN.sub(r"\\\1", _text(cell)) for cell in row.cells]
            lines.append(f"| {' | '.join((*cells, f'`{row.evidence}`'))} |")
    return "\n".join(lines) + "\n"


def to_json(summary: pb.ExecutiveSummary) -> str:
    """The message as REST prints it."""
    found = MessageToDict(
        summary, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(_whole(found), indent=2, ensure_ascii=False) + "\n"


def _whole(value: Any) -> Any:
    """Numbers without a fraction as REST prints them: 5, not 5.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value


def to_csv(summary: pb.ExecutiveSummary) -> str:
    """One row per figure; texts that a spreadsheet would compute begin with an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("section", "item", "figure", "value", "rows"))
    about = ("as_of", "created_at")
    writer.writerows(("Report", TITLE, name, _instant(summary, name) or "", "") for name in about)
    for section in sections(summary):
        title = section.title.partition(" (")[0]
        for row in section.rows:
            item, *cells = (_csv(cell) for cell in row.cells)
            for figure, cell in zip(section.columns[1:], cells, strict=True):
                writer.writerow((title, item, figure, cell, row.evidence))
    return stream.getvalue()


def _csv(cell: Cell) -> str | float:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        return int(cell) if float(cell).is_integer() else cell
    text = _CONTROL.sub(" ", cell)
    return f"'{text}" if cell.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}table{border-collapse:collapse;width:100%}"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid #d8dee4;text-align:left;"
    "overflow-wrap:anywhere}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    "code{font-size:.85em;color:#57606a}@media print{body{margin:0}}"
)
_NUMBERS = ' class="n"'
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def to_html(summary: pb.ExecutiveSummary) -> str:
    """One file that loads nothing and runs nothing."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{TITLE}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{TITLE}</h1>\n<p>{html.escape(_head(summary))}</p>\n"
    ]
    for section in sections(summary):
        parts.append(f"<h2>{html.escape(section.title)}</h2>\n")
        parts.append(_table(section) if section.rows else "<p>None.</p>\n")
    return "".join((*parts, "</body>\n</html>\n"))


def _table(section: Section) -> str:
    columns = zip(*(row.cells for row in section.rows), strict=True)
    kinds = [_NUMBERS if any(map(_is_number, column)) else "" for column in columns]
    titles = zip(kinds, section.columns, strict=True)
    head = "".join(f'<th scope="col"{kind}>{html.escape(each)}</th>' for kind, each in titles)
    body = "".join(
        f"<tr>{''.join(map(_td, kinds, row.cells))}"
        f"<td><code>{html.escape(row.evidence)}</code></td></tr>\n"
        for row in section.rows
    )
    return (
        f'<table>\n<thead><tr>{head}<th scope="col">rows</th></tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table>\n"
    )


def _is_number(cell: Cell) -> bool:
    return cell is not None and not isinstance(cell, str)


def _td(kind: str, cell: Cell) -> str:
    return f"<td{kind}>{html.escape(_text(cell))}</td>"


FORMATS: Mapping[str, Document] = {
    "markdown": Document("text/markdown; charset=utf-8", "md", to_markdown),
    "json": Document("application/json", "json", to_json),
    "csv": Document("text/csv; charset=utf-8", "csv", to_csv),
    "html": Document("text/html; charset=utf-8", "html", to_html),
}
