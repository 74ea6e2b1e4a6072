"""The executive summary as one HTML file that loads nothing and runs nothing."""

import html
from collections.abc import Iterator
from pathlib import Path

from orca.v1 import report_pb2 as pb
from orca.v1 import trust_pb2
from orca_server.services.report_charts import Chart, charts
from orca_server.services.report_sections import (
    TITLE,
    Cell,
    Section,
    head,
    number,
    optional,
    sections,
    text_of,
)

_STYLE = (Path(__file__).parents[1] / "pages" / "report.css").read_text()
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_NUMBERS = ' class="n"'


def page(summary: pb.ExecutiveSummary) -> str:
    """The figures that matter most, charts, and all figures as tables."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{TITLE}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{TITLE}</h1>\n<p>{html.escape(head(summary))}</p>\n"
    ]
    if summary.HasField("as_of"):
        parts.append(f'<dl class="cards">\n{"".join(map(_card, _cards(summary)))}</dl>\n')
        parts.append(f'<div class="charts">\n{"".join(map(_figure, charts(summary)))}</div>\n')
    for section in sections(summary):
        parts.append(f"<section>\n<h2>{html.escape(section.title)}</h2>\n")
        parts.append(_table(section) if section.rows else "<p>None.</p>\n")
        parts.append("</section>\n")
    return "".join((*parts, "</body>\n</html>\n"))


def _cards(summary: pb.ExecutiveSummary) -> Iterator[tuple[str, str, str]]:
    """What is told first: name, figure, and what belongs to it."""
    trust, fleet, costs = summary.trust, summary.fleet, summary.costs
    score = optional(trust, "trust_score")
    band = trust_pb2.Band.Name(trust.band).removeprefix("BAND_").lower() if trust.band else ""
    yield "Trust", "–" if score is None else f"{score:.4f}", band
    for change in trust.changes:
        moved = optional(change, "change")
        if moved is not None:
            yield f"Since a {change.period} before", f"{moved:+.4f}", ""
    yield "Agents", number(fleet.agents), f"{number(fleet.silent.total)} silent"
    share = optional(summary.freshness, "sync_freshness_pct")
    stale = f"{number(summary.freshness.stale.total)} stale"
    yield "Workflows fresh", "–" if share is None else f"{share:.1f} %", stale
    kept = optional(summary.compliance, "compliance_sla_pct")
    violations = f"{number(summary.compliance.open.total)} violations open"
    yield "Compliance", "–" if kept is None else f"{kept:.2f} %", violations
    rate = optional(summary.drift, "drift_rate_pct")
    drifted = f"{number(summary.drift.drifted)} of {number(summary.drift.baselines)} agents"
    yield "Drift", "–" if rate is None else f"{rate:.2f} %", drifted
    yield "Cost", f"${costs.cost_usd:,.2f}", "in seven days"
    risk = optional(summary.risk, "risk_avoided_usd")
    if risk is not None:
        yield "Risk avoided", f"{'-' if risk < 0 else ''}${abs(risk):,.0f}", ""


def _card(told: tuple[str, str, str]) -> str:
    name, figure, more = map(html.escape, told)
    small = f"<small>{more}</small>" if more else ""
    return f"<div><dt>{name}</dt><dd>{figure}{small}</dd></div>\n"


def _figure(chart: Chart) -> str:
    wide = ' class="wide"' if chart.wide else ""
    return (
        f"<figure{wide}>\n<figcaption><strong>{html.escape(chart.title)}</strong>"
        f"<span>{html.escape(chart.text)}</span></figcaption>\n{chart.svg}\n</figure>\n"
    )


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
        f'<div class="table"><table>\n<thead><tr>{head}<th scope="col">rows</th></tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def _is_number(cell: Cell) -> bool:
    return cell is not None and not isinstance(cell, str)


def _td(kind: str, cell: Cell) -> str:
    return f"<td{kind}>{html.escape(text_of(cell))}</td>"
