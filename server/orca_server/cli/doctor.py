"""`orca doctor`: what is wrong here, why, and what mends it."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from orca.cli.output import Output, Printer, table
from orca_server.cli.watching import OutputForm, Watch, show
from orca_server.doctor.findings import Finding, Section, Status, sections, worst

STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.SKIPPED: "dim"}


def mount(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor")(doctor)


def doctor(output: OutputForm = Output.TABLE, watch: Watch = None) -> None:
    """Look at all that the product needs, and say what is wrong and which command mends it.

    Settings, access, ports, disk, database, gateway, server, ticks and the fleet. Nothing has to
    run, and nothing is changed. Ends with 1 if a check fails, else with 0, also with warnings.

    Example: orca doctor --output json
    """
    show(_examine, output, watch)


def _examine(printer: Printer) -> bool:
    from orca_server.doctor.examination import examine
    from orca_server.doctor.situation import look

    findings = asyncio.run(examine(look()))
    found = sections(findings)
    printer.show(_document(findings, found), _checks(findings), _advice(findings), _sections(found))
    return worst(each.status for each in findings) is not Status.FAIL


def _document(findings: Sequence[Finding], found: Sequence[Section]) -> dict[str, Any]:
    counts = {status.value: 0 for status in Status}
    for each in findings:
        counts[each.status.value] += 1
    return {
        "status": worst(each.status for each in findings).value,
        "counts": counts,
        "checks": [_plain(each) for each in findings],
        "sections": [_plain(each) for each in found],
    }


def _plain(found: Finding | Section) -> dict[str, Any]:
    return asdict(found) | {"status": found.status.value}


def _checks(findings: Sequence[Finding]) -> Table:
    rows = [(each.name, _word(each.status), each.found) for each in findings]
    return table(("check", "status", "found"), rows)


def _advice(findings: Sequence[Finding]) -> Group:
    """Causes and remedies, failures first."""
    told = [each for each in findings if each.cause]
    told.sort(key=lambda each: each.status is not Status.FAIL)
    lines = [Text("")]
    if not told:
        return Group(*lines)
    for each in told:
        lines.append(Text.assemble(_word(each.status), f" {each.name}: {each.cause}"))
        lines.append(Text(f"     {each.mend}", style="bold"))
    return Group(*lines, Text(""))


def _sections(found: Sequence[Section]) -> Table:
    rows = [(each.title, _word(each.status), ", ".join(each.checks)) for each in found]
    return table(("troubleshooting", "status", "checks"), rows)


def _word(status: Status) -> Text:
    return Text(status.value, style=STYLES[status])
