"""What tests of workflows have in common."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

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
Workflow = workflow_pb2.Workflow
Stub = WorkflowServiceStub
FULL: dict[str, Any] = {
    "display_name": "Nightly invoices",
    "external_id": "wf-17",
    "url": "https://n8n.example.org/workflow/17",
    "owner": "billing",
    "schedule": {"cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"},
    "freshness_slo_hours": 26.5,
    "labels": {"team": "a", "tier": "1"},
}


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


def full(name: str = "full") -> Workflow:
    """A workflow of n8n that says all that can be said."""
    return Workflow(provider="n8n", name=name, **FULL)


def update(workflow: Workflow, *paths: str, **fields: Any) -> pb.UpdateWorkflowRequest:
    """A request to change these paths of it; without any, what is populated."""
    mask = FieldMask(paths=paths) if paths else None
    return pb.UpdateWorkflowRequest(workflow=workflow, update_mask=mask, **fields)


async def audits(sql: Any) -> list[tuple[str, str, str, str]]:
    """Actor, action, name of the workflow and reason, oldest first."""
    rows = await sql.fetch(
        "SELECT actor, action, coalesce(workflows.name, '') AS name, reason FROM audit_entries"
        " LEFT JOIN workflows ON workflows.id = entity_id WHERE entity_type = 'workflow'"
        " ORDER BY audit_entries.id"
    )
    return [tuple(row) for row in rows]


def of_one(stub: Stub) -> list[tuple[Any, Any]]:
    """The methods on one workflow, by id."""
    return [
        (stub.GetWorkflow, pb.GetWorkflowRequest),
        (stub.DeleteWorkflow, pb.DeleteWorkflowRequest),
        (stub.PauseWorkflow, pb.PauseWorkflowRequest),
        (stub.ResumeWorkflow, pb.ResumeWorkflowRequest),
        (stub.RetireWorkflow, pb.RetireWorkflowRequest),
    ]
