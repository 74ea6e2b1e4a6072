"""Who may say what of workflows: adapters, bound tokens, other tenants."""

from typing import Any
from uuid import uuid4

import pytest

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.inventory import (
    DENIED,
    MISSING,
    bearer,
    refused,
    sql,
)
from tests.workflows import FULL, audits, create, of_one, update, workflows_stub

__all__ = ["sql", "workflows_stub"]
Workflow = workflow_pb2.Workflow
Stub = WorkflowServiceStub
REPORTED = {
    key: value for key, value in FULL.items() if key not in ("owner", "freshness_slo_hours")
}


async def test_adapters_say_what_a_tool_says_of_its_workflows(
    workflows_stub: Stub, sql: Any
) -> None:
    said = Workflow(provider="n8n", name="a", **REPORTED)
    request = pb.CreateWorkflowRequest(workflow=said)
    made = await workflows_stub.CreateWorkflow(request, metadata=bearer("adapter"))
    said.external_id = "wf-18"
    got = await workflows_stub.UpdateWorkflow(update(said), metadata=bearer("adapter"))
    assert (got.id, got.external_id, got.labels) == (made.id, "wf-18", said.labels)
    upsert = update(Workflow(provider="n8n", name="b", **REPORTED), allow_missing=True)
    await workflows_stub.UpdateWorkflow(upsert, metadata=bearer("adapter"))
    assert [entry[:3] for entry in await audits(sql)] == [
        ("the-adapter", "workflows.create", "a"),
        ("the-adapter", "workflows.update", "a"),
        ("the-adapter", "workflows.create", "b"),
    ]


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"owner": "x"}, []),
        ({"freshness_slo_hours": 1.0}, []),
        ({}, ["owner"]),
        ({"url": "https://example.org"}, ["*"]),
    ],
)
async def test_adapters_may_not_change_what_weighs_freshness(
    workflows_stub: Stub, fields: dict[str, Any], paths: list[str]
) -> None:
    await create(workflows_stub, "a")
    denied = (DENIED, "FIELD_NOT_ALLOWED")
    for name in ("a", "missing"):
        workflow = Workflow(provider="n8n", name=name, **fields)
        call = workflows_stub.UpdateWorkflow(
            update(workflow, *paths, allow_missing=True), metadata=bearer("adapter")
        )
        assert await refused(call) == denied
    if not paths:
        request = pb.CreateWorkflowRequest(workflow=workflow)
        call = workflows_stub.CreateWorkflow(request, metadata=bearer("adapter"))
        assert await refused(call) == denied


async def test_a_mask_does_not_smuggle_fields_into_a_new_workflow(workflows_stub: Stub) -> None:
    workflow = Workflow(provider="n8n", name="new", url="https://example.org", owner="x")
    call = workflows_stub.UpdateWorkflow(
        update(workflow, "url", allow_missing=True), metadata=bearer("adapter")
    )
    assert await refused(call) == (DENIED, "FIELD_NOT_ALLOWED")


async def test_a_token_that_is_bound_to_agents_speaks_for_no_workflow(
    workflows_stub: Stub,
) -> None:
    token, workflow = bearer("adapter", agents=["mcp/x"]), Workflow(provider="n8n", name="a")
    await create(workflows_stub, "a")
    for call in (
        workflows_stub.CreateWorkflow(pb.CreateWorkflowRequest(workflow=workflow), metadata=token),
        workflows_stub.UpdateWorkflow(update(workflow, allow_missing=True), metadata=token),
    ):
        assert await refused(call) == (DENIED, "AGENT_NOT_ALLOWED")


async def test_one_tenant_does_not_see_or_touch_another(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "a")
    token = bearer("operator", tenant=str(uuid4()))
    calls = [call(req(id=made.id), metadata=token) for call, req in of_one(workflows_stub)]
    changed = Workflow(id=made.id, owner="x")
    calls.append(workflows_stub.UpdateWorkflow(update(changed), metadata=token))
    for call in calls:
        assert await refused(call) == (MISSING, "WORKFLOW_NOT_FOUND")
    listed = await workflows_stub.ListWorkflows(pb.ListWorkflowsRequest(), metadata=token)
    assert listed.total_size == 0
    request = pb.CreateWorkflowRequest(workflow=Workflow(provider="n8n", name="a"))
    theirs = await workflows_stub.CreateWorkflow(request, metadata=token)
    assert theirs.id != made.id
