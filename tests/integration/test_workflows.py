"""Workflows over a real channel: created and read."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.inventory import (
    EXISTS,
    MISSING,
    UNKNOWN,
    refused,
    sql,
    wrong_fields,
)
from tests.serving import info_of
from tests.workflows import (
    FULL,
    audits,
    create,
    full,
    of_one,
    update,
    workflows_stub,
)

__all__ = ["sql", "workflows_stub"]
Workflow = workflow_pb2.Workflow
Stub = WorkflowServiceStub


async def test_a_workflow_is_kept_as_it_was_given(workflows_stub: Stub) -> None:
    given = full()
    made = await workflows_stub.CreateWorkflow(pb.CreateWorkflowRequest(workflow=given))
    assert UUID(made.id).version == 7
    assert made.state == Workflow.STATE_ACTIVE
    assert made.created_at == made.updated_at
    for field in ("provider", "name", *FULL):
        assert getattr(made, field) == getattr(given, field), field
    assert await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id)) == made


async def test_a_bare_workflow_has_defaults(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "bare", id=UNKNOWN, state=Workflow.STATE_RETIRED, runs=7)
    assert made.id != UNKNOWN
    assert (made.state, made.runs) == (Workflow.STATE_ACTIVE, 0)
    assert made.freshness == Workflow.FRESHNESS_UNMEASURED
    for field in ("schedule", "freshness_slo_hours", "last_run_at", "success_rate", "durations"):
        assert not made.HasField(field), field


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"cron": "*/5 * * * *"}, {"cron": "*/5 * * * *", "timezone": "UTC"}),
        ({"interval_seconds": 10}, {"interval_seconds": 10}),
        ({"cron": "", "timezone": ""}, {}),
    ],
)
async def test_schedules_are_kept_with_their_time_zone(
    workflows_stub: Stub, given: dict[str, Any], kept: dict[str, Any]
) -> None:
    made = await create(workflows_stub, "a", schedule=given)
    assert made.schedule == workflow_pb2.Schedule(**kept)
    assert made.HasField("schedule") == bool(kept)
    again = Workflow(id=made.id, schedule=workflow_pb2.Schedule(**given))
    assert await workflows_stub.UpdateWorkflow(update(again, "schedule")) == made


@pytest.mark.parametrize(
    ("hours", "kept"), [(24.0, 24.0), (1 / 3600, 1 / 3600), (8784.0, 8784.0), (0.00041, 1 / 3600)]
)
async def test_objectives_are_kept_to_the_second(
    workflows_stub: Stub, hours: float, kept: float
) -> None:
    made = await create(workflows_stub, "a", freshness_slo_hours=hours)
    assert made.freshness_slo_hours == kept


async def test_all_wrong_fields_of_a_new_workflow_are_named(workflows_stub: Stub) -> None:
    workflow = Workflow(
        provider="N 8",
        name="a b",
        owner="x" * 201,
        external_id="x" * 201,
        url="https://me:secret@example.org",
        freshness_slo_hours=float("nan"),
        labels={"a b": "c"},
    )
    workflow.schedule.cron = "61 * * * *"
    workflow.schedule.timezone = "Europe/Atlantis"
    workflow.schedule.interval_seconds = 9
    request = pb.CreateWorkflowRequest(workflow=workflow, request_id="x", reason="r" * 501)
    assert sorted(await wrong_fields(workflows_stub.CreateWorkflow(request))) == [
        ("reason", "TOO_LONG"),
        ("request_id", "INVALID_FORMAT"),
        ("workflow.external_id", "TOO_LONG"),
        ("workflow.freshness_slo_hours", "OUT_OF_RANGE"),
        ("workflow.labels.a b", "INVALID_FORMAT"),
        ("workflow.name", "INVALID_FORMAT"),
        ("workflow.owner", "TOO_LONG"),
        ("workflow.provider", "INVALID_FORMAT"),
        ("workflow.schedule", "EXCLUSIVE"),
        ("workflow.schedule.cron", "INVALID_FORMAT"),
        ("workflow.schedule.interval_seconds", "OUT_OF_RANGE"),
        ("workflow.schedule.timezone", "INVALID_VALUE"),
        ("workflow.url", "SECRET_IN_PLAIN_TEXT"),
    ]


BAD_HOURS = [0.0, -1.0, 0.0001, 8784.01, float("nan"), float("inf"), -float("inf"), 5e-324, 1e308]


@pytest.mark.parametrize("hours", BAD_HOURS)
async def test_objectives_that_are_none(workflows_stub: Stub, hours: float) -> None:
    call = create(workflows_stub, "a", freshness_slo_hours=hours)
    assert await wrong_fields(call) == [("workflow.freshness_slo_hours", "OUT_OF_RANGE")]


@pytest.mark.parametrize(
    "zone", ["America", "../etc/passwd", "/etc/localtime", "localtime", "x" * 65, "europe/", "Ünix"]
)
async def test_time_zones_that_are_none(workflows_stub: Stub, zone: str) -> None:
    call = create(workflows_stub, "a", schedule={"cron": "* * * * *", "timezone": zone})
    assert await wrong_fields(call) == [("workflow.schedule.timezone", "INVALID_VALUE")]


async def test_a_taken_name_is_refused_and_a_retired_one_named(workflows_stub: Stub) -> None:
    made = await create(workflows_stub, "a")
    assert await refused(create(workflows_stub, "a")) == (EXISTS, "WORKFLOW_EXISTS")
    await create(workflows_stub, "a", provider="airflow")
    await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(workflows_stub, "a")
    assert (caught.value.code(), info_of(caught.value).reason) == (EXISTS, "WORKFLOW_RETIRED")
    assert info_of(caught.value).metadata["workflow_id"] == made.id


async def test_a_retried_creation_finds_the_first_one(workflows_stub: Stub, sql: Any) -> None:
    request_id = str(uuid4())
    given = Workflow(provider="n8n", name="a")
    request = pb.CreateWorkflowRequest(workflow=given, request_id=request_id, reason="because")
    answers = await asyncio.gather(*(workflows_stub.CreateWorkflow(request) for _ in range(8)))
    assert len({answer.id for answer in answers}) == 1
    assert await audits(sql) == [("anonymous", "workflows.create", "a", "because")]
    given = Workflow(provider="n8n", name="b")
    other = pb.CreateWorkflowRequest(workflow=given, request_id=request_id)
    assert await refused(workflows_stub.CreateWorkflow(other)) == (EXISTS, "REQUEST_ID_REUSED")


async def test_one_of_many_simultaneous_creations_wins(workflows_stub: Stub) -> None:
    results = await asyncio.gather(
        *(create(workflows_stub, "a") for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, Workflow) for result in results) == 1


@pytest.mark.parametrize("given", ["", "x", "x" * 36, UNKNOWN.replace("-", "")])
async def test_ids_that_are_none(workflows_stub: Stub, given: str) -> None:
    reason = "INVALID_FORMAT" if given else "REQUIRED"
    for call, request in of_one(workflows_stub):
        assert await wrong_fields(call(request(id=given))) == [("id", reason)]


async def test_workflows_that_are_not_there(workflows_stub: Stub) -> None:
    calls = [call(request(id=UNKNOWN)) for call, request in of_one(workflows_stub)]
    named = Workflow(provider="n8n", name="nobody", owner="x")
    calls += [
        workflows_stub.UpdateWorkflow(update(Workflow(id=UNKNOWN, owner="x"))),
        workflows_stub.UpdateWorkflow(update(Workflow(id=UNKNOWN, owner="x"), allow_missing=True)),
        workflows_stub.UpdateWorkflow(update(named)),
    ]
    for call in calls:
        assert await refused(call) == (MISSING, "WORKFLOW_NOT_FOUND")
