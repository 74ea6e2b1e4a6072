"""`orca telemetry list`: the records of an agent."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from orca.cli.output import instant, optional, table
from orca.cli.resources import Resources, show_list
from orca.cli.session import Session, view
from orca.v1.telemetry_pb2 import StoredTelemetry


def _rows(records: list[StoredTelemetry]) -> Table:
    columns = (
        "observed at",
        "operations",
        "errors",
        "violations",
        "rule",
        "latency ms",
        "cost usd",
    )
    more = ("blocked violations", "attempts", "input tokens", "output tokens", "counted", "key")
    rows = [_row(stored) for stored in records]
    numbers = "operations errors violations"
    return table(columns, rows, numbers=numbers, wide=more)


def _row(stored: StoredTelemetry) -> tuple[object, ...]:
    record = stored.record
    return (
        instant(record, "observed_at"),
        record.operations,
        record.errors,
        record.violations,
        record.rule or None,
        optional(record, "latency_ms"),
        optional(record, "cost_usd"),
        optional(record, "blocked_violations"),
        optional(record, "attempts"),
        optional(record, "input_tokens"),
        optional(record, "output_tokens"),
        stored.counted,
        stored.key,
    )


_RECORDS = Resources("record", _rows, "telemetry")


@view
async def list_telemetry(
    session: Session,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="NAME, TYPE/NAME or id.")],
    since: Annotated[
        datetime | None, typer.Option("--since", help="Only records at or after this time (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", help="Only records before this time (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
) -> None:
    """List the records of an agent, the newest first.

    Example: orca telemetry list weather --limit 20
    """
    client, timeout = session.client, session.timeout
    found = await client.agents.find(agent, timeout=timeout)
    listed = client.telemetry.list(
        found.id,
        start=since.replace(tzinfo=UTC) if since else None,
        end=until.replace(tzinfo=UTC) if until else None,
        order_by="observed_at" if oldest else "observed_at desc",
        page_size=min(limit, 1_000),
        timeout=timeout,
    )
    await show_list(session, listed.pages(), _RECORDS, limit)
