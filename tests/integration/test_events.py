"""Events over a real channel: all or nothing, receipts in order, retries stored once."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from orca.v1.system_service_pb2 import GetStatusRequest
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.app import Addresses
from orca_server.domain.errors import Unavailable
from orca_server.runtime.event_writer import EventWriter
from orca_server.runtime.ingest import Ingest
from orca_server.runtime.names import Names
from orca_server.services.events import EventsServicer
from orca_server.store.database import Database
from orca_server.store.events import resolve_workflows
from tests import workflows
from tests.serving import (
    info_of,
    reason_of,
    running_server,
    settings_for,
    token_for,
    violations_of,
    wait_until_ready,
)
from tests.workflows import workflows_stub

__all__ = ["workflows_stub"]  # a fixture

NOW = datetime.now(UTC).replace(microsecond=0)
LARGE_MESSAGES = (("grpc.max_receive_message_length", 16 * 2**20),)
UNKNOWN = "00000000-0000-7000-8000-000000000000"


def event(workflow_id: str = "", **values: Any) -> workflow_pb2.WorkflowEvent:
    at = values.pop("at", NOW)
    defaults = {"run_id": "4711", "kind": "succeeded"}
    made = workflow_pb2.WorkflowEvent(workflow_id=workflow_id, **{**defaults, **values})
    made.occurred_at.FromDatetime(at)
    return made


async def create(stub: WorkflowServiceStub, name: str) -> str:
    return (await workflows.create(stub, name)).id


async def retire(stub: WorkflowServiceStub, workflow_id: str) -> None:
    await stub.RetireWorkflow(pb.RetireWorkflowRequest(id=workflow_id))


def request(*events: workflow_pb2.WorkflowEvent) -> pb.RecordEventsRequest:
    return pb.RecordEventsRequest(events=events)


async def listed(stub: WorkflowServiceStub, workflow: str, **query: Any) -> pb.ListEventsResponse:
    return await stub.ListEvents(pb.ListEventsRequest(workflow_id=workflow, **query))


async def test_an_event_is_stored_as_it_was_sent(workflows_stub: WorkflowServiceStub) -> None:
    workflow = await create(workflows_stub, "w")
    sent = event(
        workflow,
        attempt=2,
        kind="failed",
        trigger="schedule",
        url="https://example.com/4711",
        error=workflow_pb2.RunError(type="Timeout", message="after 30 s\nof waiting"),
        duration_ms=30_000.125,
    )
    sent.attributes.update({"nested": {"list": [1, 2.5, None, True, "x\0y"]}})
    answer = await workflows_stub.RecordEvents(request(sent))
    assert (answer.accepted, answer.duplicates) == (1, 0)
    (stored,) = (await listed(workflows_stub, workflow)).events
    assert stored.event == sent
    assert abs((datetime.now(UTC) - stored.created_at.ToDatetime(tzinfo=UTC)).seconds) < 60


async def test_what_is_absent_stays_absent(workflows_stub: WorkflowServiceStub) -> None:
    workflow = await create(workflows_stub, "w")
    await workflows_stub.RecordEvents(request(event(workflow, kind="started", id="mine")))
    (stored,) = (await listed(workflows_stub, workflow)).events
    assert stored.event == event(workflow, kind="started", attempt=1)


async def test_a_retry_finds_itself(workflows_stub: WorkflowServiceStub) -> None:
    workflow = await create(workflows_stub, "w")
    first = request(*(event(workflow, id=name) for name in ("1", "2", "", "")))
    answer = await workflows_stub.RecordEvents(first)
    assert (answer.accepted, answer.duplicates) == (3, 1)  # the last two are one event
    answer = await workflows_stub.RecordEvents(first)
    assert (answer.accepted, answer.duplicates) == (0, 4)
    named = workflow_pb2.WorkflowRef(provider="n8n", name="w")
    answer = await workflows_stub.RecordEvents(request(event(workflow=named, id="1")))
    assert (answer.accepted, answer.duplicates) == (0, 1)
    assert (await listed(workflows_stub, workflow)).total_size == 3


async def test_one_wrong_event_keeps_the_whole_request_out(
    workflows_stub: WorkflowServiceStub,
) -> None:
    workflow, retired = [await create(workflows_stub, name) for name in ("w", "r")]
    await retire(workflows_stub, retired)
    wrong = {
        ("kind", "INVALID_VALUE"): event(workflow, kind="exploded"),
        ("run_id", "REQUIRED"): event(workflow, run_id=""),
        ("occurred_at", "OUT_OF_RANGE"): event(workflow, at=NOW + timedelta(hours=1)),
        ("workflow", "WORKFLOW_NOT_FOUND"): event(workflow=workflow_pb2.WorkflowRef(name="x")),
        ("workflow_id", "WORKFLOW_NOT_FOUND"): event(UNKNOWN),
        ("workflow_id", "WORKFLOW_RETIRED"): event(retired),
    }
    for (field, reason), spoilt in wrong.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await workflows_stub.RecordEvents(request(event(workflow), spoilt))
        assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "EVENTS_INVALID")
        assert violations_of(caught.value) == [(f"events[1].{field}", reason)]
    assert (await listed(workflows_stub, workflow)).total_size == 0


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_request_holds_1_to_1000_events(
    workflows_stub: WorkflowServiceStub, count: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await workflows_stub.RecordEvents(request(*[event("x")] * count))
    assert reason_of(caught.value)[1] == "FIELD_INVALID"


async def test_a_retired_workflow_that_is_resumed_takes_events_again(
    workflows_stub: WorkflowServiceStub,
) -> None:
    workflow = await create(workflows_stub, "w")
    named = event(workflow=workflow_pb2.WorkflowRef(provider="n8n", name="w"))
    assert (await workflows_stub.RecordEvents(request(named))).accepted == 1
    await retire(workflows_stub, workflow)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await workflows_stub.RecordEvents(request(named))
    assert violations_of(caught.value) == [("events[0].workflow_id", "WORKFLOW_RETIRED")]
    await workflows_stub.ResumeWorkflow(pb.ResumeWorkflowRequest(id=workflow))
    assert (await workflows_stub.RecordEvents(request(named))).duplicates == 1


async def test_a_paused_workflow_still_reports(workflows_stub: WorkflowServiceStub) -> None:
    workflow = await create(workflows_stub, "w")
    await workflows_stub.PauseWorkflow(pb.PauseWorkflowRequest(id=workflow))
    assert (await workflows_stub.RecordEvents(request(event(workflow)))).accepted == 1


async def test_a_token_that_is_bound_to_agents_speaks_for_no_workflow(
    workflows_stub: WorkflowServiceStub,
) -> None:
    workflow = await create(workflows_stub, "w")
    bound = (("authorization", f"Bearer {token_for('adapter', agents=('mcp/search',))}"),)
    free = (("authorization", f"Bearer {token_for('adapter')}"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await workflows_stub.RecordEvents(request(event(workflow)), metadata=bound)
    refused = (grpc.StatusCode.PERMISSION_DENIED, "AGENT_NOT_ALLOWED")
    assert reason_of(caught.value) == refused
    batch = pb.StreamEventsRequest(events=[event(workflow)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in workflows_stub.StreamEvents(iter([batch]), metadata=bound):
            pass
    assert reason_of(caught.value) == refused
    stored = await workflows_stub.RecordEvents(request(event(workflow)), metadata=free)
    assert stored.accepted == 1


async def stream(
    stub: WorkflowServiceStub, batches: Iterable[pb.StreamEventsRequest]
) -> list[pb.StreamEventsResponse]:
    return [receipt async for receipt in stub.StreamEvents(iter(batches))]


async def test_a_stream_answers_each_batch_in_order_and_goes_on_after_refusals(
    workflows_stub: WorkflowServiceStub,
) -> None:
    workflow, retired = [await create(workflows_stub, name) for name in ("w", "r")]
    await retire(workflows_stub, retired)
    batches = [
        pb.StreamEventsRequest(
            batch_id=str(number),
            events=[
                event(workflow, id=f"{number}"),
                event(workflow, id=f"{number}", attempt=-1),
                event(retired),
                event(workflow, id=f"{number}"),
            ],
        )
        for number in range(50)
    ]
    batches.insert(25, pb.StreamEventsRequest(batch_id="empty"))
    batches.insert(26, pb.StreamEventsRequest(batch_id="n" * 201, events=[event(workflow)]))
    receipts = await stream(workflows_stub, batches)
    assert [r.batch_id for r in receipts] == [batch.batch_id[:200] for batch in batches]
    long, empty = receipts.pop(26), receipts.pop(25)
    assert [(r.index, r.field, r.reason) for r in (*empty.refused, *long.refused)] == [
        (0, "events", "REQUIRED"),
        (0, "batch_id", "TOO_LONG"),
    ]
    for receipt in receipts:
        assert (receipt.accepted, receipt.duplicates) == (1, 1)
        assert [(r.index, r.field, r.reason) for r in receipt.refused] == [
            (1, "attempt", "OUT_OF_RANGE"),
            (2, "workflow_id", "WORKFLOW_RETIRED"),
        ]
    assert (await listed(workflows_stub, workflow)).total_size == 50


async def test_a_broken_stream_may_be_sent_again(workflows_stub: WorkflowServiceStub) -> None:
    workflow = await create(workflows_stub, "w")
    batches = [
        pb.StreamEventsRequest(batch_id=str(n), events=[event(workflow, id=str(n))])
        for n in range(20)
    ]
    call = workflows_stub.StreamEvents()
    for batch in batches[:10]:
        await call.write(batch)
    await call.read()
    call.cancel()
    receipts = await stream(workflows_stub, batches)
    assert sum(r.accepted + r.duplicates for r in receipts) == 20
    assert (await listed(workflows_stub, workflow)).total_size == 20


async def test_a_drain_answers_what_was_read_and_says_so(database_url: str) -> None:
    server = running_server(settings_for(database_url))
    addresses = await server.__aenter__()
    async with grpc.aio.insecure_channel(addresses.grpc) as channel:
        await wait_until_ready(channel)
        stub = WorkflowServiceStub(channel)
        workflow = await create(stub, "w")
        call = stub.StreamEvents()
        for number in range(3):
            sent = event(workflow, id=str(number))
            await call.write(pb.StreamEventsRequest(batch_id=str(number), events=[sent]))
        receipts = [await call.read()]
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        receipts += [await call.read() for _ in range(2)]
        assert [(r.batch_id, r.accepted) for r in receipts] == [("0", 1), ("1", 1), ("2", 1)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        await stopping


async def test_a_stream_that_comes_after_the_drain_began_is_told_at_once(
    database_url: str,
) -> None:
    db = Database(database_url, size=2)
    ingest = Ingest(db, EventWriter(), max_records=1_000, max_bytes=1 << 24)
    servicer = EventsServicer(db, ingest, Names(db, resolve_workflows), retention_days=90)
    servicer.drain()

    async def silent() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    context: Any = None  # it must not even write
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(servicer.StreamEvents(silent(), context), 10)
    assert caught.value.reason == "SERVER_DRAINING"


async def test_status_counts_events_beside_telemetry(
    workflows_stub: WorkflowServiceStub, server: Addresses
) -> None:
    workflow = await create(workflows_stub, "w")
    await workflows_stub.RecordEvents(request(event(workflow), event(workflow)))
    with pytest.raises(grpc.aio.AioRpcError):
        await workflows_stub.RecordEvents(request(event(UNKNOWN)))
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        status = await SystemServiceStub(channel).GetStatus(GetStatusRequest())
    ingest = status.ingest
    assert (ingest.accepted, ingest.duplicates, ingest.refused) == (1, 1, 1)
    assert ingest.HasField("last_commit_at")


async def test_events_are_listed_by_time_page_by_page(
    workflows_stub: WorkflowServiceStub,
) -> None:
    workflow = await create(workflows_stub, "w")
    times = [NOW - timedelta(minutes=number) for number in range(25)]
    await workflows_stub.RecordEvents(request(*(event(workflow, at=at) for at in times)))

    async def walk(**query: Any) -> list[datetime]:
        seen, token = [], ""
        while True:
            page = await listed(workflows_stub, workflow, page_size=7, page_token=token, **query)
            seen += [each.event.occurred_at.ToDatetime(tzinfo=UTC) for each in page.events]
            token = page.next_page_token
            if not token:
                assert page.total_size == len(seen)
                return seen

    assert await walk() == sorted(times)
    assert await walk(order_by="occurred_at desc") == sorted(times, reverse=True)
    span = pb.ListEventsRequest()
    span.start_time.FromDatetime(times[10])
    span.end_time.FromDatetime(times[5])
    inside = await walk(start_time=span.start_time, end_time=span.end_time)
    assert inside == sorted(times[6:11])
    page = await listed(workflows_stub, workflow, page_size=7)
    for query, reason in (
        ({"page_token": page.next_page_token, "order_by": "occurred_at desc"}, "MISMATCH"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
        ({"order_by": "observed_at"}, "ORDER_BY_INVALID"),
        ({"page_size": -1}, "FIELD_INVALID"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await listed(workflows_stub, workflow, **query)
        assert reason_of(caught.value)[1].endswith(reason)


async def test_a_page_of_large_events_is_shorter_and_the_next_one_goes_on(
    server: Addresses,
) -> None:
    async with grpc.aio.insecure_channel(server.grpc, options=LARGE_MESSAGES) as channel:
        await check_large_pages(WorkflowServiceStub(channel))


async def check_large_pages(workflows_stub: WorkflowServiceStub) -> None:
    workflow = await create(workflows_stub, "w")
    large = {"text": "x" * 8_000}
    sent = [event(workflow, id=str(n), attributes=large) for n in range(900)]
    for start in (0, 450):
        await workflows_stub.RecordEvents(request(*sent[start : start + 450]))
    page = await listed(workflows_stub, workflow)
    assert 450 < len(page.events) < 900
    assert page.ByteSize() < 6.5 * 2**20
    rest = await listed(workflows_stub, workflow, page_token=page.next_page_token)
    assert len({each.key for each in (*page.events, *rest.events)}) == page.total_size == 900
    assert rest.next_page_token == ""


async def test_events_of_an_unknown_workflow_cannot_be_listed(
    workflows_stub: WorkflowServiceStub,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await listed(workflows_stub, UNKNOWN)
    assert info_of(caught.value).reason == "WORKFLOW_NOT_FOUND"
