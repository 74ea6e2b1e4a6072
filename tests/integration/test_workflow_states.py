"""Workflows over a real channel: moved between states, computed by ticks, deleted."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from orca.v1 import trust_service_pb2, workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.store.queries import QUERIES
from tests.inventory import (
    FAILED,
    MISSING,
    refused,
    sql,
)
from tests.workflows import audits, create, report, set_status, workflows_stub

__all__ = ["sql", "workflows_stub"]
Workflow = workflow_pb2.Workflow
Stub = WorkflowServiceStub


async def test_states_and_the_end_of_a_stay(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")

    async def stay() -> timedelta | None:
        row = await sql.fetchrow("SELECT counted_until - updated_at AS stay FROM workflows")
        found: timedelta | None = row["stay"]
        return found

    request = pb.PauseWorkflowRequest(id=made.id, reason="holidays")
    paused = await workflows_stub.PauseWorkflow(request)
    assert (paused.state, await stay()) == (Workflow.STATE_PAUSED, None)
    assert await workflows_stub.PauseWorkflow(request) == paused
    resumed = await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=made.id))
    assert (resumed.state, await stay()) == (Workflow.STATE_ACTIVE, None)
    assert await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=made.id)) == resumed
    retired = await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
    assert (retired.state, await stay()) == (Workflow.STATE_RETIRED, timedelta(days=7))
    assert await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id)) == retired
    call = workflows_stub.PauseWorkflow(request)
    assert await refused(call) == (FAILED, "WORKFLOW_RETIRED")
    back = await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=made.id))
    assert (back.state, await stay()) == (Workflow.STATE_ACTIVE, None)
    assert [entry[1] for entry in await audits(sql)] == [
        *("workflows.create", "workflows.pause", "workflows.resume", "workflows.retire"),
        "workflows.resume",
    ]
    assert (await audits(sql))[1][3] == "holidays"


async def test_what_the_tick_wrote_is_shown(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")
    at = datetime(2022, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    await set_status(
        sql,
        made.id,
        first_event_at=at - timedelta(days=1),
        last_event_at=at,
        last_run_at=at - timedelta(minutes=3),
        last_end_at=at,
        last_outcome="cancelled",
        last_success_at=at - timedelta(hours=1),
        succeeded=6,
        failed=2,
        cancelled=1,
        p50_us=1_500,
        p95_us=2_000_000,
        p99_us=3_000_000,
        timed_runs=8,
        freshness="fresh",
        next_deadline_at=at + timedelta(hours=23),
    )
    got = await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id))
    assert got.freshness == Workflow.FRESHNESS_FRESH
    assert got.last_event_at.ToJsonString() == "2022-06-01T12:00:00.250Z"
    assert got.last_run_at.ToJsonString() == "2022-06-01T11:57:00.250Z"
    assert got.last_success_at.ToJsonString() == "2022-06-01T11:00:00.250Z"
    assert got.fresh_until.ToJsonString() == "2022-06-02T11:00:00.250Z"
    assert (got.last_outcome, got.runs, got.failures, got.success_rate) == ("cancelled", 9, 2, 0.75)
    assert got.durations == workflow_pb2.Durations(p50_ms=1.5, p95_ms=2000, p99_ms=3000, runs=8)
    assert (got.updated_at, got.etag) == (made.updated_at, made.etag)


async def test_only_what_is_fresh_says_until_when(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")
    at = datetime(2026, 6, 1, tzinfo=UTC)
    for freshness in ("stale", "unmeasured"):
        await set_status(sql, made.id, first_event_at=at, freshness=freshness, next_deadline_at=at)
        got = await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id))
        assert not got.HasField("fresh_until")
        assert not got.HasField("success_rate")
    await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=made.id))
    stay_ends = await sql.fetchval("SELECT counted_until FROM workflows")
    await set_status(sql, made.id, first_event_at=at, freshness="fresh", next_deadline_at=stay_ends)
    got = await workflows_stub.GetWorkflow(pb.GetWorkflowRequest(id=made.id))
    assert not got.HasField("fresh_until")  # that is the end of its stay


async def refresh(stub: TrustServiceStub) -> None:
    """Ticks once."""
    await stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())


async def test_a_workflow_that_never_reported_is_deleted(
    workflows_stub: Stub, trust_stub: TrustServiceStub, sql: Any
) -> None:
    made = await create(workflows_stub, "a")
    await refresh(trust_stub)
    assert await sql.fetchval("SELECT count(*) FROM workflow_status") == 1
    request = pb.DeleteWorkflowRequest(id=made.id, reason="wrong one")
    await workflows_stub.DeleteWorkflow(request)
    call = workflows_stub.DeleteWorkflow(request)
    assert await refused(call) == (MISSING, "WORKFLOW_NOT_FOUND")
    assert (await audits(sql))[-1] == ("anonymous", "workflows.delete", "", "wrong one")
    await refresh(trust_stub)
    assert await sql.fetchval("SELECT count(*) FROM workflow_status") == 0
    assert (await create(workflows_stub, "a")).id != made.id


@pytest.mark.parametrize("kind", ["started", "succeeded", "heartbeat"])
async def test_a_workflow_that_reported_stays(
    workflows_stub: Stub, trust_stub: TrustServiceStub, sql: Any, kind: str
) -> None:
    made = await create(workflows_stub, "a")
    await report(workflows_stub, made.id, kind)
    request = pb.DeleteWorkflowRequest(id=made.id)
    history = (FAILED, "WORKFLOW_HAS_HISTORY")
    assert await refused(workflows_stub.DeleteWorkflow(request)) == history
    # Also once its events are gone: the runs, and what is known of them, remain.
    await refresh(trust_stub)
    await sql.execute("DELETE FROM workflow_events")
    assert await refused(workflows_stub.DeleteWorkflow(request)) == history
    await sql.execute("DELETE FROM workflow_runs")
    assert await refused(workflows_stub.DeleteWorkflow(request)) == history


async def test_a_deletion_waits_for_events_that_are_being_stored(
    workflows_stub: Stub, sql: Any
) -> None:
    made = await create(workflows_stub, "a")
    async with sql.transaction():
        await sql.execute(
            "INSERT INTO workflow_events (tenant_id, workflow_id, key, run_id, attempt, kind,"
            " occurred_at) SELECT tenant_id, id, id, '1', 1, 'started', now() FROM workflows"
        )
        request = pb.DeleteWorkflowRequest(id=made.id)
        deletion = asyncio.create_task(refused(workflows_stub.DeleteWorkflow(request)))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not await sql.fetchval(waiting):  # noqa: ASYNC110 - another process waits
            await asyncio.sleep(0.01)
    assert await deletion == (FAILED, "WORKFLOW_HAS_HISTORY")


async def test_a_deletion_gives_up_where_events_never_pause(workflows_stub: Stub, sql: Any) -> None:
    made = await create(workflows_stub, "a")
    request = pb.DeleteWorkflowRequest(id=made.id)
    async with sql.transaction():
        await sql.execute("LOCK TABLE workflow_events IN ROW EXCLUSIVE MODE")
        outcome = await refused(workflows_stub.DeleteWorkflow(request))
    assert outcome == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    await workflows_stub.DeleteWorkflow(request)


async def test_a_tick_under_way_leaves_nothing_of_a_deleted_workflow(
    workflows_stub: Stub, sql: Any
) -> None:
    made = await create(workflows_stub, "a")
    async with sql.transaction():
        await sql.fetchval(QUERIES["lock_tick"])  # as a tick that has read the workflow
        request = pb.DeleteWorkflowRequest(id=made.id)
        deletion = asyncio.ensure_future(workflows_stub.DeleteWorkflow(request))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        while not await sql.fetchval(waiting):  # noqa: ASYNC110 - another process waits
            await asyncio.sleep(0.01)
        await set_status(sql, made.id)
    await deletion
    assert await sql.fetchval("SELECT count(*) FROM workflow_status") == 0


async def test_no_event_is_left_without_its_workflow_when_deleting_under_load(
    workflows_stub: Stub, sql: Any
) -> None:
    for n in range(10):
        made = await create(workflows_stub, f"a{n}")
        await asyncio.gather(
            workflows_stub.DeleteWorkflow(pb.DeleteWorkflowRequest(id=made.id)),
            report(workflows_stub, made.id),
            return_exceptions=True,
        )
    orphans = await sql.fetchval(
        "SELECT count(*) FROM workflow_events LEFT JOIN workflows ON workflows.id = workflow_id"
        " WHERE workflows.id IS NULL"
    )
    assert orphans == 0
