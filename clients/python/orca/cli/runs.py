"""`orca runs`: the runs of workflows, as their events tell of them."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from orca.cli.output import facts, instant, number, optional, plain, table, word
from orca.cli.resources import Resources, show_list
from orca.cli.session import Session, view
from orca.v1.workflow_pb2 import Run

runs_app = typer.Typer(
    no_args_is_help=True,
    help="Runs of workflows: when they began, how they ended.",
    rich_markup_mode=None,
)

_Workflow = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="NAME, PROVIDER/NAME or id of the workflow.")
]


@runs_app.command("list")
@view
async def list_(
    session: Session,
    workflow: _Workflow,
    since: Annotated[
        datetime | None,
        typer.Option("--since", help="Only runs that started at or after this time (UTC)."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--until", help="Only runs that started before this time (UTC)."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
) -> None:
    """List the runs of a workflow, the newest first.

    Example: orca runs list n8n/nightly-sync --since 2026-01-31 --limit 20
    """
    client, timeout = session.client, session.timeout
    found = await client.workflows.find(workflow, timeout=timeout)
    listed = client.runs.list(
        found.id,
        start=since.replace(tzinfo=UTC) if since else None,
        end=until.replace(tzinfo=UTC) if until else None,
        order_by="started_at" if oldest else "started_at desc",
        page_size=min(limit, 5_000),
        timeout=timeout,
    )
    await show_list(session, listed.pages(), _RUNS, limit)


@runs_app.command("get")
@view
async def get(
    session: Session,
    workflow: _Workflow,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The tool's id of the run.")],
) -> None:
    """Show one run.

    Example: orca runs get n8n/nightly-sync 4711
    """
    found = await session.client.workflows.find(workflow, timeout=session.timeout)
    shown = await session.client.runs.get(found.id, run, timeout=session.timeout)
    session.printer.show(plain(shown), _details(f"{found.provider}/{found.name}", shown))


def _rows(runs: list[Run]) -> Table:
    columns = ("started at", "run", "state", "attempts", "duration_ms", "trigger", "error")
    rows = [
        (
            instant(run, "started_at"),
            run.run_id,
            _state(run),
            run.attempts,
            optional(run, "duration_ms"),
            run.trigger or None,
            run.error.message or run.error.type or None,
            instant(run, "ended_at"),
            instant(run, "last_event_at"),
            run.error.type or None,
            run.url or None,
        )
        for run in runs
    ]
    more = ("ended at", "last event", "error type", "url")
    return table(columns, rows, numbers="attempts duration_ms", wide=more)


def _details(workflow: str, run: Run) -> Table:
    took = optional(run, "duration_ms")
    return facts(
        [
            ("workflow", workflow),
            ("run", run.run_id),
            ("state", _state(run)),
            ("attempts", run.attempts),
            ("started", instant(run, "started_at")),
            ("ended", instant(run, "ended_at")),
            ("last event", instant(run, "last_event_at")),
            ("took, ms", None if took is None else number(took)),
            ("trigger", run.trigger),
            ("url", run.url),
            ("error type", run.error.type),
            ("error", run.error.message),
        ]
    )


def _state(run: Run) -> str | None:
    return word(Run.State.Name, run.state, "STATE_")


_RUNS = Resources("run", _rows)
