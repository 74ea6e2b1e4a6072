"""What workflows do to trust, and their runs, over a real channel."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from orca.v1 import trust_pb2, workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.trust_service_pb2 import RefreshTrustRequest
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.serving import reason_of
from tests.workflows import create, workflows_stub

__all__ = ["workflows_stub"]  # a fixture
HOUR = timedelta(hours=1)
Fresh = workflow_pb2.Workflow.Freshness


async def tell(
    stub: WorkflowServiceStub,
    workflow_id: str,
    run: str,
    kind: str,
    ago: timedelta,
    attempt: int = 1,
) -> None:
    """Records one event."""
    event = workflow_pb2.WorkflowEvent(
        workflow_id=workflow_id, run_id=run, kind=kind, attempt=attempt
    )
    event.occurred_at.FromDatetime(datetime.now(UTC) - ago)
    if kind == "failed":
        event.error.type, event.error.message = "Timeout", "it took too long"
    await stub.RecordEvents(pb.RecordEventsRequest(events=[event]))


async def fleet(stub: TrustServiceStub) -> trust_pb2.Trust:
    """The fleet's trust, computed now."""
    return await stub.RefreshTrust(RefreshTrustRequest())


async def get(stub: WorkflowServiceStub, workflow_id: str) -> workflow_pb2.Workflow:
    return await stub.GetWorkflow(pb.GetWorkflowRequest(id=workflow_id))


def counts(trust: trust_pb2.Trust) -> tuple[float, float, float, float]:
    """Fresh, stale, unmeasured, paused."""
    told = trust.workflows
    return told.fresh, told.stale, told.unmeasured, told.paused


async def test_a_fleet_of_workflows_alone_has_a_score(
    workflows_stub: WorkflowServiceStub, trust_stub: TrustServiceStub
) -> None:
    good, bad, new = [await create(workflows_stub, name) for name in ("good", "bad", "new")]
    trust = await fleet(trust_stub)
    assert counts(trust) == (0, 0, 3, 0)
    assert not trust.HasField("trust_score")
    assert not trust.HasField("sync_freshness_pct")
    await tell(workflows_stub, good.id, "1", "succeeded", HOUR)
    await tell(workflows_stub, bad.id, "1", "succeeded", 2 * HOUR)
    await tell(workflows_stub, bad.id, "2", "failed", HOUR)
    trust = await fleet(trust_stub)
    assert counts(trust) == (1, 1, 1, 0)
    part = trust.components.sync_freshness
    assert (part.ppb, part.weight, part.contribution_ppb) == (500_000_000, 1, 500_000_000)
    assert (part.measured, part.unmeasured) == (2, 1)
    assert trust.trust_ppb == 500_000_000
    assert trust.sync_freshness_pct == 50
    assert trust.coverage.absent_components == [
        "agent_uptime",
        "policy_adherence",
        "risk_exposure",
    ]
    states = [(await get(workflows_stub, one.id)).freshness for one in (good, bad, new)]
    assert states == [
        Fresh.FRESHNESS_FRESH,
        Fresh.FRESHNESS_STALE,
        Fresh.FRESHNESS_UNMEASURED,
    ]


async def test_pausing_is_shown_and_retiring_a_stale_workflow_raises_nothing(
    workflows_stub: WorkflowServiceStub, trust_stub: TrustServiceStub
) -> None:
    good, bad = [await create(workflows_stub, name) for name in ("good", "bad")]
    await tell(workflows_stub, good.id, "1", "succeeded", HOUR)
    await tell(workflows_stub, bad.id, "1", "failed", HOUR)
    await workflows_stub.PauseWorkflow(pb.PauseWorkflowRequest(id=good.id))
    assert counts(await fleet(trust_stub)) == (0, 1, 0, 1)
    await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=good.id))
    before = await fleet(trust_stub)
    await workflows_stub.RetireWorkflow(pb.RetireWorkflowRequest(id=bad.id))
    after = await fleet(trust_stub)
    assert counts(before) == counts(after) == (1, 1, 0, 0)
    assert after.trust_ppb == before.trust_ppb


async def test_a_deadline_of_its_own_decides(
    workflows_stub: WorkflowServiceStub, trust_stub: TrustServiceStub
) -> None:
    short = await create(workflows_stub, "short", freshness_slo_hours=0.5)
    long = await create(workflows_stub, "long", freshness_slo_hours=100)
    for workflow in (short, long):
        await tell(workflows_stub, workflow.id, "1", "succeeded", HOUR)
    assert counts(await fleet(trust_stub)) == (1, 1, 0, 0)
    told = await get(workflows_stub, long.id)
    ended = told.last_success_at.ToDatetime(tzinfo=UTC)
    assert told.fresh_until.ToDatetime(tzinfo=UTC) == ended + 100 * HOUR
    assert not (await get(workflows_stub, short.id)).HasField("fresh_until")


async def test_runs_are_derived_whatever_the_order_of_their_events(
    workflows_stub: WorkflowServiceStub, trust_stub: TrustServiceStub
) -> None:
    workflow = await create(workflows_stub, "w")
    await tell(workflows_stub, workflow.id, "late", "succeeded", HOUR, attempt=2)
    await tell(workflows_stub, workflow.id, "late", "failed", 2 * HOUR)
    await tell(workflows_stub, workflow.id, "late", "started", 3 * HOUR)
    for number in range(3):
        await tell(workflows_stub, workflow.id, f"r{number}", "started", (number + 4) * HOUR)
    await fleet(trust_stub)
    request = pb.GetRunRequest(workflow_id=workflow.id, run_id="late")
    run = await workflows_stub.GetRun(request)
    assert (run.state, run.attempts) == (workflow_pb2.Run.State.STATE_SUCCEEDED, 2)
    assert run.duration_ms == pytest.approx(2 * 3_600_000, abs=60_000)
    assert not run.HasField("error")
    told = await get(workflows_stub, workflow.id)
    assert (told.runs, told.failures, told.success_rate, told.durations.runs) == (1, 0, 1, 1)
    assert told.durations.p95_ms == pytest.approx(run.duration_ms, rel=0.01)
    assert told.last_run_at == run.started_at
    first = await workflows_stub.ListRuns(pb.ListRunsRequest(workflow_id=workflow.id, page_size=3))
    assert [each.run_id for each in first.runs] == ["late", "r0", "r1"]
    following = pb.ListRunsRequest(workflow_id=workflow.id, page_token=first.next_page_token)
    rest = await workflows_stub.ListRuns(following)
    assert [each.run_id for each in rest.runs] == ["r2"]
    assert (first.total_size, rest.next_page_token) == (4, "")
    oldest = await workflows_stub.ListRuns(
        pb.ListRunsRequest(workflow_id=workflow.id, order_by="started_at", page_size=2)
    )
    assert [each.run_id for each in oldest.runs] == ["r2", "r1"]


async def test_a_run_that_is_not_there_is_not_found(workflows_stub: WorkflowServiceStub) -> None:
    workflow = await create(workflows_stub, "w")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await workflows_stub.GetRun(pb.GetRunRequest(workflow_id=workflow.id, run_id="x"))
    assert reason_of(caught.value) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")
