"""Commands of the adapters; `mount(app)` adds them beside the client's."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from orca.cli.output import table
from orca.cli.session import EXIT_FAILED, Session, command

if TYPE_CHECKING:
    from orca_adapters.probe import Report

_STYLES = {"speaks-mcp": "green", "unreachable": "red", "not-mcp": "red"}


def mount(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    app.command("probe")(probe)


def run() -> None:
    """Runs the probe alone."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    mount(app)
    app()


@command
async def probe(
    session: Session,
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="YAML: what to probe and how.")
    ] = None,
    filter: Annotated[
        str, typer.Option("--filter", metavar="EXPR", help="Probe these agents of the fleet.")
    ] = "",
    allow_command: Annotated[
        list[str] | None,
        typer.Option("--allow-command", metavar="COMMAND", help="May be started for them."),
    ] = None,
) -> None:
    """Probe MCP servers and report what they are, how fast, and their tools.

    Commands are started only if CONFIG gives them or --allow-command begins them.
    Ends with 1 only if something could not be reported.

    Example: orca probe --filter 'type = "mcp"' --allow-command 'npx -y server-memory'
    """
    # The mcp library is slow to load, and only this command needs it.
    from orca_adapters.probe import probe_all
    from orca_adapters.probe_config import load_config

    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # we say ourselves what went wrong
    overrides: dict[str, Any] = {"filter": filter} if filter else {}
    if allow_command:
        overrides["allow_commands"] = tuple(allow_command)
    reports = await probe_all(session.client, load_config(config, overrides))
    _show(session, reports)
    if any(each.problem is not None for each in reports):
        raise typer.Exit(EXIT_FAILED)


def _show(session: Session, reports: "Sequence[Report]") -> None:
    """One line per agent."""
    document = {"probes": [_plain(each) for each in reports]}
    rows = [
        (
            each.name,
            _coloured(each.finding.state),
            each.finding.version or None,
            len(each.finding.tools) if each.finding.tools is not None else None,
            f"{each.finding.latency_ms:.0f} ms" if each.finding.latency_ms is not None else None,
            _told(each),
        )
        for each in reports
    ]
    columns = ("agent", "state", "version", "tools", "latency", "found")
    session.printer.show(document, table(columns, rows, numbers="tools latency"))


def _told(report: "Report") -> str:
    """What is to be said of it, drift first."""
    if report.problem is not None:
        return f"not reported: {report.problem}"
    drift = f"drifted: {', '.join(report.drift)}" if report.drift else ""
    return "; ".join(filter(None, (drift, report.finding.message)))


def _plain(report: "Report") -> dict[str, Any]:
    finding = report.finding
    return {
        "agent": report.name,
        "state": finding.state.value,
        "message": finding.message,
        "version": finding.version,
        "protocol": finding.protocol,
        "tools": [tool.name for tool in finding.tools] if finding.tools is not None else None,
        "latency_ms": finding.latency_ms,
        "drift": list(report.drift),
        "reported": report.problem is None and finding.state != "not-tried",
        "problem": str(report.problem) if report.problem else None,
    }


def _coloured(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, "yellow"))
