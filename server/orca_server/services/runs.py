"""The runs of workflows: GetRun and ListRuns of WorkflowService."""

from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record
from grpc.aio import ServicerContext

from orca.v1 import workflow_pb2 as pb
from orca.v1 import workflow_service_pb2 as service_pb
from orca_server.domain.errors import FieldViolation, InvalidRequest, NotFound, invalid_fields
from orca_server.services import page_token
from orca_server.services.authentication import current_caller
from orca_server.services.requests import EARLIEST, LATEST, read_id, read_page_size, read_time
from orca_server.store import runs as store
from orca_server.store.database import Database
from orca_server.store.runs import Span
from orca_server.store.workflows import require_workflow

DEFAULT_PAGE, MOST_PAGE = 1_000, 5_000
MOST_RUN_ID = 200

Context = ServicerContext[Any, Any]


class RunsServicer:
    """Answers GetRun and ListRuns."""

    def __init__(self, db: Database) -> None:
        """Keeps what it needs."""
        self._db = db

    async def GetRun(self, request: service_pb.GetRunRequest, context: Context) -> pb.Run:
        """One run."""
        workflow_id = read_id("workflow_id", request.workflow_id)
        run_id = _read_run_id(request.run_id)
        tenant_id = current_caller().tenant_id
        async with self._db.connection() as connection:
            await require_workflow(connection, tenant_id, workflow_id)
            row = await store.get_run(connection, tenant_id, workflow_id, run_id)
        if row is None:
            raise NotFound(
                "RUN_NOT_FOUND",
                f"Workflow '{workflow_id}' has no run '{run_id}'.",
                {"workflow_id": str(workflow_id), "run_id": run_id},
            )
        return run_to_proto(row)

    async def ListRuns(
        self, request: service_pb.ListRunsRequest, context: Context
    ) -> service_pb.ListRunsResponse:
        """A page of a workflow's runs by start."""
        workflow_id = read_id("workflow_id", request.workflow_id)
        limit = read_page_size(request.page_size, default=DEFAULT_PAGE, most=MOST_PAGE)
        newest_first = _newest_first(request.order_by)
        span = _span(current_caller().tenant_id, workflow_id, request)
        query = f"runs|{workflow_id}|{span.start}|{span.end}|{newest_first}"
        after = _after(page_token.redeem(query, request.page_token, parts=2))
        async with self._db.connection() as connection:
            await require_workflow(connection, span.tenant_id, workflow_id)
            rows = await store.list_runs(
                connection, span, after, newest_first=newest_first, limit=limit + 1
            )
            total = await store.count_runs(connection, span)
        response = service_pb.ListRunsResponse(
            runs=[run_to_proto(row) for row in rows[:limit]], total_size=total
        )
        if len(rows) > limit:
            last = rows[limit - 1]
            key = [last["first_event_at"].isoformat(), last["run_id"]]
            response.next_page_token = page_token.issue(query, key)
        return response


def run_to_proto(row: Record) -> pb.Run:
    """A run for a reply."""
    run = pb.Run(
        workflow_id=str(row["workflow_id"]),
        run_id=row["run_id"],
        state=pb.Run.State.Value(f"STATE_{row['state'].upper()}"),
        attempts=row["attempts"],
        trigger=row["trigger"],
        url=row["url"],
    )
    run.started_at.FromDatetime(row["first_event_at"])
    run.last_event_at.FromDatetime(row["last_event_at"])
    if row["ended_at"] is None:
        return run
    run.ended_at.FromDatetime(row["ended_at"])
    if row["duration_us"] is not None:
        run.duration_ms = row["duration_us"] / 1000
    if row["error_type"] is not None:
        run.error.type = row["error_type"]
        run.error.message = row["error_message"]
    return run


def _read_run_id(text: str) -> str:
    if 1 <= len(text) <= MOST_RUN_ID and "\0" not in text:
        return text
    reason = "OUT_OF_RANGE" if text else "REQUIRED"
    message = f"must have 1 to {MOST_RUN_ID} characters, none of them NUL"
    raise invalid_fields([FieldViolation("run_id", reason, message)])


def _span(tenant_id: UUID, workflow_id: UUID, request: service_pb.ListRunsRequest) -> Span:
    start = read_time(
        "start_time", request.start_time, given=request.HasField("start_time"), default=EARLIEST
    )
    end = read_time(
        "end_time", request.end_time, given=request.HasField("end_time"), default=LATEST
    )
    return Span(tenant_id, workflow_id, start, end)


def _after(key: list[str] | None) -> tuple[datetime, str] | None:
    if key is None:
        return None
    try:
        at = datetime.fromisoformat(key[0])
    except ValueError:
        raise page_token.invalid() from None
    if at.tzinfo is None or "\0" in key[1]:
        raise page_token.invalid()
    return at, key[1]


def _newest_first(order_by: str) -> bool:
    words = order_by.split()
    if words in ([], ["started_at", "desc"]):
        return True
    if words in (["started_at"], ["started_at", "asc"]):
        return False
    raise InvalidRequest(
        "ORDER_BY_INVALID",
        "order_by may be 'started_at desc' or 'started_at'.",
        violations=[FieldViolation("order_by", "UNKNOWN_FIELD", "only started_at is known")],
    )
