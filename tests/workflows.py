"""What tests of workflows have in common."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.domain.access import DEFAULT_TENANT

STATUS = {
    "first_event_at": None,
    "last_event_at": None,
    "last_run_at": None,
    "last_end_at": None,
    "last_outcome": None,
    "last_success_at": None,
    "succeeded": 0,
    "failed": 0,
    "cancelled": 0,
    "p50_us": None,
    "p95_us": None,
    "p99_us": None,
    "timed_runs": 0,
    "freshness": "unmeasured",
    "counted": "counted",
    "next_deadline_at": None,
    "as_of": datetime(2026, 3, 1, tzinfo=UTC),
}
"""A row of workflow_status of a workflow that never reported."""


@pytest.fixture
def workflows_stub(channel: grpc.aio.Channel) -> WorkflowServiceStub:
    """WorkflowService."""
    return WorkflowServiceStub(channel)


async def create(
    stub: WorkflowServiceStub, name: str, provider: str = "n8n", **fields: Any
) -> workflow_pb2.Workflow:
    """Creates a workflow."""
    workflow = workflow_pb2.Workflow(provider=provider, name=name, **fields)
    return await stub.CreateWorkflow(pb.CreateWorkflowRequest(workflow=workflow))


async def set_status(sql: Any, workflow_id: str, **values: Any) -> None:
    """Writes what the tick might have computed of a workflow."""
    row: Mapping[str, Any] = {**STATUS, **values}
    columns = ", ".join(row)
    marks = ", ".join(f"${number}" for number in range(3, len(row) + 3))
    await sql.execute("DELETE FROM workflow_status WHERE workflow_id = $1::text::uuid", workflow_id)
    await sql.execute(
        f"INSERT INTO workflow_status (tenant_id, workflow_id, {columns})"
        f" VALUES ($1, $2::text::uuid, {marks})",
        DEFAULT_TENANT,
        workflow_id,
        *row.values(),
    )


async def report(stub: WorkflowServiceStub, workflow_id: str, kind: str = "succeeded") -> None:
    """Records an event of a run that happens now."""
    event = workflow_pb2.WorkflowEvent(workflow_id=workflow_id, run_id="1", kind=kind)
    event.occurred_at.GetCurrentTime()
    await stub.RecordEvents(pb.RecordEventsRequest(events=[event]))
