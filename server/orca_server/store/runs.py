"""Runs and the status of workflows: what the tick writes, what GetRun and ListRuns read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from asyncpg import Connection, Record

from orca_server.domain.fleet_trust import WorkflowSums
from orca_server.store.queries import QUERIES

_BEFORE_ALL = datetime(1, 1, 2, tzinfo=UTC)
_AFTER_ALL = datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DirtyWorkflow:
    """A workflow to compute; `last_event_at` is None if no event is new."""

    tenant_id: UUID
    workflow_id: UUID
    last_event_at: datetime | None


async def merge_inbox(tx: Connection) -> list[DirtyWorkflow]:
    """Takes events into runs; gives the workflows to compute."""
    rows = await tx.fetch(QUERIES["merge_workflow_inbox"])
    return [
        DirtyWorkflow(row["tenant_id"], row["workflow_id"], row["last_event_at"]) for row in rows
    ]


async def mark_all(tx: Connection) -> None:
    """Puts every workflow up for computing."""
    await tx.execute(QUERIES["mark_all_workflows"])


async def compute_workflows(
    tx: Connection, dirty: Sequence[DirtyWorkflow], as_of: datetime, slo_seconds: int
) -> int:
    """Computes these workflows and those whose deadline passed; gives their number."""
    count: int = await tx.fetchval(
        QUERIES["compute_workflow_status"],
        [one.tenant_id for one in dirty],
        [one.workflow_id for one in dirty],
        [one.last_event_at for one in dirty],
        as_of,
        slo_seconds,
    )
    return count


async def sum_workflows(tx: Connection) -> dict[UUID, WorkflowSums]:
    """How many workflows are fresh, stale, unmeasured, paused, by tenant."""
    return {
        row["tenant_id"]: WorkflowSums(row["fresh"], row["stale"], row["unmeasured"], row["paused"])
        for row in await tx.fetch(QUERIES["sum_workflows"])
    }


async def get_run(
    connection: Connection, tenant_id: UUID, workflow_id: UUID, run_id: str
) -> Record | None:
    """One run, or None if there is none."""
    return await connection.fetchrow(QUERIES["get_run"], tenant_id, workflow_id, run_id)


@dataclass(frozen=True, slots=True)
class Span:
    """Runs of a workflow by start: `start` <= start of the run < `end`."""

    tenant_id: UUID
    workflow_id: UUID
    start: datetime
    end: datetime


async def list_runs(
    connection: Connection,
    span: Span,
    after: tuple[datetime, str] | None,
    *,
    newest_first: bool,
    limit: int,
) -> list[Record]:
    """A page of runs that begins after the start and run id of one."""
    name = "list_runs_newest_first" if newest_first else "list_runs"
    whole = (_AFTER_ALL, "") if newest_first else (_BEFORE_ALL, "")
    rows: list[Record] = await connection.fetch(
        QUERIES[name],
        span.tenant_id,
        span.workflow_id,
        *(after or whole),
        span.start,
        span.end,
        limit,
    )
    return rows


async def count_runs(connection: Connection, span: Span) -> int:
    """How many runs a span has."""
    count: int = await connection.fetchval(
        QUERIES["count_runs"], span.tenant_id, span.workflow_id, span.start, span.end
    )
    return count
