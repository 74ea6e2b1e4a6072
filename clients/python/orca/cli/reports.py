"""`orca reports`: the state of the fleet, as a document too, and what to do about it."""

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from orca.cli.output import Sheet, facts, instant, number, optional, plain, ratio, table, word
from orca.cli.session import Session, command, view
from orca.v1.report_pb2 import ExecutiveSummary, Finding, Healing
from orca.v1.trust_pb2 import Band

reports_app = typer.Typer(
    no_args_is_help=True,
    help="The state of the fleet, as a document too, and what to do about it.",
    rich_markup_mode=None,
)


class Format(StrEnum):
    """Form of a document."""

    MARKDOWN = "markdown"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


@reports_app.command("summary")
@view
async def summary(session: Session) -> None:
    """Show the state of the fleet: trust and what moved it, freshness, costs, what is quiet.

    Example: orca reports summary
    """
    found = await session.client.reports.summary(timeout=session.timeout)
    shown: list[Sheet | Text] = [_figures(found)]
    for part in (_moved(found), _owners(found), _worst(found)):
        shown += [Text(), part]
    session.printer.show(plain(found), *shown)


@reports_app.command("export")
@command
async def export(
    session: Session,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Form of the document.")
    ] = Format.MARKDOWN,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Write it there. Default: standard output."),
    ] = None,
) -> None:
    """Write the executive summary as a document.

    Example: orca reports export --format html --file summary.html
    """
    document = await session.client.reports.export(format.value, timeout=session.timeout)
    if file is None:
        sys.stdout.write(document.decode())
        return
    try:
        file.write_bytes(document)
    except OSError as error:
        session.printer.note(f"error: {file} cannot be written: {error.strerror}")
        raise typer.Exit(1) from error
    session.printer.note(f"{file}: {len(document):,} bytes")


@reports_app.command("healing")
@view
async def healing(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 100,
) -> None:
    """Show what is not as it should be, the most severe first, and what to do about it.

    Example: orca reports healing --limit 10
    """
    found = await session.client.reports.healing(page_size=limit, timeout=session.timeout)
    session.printer.show(plain(found), _findings(found))
    if session.printer.is_table:
        shown = f"{len(found.findings)} of {number(found.total_size)} findings"
        totals = ", ".join(f"{number(each.total)} {each.kind}" for each in found.totals)
        session.printer.note(f"{shown}: {totals}")


def _figures(found: ExecutiveSummary) -> Sheet:
    fleet, trust, fresh, costs = found.fleet, found.trust, found.freshness, found.costs
    score, risk = optional(trust, "trust_score"), optional(found.risk, "risk_avoided_usd")
    flows = fresh.workflows
    return facts(
        [
            ("as of", instant(found, "as_of") or "nothing was computed yet"),
            ("trust", ratio(score) or "not measured yet"),
            ("band", word(Band.Name, trust.band, "BAND_")),
            ("capped by", ", ".join(trust.capped_by)),
            (
                "agents",
                f"{number(fleet.agents)}: {number(fleet.measured)} measured, "
                f"{number(fleet.idle)} idle, {number(fleet.silent.total)} silent, "
                f"{number(fleet.unmeasured.total)} unmeasured",
            ),
            ("silent", _listed(fleet.silent.agents)),
            ("unmeasured", _listed(fleet.unmeasured.agents)),
            (
                "workflows",
                f"{number(flows.fresh)} fresh, {number(flows.stale)} stale, "
                f"{number(flows.unmeasured)} unmeasured, {number(flows.paused)} paused",
            ),
            ("stale", ", ".join(f"{e.provider}/{e.name}" for e in fresh.stale.workflows)),
            ("freshness", _percent(optional(fresh, "sync_freshness_pct"))),
            ("compliance", _percent(optional(found.compliance, "compliance_sla_pct"))),
            ("violations", f"{number(found.compliance.open.total)} open"),
            ("drift", _drift(found)),
            ("risk avoided", f"${number(risk, 2)}" if risk is not None else None),
            ("cost", f"${number(costs.cost_usd, 2)} in windows of seven days"),
        ]
    )


def _drift(found: ExecutiveSummary) -> str:
    drift = found.drift
    rate = _percent(optional(drift, "drift_rate_pct"))
    if rate is None:
        return "not measured yet"
    return f"{rate}: {number(drift.drifted)} of {number(drift.baselines)} agents"


def _listed(agents: Iterable[Any]) -> str:
    """Agents as type/name."""
    return ", ".join(f"{each.type}/{each.name}" for each in agents)


def _moved(found: ExecutiveSummary) -> Sheet:
    rows = (
        (
            f"a {each.period}",
            f"{each.change:+.4f}" if each.HasField("change") else None,
            ", ".join(f"{part.name} {part.change:+.4f}" for part in each.moved_by) or None,
        )
        for each in found.trust.changes
    )
    return table(("trust since", "change", "moved by"), rows, numbers="change")


def _owners(found: ExecutiveSummary) -> Sheet:
    rows = (
        (
            each.owner or "no owner",
            each.agents,
            number(each.cost_usd, 2),
            each.input_tokens,
            each.output_tokens,
        )
        for each in found.costs.owners
    )
    columns = ("cost by owner", "agents", "usd", "input", "output")
    return table(columns, rows, numbers="agents usd input output")


def _worst(found: ExecutiveSummary) -> Sheet:
    rows = ((f"{each.type}/{each.name}", ratio(each.trust_level)) for each in found.trust.worst)
    return table(("lowest trust", "trust"), rows, numbers="trust")


def _findings(found: Healing) -> Sheet:
    rows = (
        (
            word(Finding.Severity.Name, each.severity, "SEVERITY_"),
            each.kind,
            each.entity,
            each.figures,
            each.command,
            each.entity_id,
            each.likely_cause,
            each.proposed_action,
            "yes" if each.automatic else "no",
        )
        for each in found.findings
    )
    columns = ("severity", "kind", "entity", "figures", "command")
    return table(columns, rows, wide=("id", "likely cause", "proposed action", "automatic"))


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} %"
