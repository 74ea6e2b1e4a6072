"""`orca events`: send what happened to runs of workflows, and list it."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from orca.cli.output import instant, optional, plain, table
from orca.cli.resources import Resources, show_list
from orca.cli.sending import read_instant, read_json
from orca.cli.session import Session, command, view
from orca.times import timestamp
from orca.v1.workflow_pb2 import RunError, StoredEvent, WorkflowEvent
from orca.v1.workflow_service_pb2 import RecordEventsRequest

events_app = typer.Typer(
    no_args_is_help=True, help="What happened to runs of workflows.", rich_markup_mode=None
)

_Workflow = Annotated[
    str, typer.Option("--workflow", metavar="WORKFLOW", help="PROVIDER/NAME or id.")
]
_Run = Annotated[str, typer.Option("--run", metavar="ID", help="The tool's id of the run.")]
_Kind = Annotated[
    str,
    typer.Option("--kind", help="started, succeeded, failed, cancelled or heartbeat."),
]
_Attempt = Annotated[int, typer.Option("--attempt", min=1, max=10_000, help="Of the run.")]
_OccurredAt = Annotated[
    str | None, typer.Option("--occurred-at", metavar="TIME", help="Default: now.")
]
_Trigger = Annotated[str, typer.Option("--trigger", help="What started it, such as schedule.")]
_Url = Annotated[str, typer.Option("--url", help="Where people see the run.")]
_ErrorType = Annotated[str, typer.Option("--error-type", help="Kind of the error.")]
_Error = Annotated[str, typer.Option("--error", help="What the error says.")]
_Duration = Annotated[
    float | None, typer.Option("--duration-ms", min=0, help="Of the run, with its end.")
]
_Id = Annotated[str, typer.Option("--id", help="Yours; a repeated one is counted once.")]
_Stdin = Annotated[bool, typer.Option("--stdin", help="Read events from standard input instead.")]


@events_app.command("send")
@command
async def send(
    session: Session,
    workflow: _Workflow = "",
    run: _Run = "",
    kind: _Kind = "succeeded",
    attempt: _Attempt = 1,
    occurred_at: _OccurredAt = None,
    trigger: _Trigger = "",
    url: _Url = "",
    error_type: _ErrorType = "",
    error: _Error = "",
    duration_ms: _Duration = None,
    id: _Id = "",
    stdin: _Stdin = False,
) -> None:
    """Send one event, or events as JSON from standard input.

    JSON is one event, a list, or {"events": […]}, as in POST /events; --workflow
    fills in the workflow where an event names none.

    Example: orca events send --workflow n8n/nightly-sync --run 4711 --kind failed --error timeout
    """
    if not stdin and not (workflow and run):
        raise typer.BadParameter("Name workflow and run: --workflow PROVIDER/NAME --run ID.")
    at = timestamp(read_instant("--occurred-at", occurred_at))
    failure = RunError(type=error_type, message=error) if error_type or error else None
    event = WorkflowEvent(id=id, run_id=run, attempt=attempt, kind=kind, trigger=trigger, url=url)
    event.MergeFrom(WorkflowEvent(occurred_at=at, error=failure, duration_ms=duration_ms))
    request = RecordEventsRequest(events=[event])
    if stdin:
        request = read_json(sys.stdin.read(), "events", RecordEventsRequest())
    _name_workflow(request.events, workflow)
    stored = await session.client.events.record(request.events, timeout=session.timeout)
    text = f"{stored.accepted} accepted, {stored.duplicates} duplicates"
    session.printer.show(plain(stored), Text(text))


def _name_workflow(events: Iterable[WorkflowEvent], workflow: str) -> None:
    """Fills in the workflow where an event names none."""
    provider, slash, name = workflow.partition("/")
    for event in events:
        if event.workflow_id or event.HasField("workflow") or not workflow:
            continue
        if slash:
            event.workflow.provider, event.workflow.name = provider, name
        else:
            event.workflow_id = workflow


def _rows(events: list[StoredEvent]) -> Table:
    columns = ("occurred at", "run", "attempt", "kind", "duration ms", "trigger", "error")
    more = ("error type", "url", "stored at", "key")
    return table(columns, [_row(stored) for stored in events], numbers="attempt", wide=more)


def _row(stored: StoredEvent) -> tuple[object, ...]:
    event = stored.event
    return (
        instant(event, "occurred_at"),
        event.run_id,
        event.attempt,
        event.kind,
        optional(event, "duration_ms"),
        event.trigger or None,
        event.error.message or event.error.type or None,
        event.error.type or None,
        event.url or None,
        instant(stored, "created_at"),
        stored.key,
    )


_EVENTS = Resources("event", _rows)


@events_app.command("list")
@view
async def list_(
    session: Session,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="PROVIDER/NAME or id.")],
    since: Annotated[
        datetime | None, typer.Option("--since", help="Only events at or after this time (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", help="Only events before this time (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
) -> None:
    """List the events of a workflow, the newest first.

    Example: orca events list n8n/nightly-sync --limit 20
    """
    client, timeout = session.client, session.timeout
    found = await client.workflows.find(workflow, timeout=timeout)
    listed = client.events.list(
        found.id,
        start=since.replace(tzinfo=UTC) if since else None,
        end=until.replace(tzinfo=UTC) if until else None,
        order_by="occurred_at" if oldest else "occurred_at desc",
        page_size=min(limit, 1_000),
        timeout=timeout,
    )
    await show_list(session, listed.pages(), _EVENTS, limit)
