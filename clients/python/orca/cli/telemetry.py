"""`orca telemetry`: send records, and import series from files."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from orca.cli import backfill
from orca.cli.backfill import End, Outcome, Series
from orca.cli.mapping import read_mapping
from orca.cli.output import plain, table
from orca.cli.progress import progress
from orca.cli.resume import Decision, ResumeFile
from orca.cli.sending import read_instant, read_json
from orca.cli.series import measure, parse_time
from orca.cli.session import EXIT_FAILED, Session, command
from orca.errors import ConfigurationError
from orca.times import timestamp
from orca.v1.agent_service_pb2 import RecordTelemetryRequest
from orca.v1.telemetry_pb2 import TelemetryRecord

telemetry_app = typer.Typer(
    no_args_is_help=True,
    help="What agents did: send it, import it, list it.",
    rich_markup_mode=None,
)

_STALL_SECONDS = 60.0
_SHOWN_ERRORS = 20
_Agent = Annotated[str, typer.Option("--agent", metavar="AGENT", help="NAME, TYPE/NAME or id.")]


# Options of `import`.
_File = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv with a header, or .jsonl.")]
_Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="Column of a field. May be repeated."),
]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="The same value in every record."),
]
_Scale = Annotated[
    list[str] | None,
    typer.Option("--scale", metavar="FIELD=FACTOR", help="Such as latency_ms=1000: from s."),
]
_Zone = Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Of times that name none.")]
_EndAt = Annotated[
    str | None,
    typer.Option("--end-at", metavar="TIME", help="Move the series to end then; or: now."),
]
_NoShift = Annotated[bool, typer.Option("--no-shift", help="Keep all times.")]
_Restart = Annotated[bool, typer.Option("--restart", help="Forget earlier runs: count it again.")]
_StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Folder of the resume file.")]
_Strict = Annotated[bool, typer.Option("--strict", help="Send nothing if any row is broken.")]
_BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=1000, help="Rows per batch.")]

# Options of `send`.
_Reporter = Annotated[str, typer.Option("--agent", metavar="AGENT", help="NAME, TYPE/NAME or id.")]
_Operations = Annotated[int, typer.Option("--operations", min=0, help="That ended.")]
_Errors = Annotated[int, typer.Option("--errors", min=0, help="That failed.")]
_Violations = Annotated[int, typer.Option("--violations", min=0, help="Of policy.")]
_Rule = Annotated[str, typer.Option("--rule", help="Policy rule that the violations broke.")]
_Latency = Annotated[float | None, typer.Option("--latency-ms", min=0, help="Mean, milliseconds.")]
_Cost = Annotated[float | None, typer.Option("--cost-usd", min=0, help="Of all together.")]
_ObservedAt = Annotated[
    str | None, typer.Option("--observed-at", metavar="TIME", help="Default: now.")
]
_Id = Annotated[str, typer.Option("--id", help="Yours; a repeated one is counted once.")]
_Stdin = Annotated[bool, typer.Option("--stdin", help="Read records from standard input instead.")]


@telemetry_app.command("import")
@command
async def import_(
    session: Session,
    file: _File,
    agent: _Agent,
    map: _Map = None,
    set_: _Set = None,
    scale: _Scale = None,
    timezone: _Zone = "UTC",
    end_at: _EndAt = None,
    no_shift: _NoShift = False,
    restart: _Restart = False,
    state_dir: _StateDir = None,
    strict: _Strict = False,
    batch_size: _BatchSize = 500,
) -> None:
    """Import a time series as telemetry of one agent.

    A series too old to be taken is moved in time so that it ends now; --end-at
    and --no-shift say otherwise. How far is remembered in a resume file beside
    the input, so that a second run, also after a crash, counts nothing twice.
    Each row is one operation unless `operations` is mapped or set. Broken rows
    are reported by number and left out.

    Example: orca telemetry import latency.csv --agent weather --map latency_ms=value
    """
    end = _end(end_at, no_shift)
    mapping = read_mapping(map, set_, scale, timezone).fitted_to(file)
    resume = ResumeFile(file, state_dir)
    found = await session.client.agents.find(agent, timeout=session.timeout)
    plan = mapping.plan(found.id, file.name)
    if strict:
        _refuse_broken(session, backfill.check(file, plan))
    extent = measure(file, plan)
    name = f"{found.type}/{found.name}"
    decision = backfill.decide(resume, file, (found.id, name), extent, end, restart)
    _announce(session, decision, resume)
    series = Series(file, plan, decision, batch_size)
    outcome = await _send_series(session, series, resume, extent.rows)
    _conclude(session, outcome, decision, resume)


@telemetry_app.command("send")
@command
async def send(
    session: Session,
    agent: _Reporter = "",
    operations: _Operations = 1,
    errors: _Errors = 0,
    violations: _Violations = 0,
    rule: _Rule = "",
    latency_ms: _Latency = None,
    cost_usd: _Cost = None,
    observed_at: _ObservedAt = None,
    id: _Id = "",
    stdin: _Stdin = False,
) -> None:
    """Send one record, or records as JSON from standard input.

    JSON is one record, a list, or {"records": […]}, as in POST /telemetry; --agent
    fills in the agent where a record names none.

    Example: orca telemetry send --agent weather --operations 10 --errors 1
    """
    if not (agent or stdin):
        raise typer.BadParameter("Name the agent: --agent AGENT.")
    record = TelemetryRecord(
        observed_at=timestamp(read_instant("--observed-at", observed_at)),
        id=id,
        operations=operations,
        errors=errors,
        violations=violations,
        rule=rule,
        latency_ms=latency_ms,
        cost_usd=cost_usd,
    )
    request = RecordTelemetryRequest(records=[record])
    if stdin:
        request = read_json(sys.stdin.read(), "records", RecordTelemetryRequest())
    await _name_agent(session, request.records, agent)
    stored = await session.client.telemetry.record(request.records, timeout=session.timeout)
    text = f"{stored.accepted} accepted, {stored.duplicates} duplicates"
    session.printer.show(plain(stored), Text(text))


async def _name_agent(session: Session, records: Iterable[TelemetryRecord], agent: str) -> None:
    """Fills in the agent where a record names none."""
    if not agent:
        return
    agent_id = (await session.client.agents.find(agent, timeout=session.timeout)).id
    for record in records:
        if not record.agent_id and not record.HasField("agent"):
            record.agent_id = agent_id


async def _send_series(session: Session, series: Series, resume: ResumeFile, rows: int) -> Outcome:
    stall_seconds = session.timeout or _STALL_SECONDS
    with progress(session.printer, series.source.name, rows) as advance:
        return await backfill.send(session.client, series, resume, stall_seconds, advance)


def _end(end_at: str | None, no_shift: bool) -> End:
    if no_shift:
        if end_at is not None:
            raise typer.BadParameter("--end-at moves the series, --no-shift does not: choose one.")
        return End(unmoved=True)
    if end_at is None:
        return End()
    if end_at == "now":
        return End(now=True)
    try:
        return End(at_us=parse_time(end_at))
    except ValueError as error:
        raise typer.BadParameter(
            f"--end-at: {error}; write 2026-01-31T12:00:00Z or now."
        ) from error


def _refuse_broken(session: Session, outcome: Outcome) -> None:
    if not outcome.broken:
        return
    session.printer.err.print(_errors(outcome))
    raise ConfigurationError(
        f"{outcome.broken} of {outcome.rows} rows are broken; nothing was sent.",
        reason="ROWS_BROKEN",
    )


def _announce(session: Session, decision: Decision, resume: ResumeFile) -> None:
    """Says how the times are moved: nobody shall be surprised by a chart."""
    if decision.shift_us:
        session.printer.note(
            f"The series is moved to end at {decision.ends_at}; remembered in {resume.path}"
        )


def _conclude(session: Session, outcome: Outcome, decision: Decision, resume: ResumeFile) -> None:
    document = {
        "agent_id": decision.agent_id,
        "rows": outcome.rows,
        "accepted": outcome.accepted,
        "duplicates": outcome.duplicates,
        "refused": outcome.refused,
        "broken": outcome.broken,
        "errors": outcome.errors,
        "ends_at": decision.ends_at,
        "shift_seconds": decision.shift_us / 1e6,
        "resume_file": str(resume.path),
    }
    shown: list[Table | Text] = [
        Text(
            f"{outcome.rows} rows: {outcome.accepted} accepted, {outcome.duplicates} duplicates, "
            f"{outcome.refused} refused, {outcome.broken} broken"
        )
    ]
    if outcome.errors:
        shown += [Text(), _errors(outcome)]
    session.printer.show(document, *shown)
    if outcome.rows and not (outcome.accepted or outcome.duplicates):
        raise typer.Exit(EXIT_FAILED)


def _errors(outcome: Outcome) -> Table:
    rows: list[tuple[Any, ...]] = [
        (each["row"], each["field"], each["reason"], each["message"])
        for each in outcome.errors[:_SHOWN_ERRORS]
    ]
    more = outcome.refused + outcome.broken - len(rows)
    if more > 0:
        rows.append(("…", "", "", f"and {more} more"))
    return table(("row", "field", "reason", "message"), rows, numbers="row")
