"""Telemetry over a real channel: all or nothing, receipts in order, retries counted once."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from orca.v1 import agent_pb2, telemetry_pb2, trust_pb2, trust_service_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from tests.serving import info_of, reason_of, violations_of

NOW = datetime.now(UTC).replace(microsecond=0)


def record(agent_id: str = "", **values: object) -> telemetry_pb2.TelemetryRecord:
    at = values.pop("at", NOW)
    made = telemetry_pb2.TelemetryRecord(agent_id=agent_id, **{"operations": 1, **values})
    made.observed_at.FromDatetime(at)
    return made


async def create(stub: AgentServiceStub, name: str) -> str:
    agent = agent_pb2.Agent(type="mcp", name=name)
    return (await stub.CreateAgent(pb.CreateAgentRequest(agent=agent))).id


def request(*records: telemetry_pb2.TelemetryRecord) -> pb.RecordTelemetryRequest:
    return pb.RecordTelemetryRequest(records=records)


async def rows(stub: AgentServiceStub, agent_id: str, **query: object) -> pb.ListTelemetryResponse:
    return await stub.ListTelemetry(pb.ListTelemetryRequest(agent_id=agent_id, **query))


async def test_a_record_is_stored_as_it_was_sent(agents_stub: AgentServiceStub) -> None:
    agent = await create(agents_stub, "a")
    sent = record(
        agent,
        operations=5,
        errors=1,
        attempts=7,
        violations=2,
        blocked_violations=3,
        latency_ms=12.345,
        latency_max_ms=99.5,
        cost_usd=0.000000123,
        input_tokens=10,
        output_tokens=20,
    )
    sent.attributes.update({"model": "m", "nested": {"list": [1, 2.5, None, True, "x\0y"]}})
    answer = await agents_stub.RecordTelemetry(request(sent))
    assert (answer.accepted, answer.duplicates) == (1, 0)
    (stored,) = (await rows(agents_stub, agent)).telemetry
    assert stored.counted
    assert stored.record == sent


async def test_a_retry_finds_itself(agents_stub: AgentServiceStub) -> None:
    agent = await create(agents_stub, "a")
    first = request(record(agent, id="1"), record(agent, id="2"), record(agent), record(agent))
    answer = await agents_stub.RecordTelemetry(first)
    assert (answer.accepted, answer.duplicates) == (3, 1)  # the last two are one record
    answer = await agents_stub.RecordTelemetry(first)
    assert (answer.accepted, answer.duplicates) == (0, 4)
    assert (await rows(agents_stub, agent)).total_size == 3


async def test_id_and_name_of_an_agent_give_the_same_record(agents_stub: AgentServiceStub) -> None:
    agent = await create(agents_stub, "a")
    by_name = record(agent=telemetry_pb2.AgentRef(type="mcp", name="a"))
    await agents_stub.RecordTelemetry(request(record(agent)))
    answer = await agents_stub.RecordTelemetry(request(by_name))
    assert (answer.accepted, answer.duplicates) == (0, 1)


WRONG = [
    ("agent_id", "REQUIRED", {"agent_id": ""}),
    ("agent_id", "INVALID_FORMAT", {"agent_id": "x" * 36}),
    ("agent_id", "AGENT_NOT_FOUND", {"agent_id": "00000000-0000-7000-8000-000000000000"}),
    ("agent", "AGENT_NOT_FOUND", {"agent": ("mcp", "nobody"), "agent_id": ""}),
    ("agent", "CONFLICTING", {"agent": ("mcp", "a")}),
    ("observed_at", "REQUIRED", {"at": None}),
    ("observed_at", "OUT_OF_RANGE", {"at": timedelta(minutes=6)}),
    ("observed_at", "OUT_OF_RANGE", {"at": timedelta(days=-91)}),
    ("operations", "OUT_OF_RANGE", {"operations": -1}),
    ("operations", "OUT_OF_RANGE", {"operations": 1_000_000_001}),
    ("errors", "OUT_OF_RANGE", {"errors": 2}),
    ("errors", "OUT_OF_RANGE", {"errors": -1}),
    ("attempts", "OUT_OF_RANGE", {"attempts": 0}),
    ("violations", "OUT_OF_RANGE", {"violations": -1}),
    ("blocked_violations", "OUT_OF_RANGE", {"blocked_violations": -5}),
    ("latency_ms", "OUT_OF_RANGE", {"latency_ms": float("nan")}),
    ("latency_ms", "OUT_OF_RANGE", {"latency_ms": -0.001}),
    ("latency_max_ms", "OUT_OF_RANGE", {"latency_ms": 5.0, "latency_max_ms": 4.0}),
    ("cost_usd", "OUT_OF_RANGE", {"cost_usd": float("inf")}),
    ("input_tokens", "OUT_OF_RANGE", {"input_tokens": -1}),
    ("output_tokens", "OUT_OF_RANGE", {"output_tokens": 1_000_000_001}),
    ("id", "TOO_LONG", {"id": "x" * 201}),
    ("violations", "NOT_ALLOWED", {"operations": 0, "violations": 1}),
    ("latency_ms", "NOT_ALLOWED", {"operations": 0, "latency_ms": 1.0}),
]


@pytest.mark.parametrize(("field", "reason", "change"), WRONG, ids=lambda v: str(v))
async def test_a_wrong_record_keeps_the_whole_request_out(
    agents_stub: AgentServiceStub, field: str, reason: str, change: dict[str, object]
) -> None:
    agent = await create(agents_stub, "a")
    values = {"agent_id": agent, **change}
    if "agent" in values:
        kind, name = values["agent"]
        values["agent"] = telemetry_pb2.AgentRef(type=kind, name=name)
    without_time = values.pop("at", timedelta()) is None
    wrong = record(**values, at=datetime.now(UTC) + (change.get("at") or timedelta()))
    if without_time:
        wrong.ClearField("observed_at")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.RecordTelemetry(request(record(agent), wrong))
    assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "TELEMETRY_INVALID")
    assert violations_of(caught.value) == [(f"records[1].{field}", reason)]
    assert (await rows(agents_stub, agent)).total_size == 0


async def test_attributes_are_bounded_in_size_depth_and_kind(agents_stub: AgentServiceStub) -> None:
    agent = await create(agents_stub, "a")
    large, deep, endless = record(agent), record(agent), record(agent)
    large.attributes.update({"text": "x" * 9000})
    nested: dict[str, object] = {}
    for _ in range(11):
        nested = {"n": nested}
    deep.attributes.update(nested)
    endless.attributes.update({"n": float("inf")})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.RecordTelemetry(request(large, deep, endless))
    assert violations_of(caught.value) == [
        ("records[0].attributes", "TOO_LONG"),
        ("records[1].attributes", "TOO_DEEP"),
        ("records[2].attributes", "INVALID_FORMAT"),
    ]


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_request_holds_1_to_1000_records(agents_stub: AgentServiceStub, count: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.RecordTelemetry(request(*[record("x")] * count))
    assert reason_of(caught.value)[1] == "FIELD_INVALID"


async def test_a_retired_agent_is_refused_and_a_suspended_one_not_counted(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub
) -> None:
    retired, suspended = await create(agents_stub, "r"), await create(agents_stub, "s")
    await agents_stub.RetireAgent(pb.RetireAgentRequest(id=retired))
    await agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=suspended))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.RecordTelemetry(request(record(suspended), record(retired)))
    assert violations_of(caught.value) == [("records[1].agent_id", "AGENT_RETIRED")]
    assert (await rows(agents_stub, suspended)).total_size == 0
    await agents_stub.RecordTelemetry(request(record(suspended)))
    (stored,) = (await rows(agents_stub, suspended)).telemetry
    assert not stored.counted
    await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    agent = await agents_stub.GetAgent(pb.GetAgentRequest(id=suspended))
    assert agent.trust_state == trust_pb2.TRUST_STATE_UNMEASURED
    assert agent.last_seen_at.ToDatetime(tzinfo=UTC) == NOW


async def stream(
    stub: AgentServiceStub, batches: Iterable[pb.StreamTelemetryRequest]
) -> list[pb.StreamTelemetryResponse]:
    return [receipt async for receipt in stub.StreamTelemetry(iter(batches))]


async def test_a_stream_answers_each_batch_in_order_and_goes_on_after_refusals(
    agents_stub: AgentServiceStub,
) -> None:
    agent, retired = await create(agents_stub, "a"), await create(agents_stub, "r")
    await agents_stub.RetireAgent(pb.RetireAgentRequest(id=retired))
    batches = [
        pb.StreamTelemetryRequest(
            batch_id=str(number),
            records=[
                record(agent, id=f"{number}"),
                record(agent, id=f"{number}", operations=-1),
                record(retired),
                record(agent, id=f"{number}"),
            ],
        )
        for number in range(50)
    ]
    batches.insert(25, pb.StreamTelemetryRequest(batch_id="empty"))
    receipts = await stream(agents_stub, batches)
    assert [receipt.batch_id for receipt in receipts] == [batch.batch_id for batch in batches]
    empty = receipts.pop(25)
    assert [(r.field, r.reason) for r in empty.refused] == [("records", "REQUIRED")]
    for receipt in receipts:
        assert (receipt.accepted, receipt.duplicates) == (1, 1)
        assert [(r.index, r.field, r.reason) for r in receipt.refused] == [
            (1, "operations", "OUT_OF_RANGE"),
            (2, "agent_id", "AGENT_RETIRED"),
        ]
    assert (await rows(agents_stub, agent)).total_size == 50


async def test_a_batch_of_a_wrong_size_or_number_is_refused_as_a_whole(
    agents_stub: AgentServiceStub,
) -> None:
    agent = await create(agents_stub, "a")
    one = record(agent)
    batches = [
        pb.StreamTelemetryRequest(batch_id="many", records=[one] * 1_001),
        pb.StreamTelemetryRequest(batch_id="n" * 200 + "x", records=[one]),
        pb.StreamTelemetryRequest(batch_id="n" * 200, records=[one]),
    ]
    many, long, fine = await stream(agents_stub, batches)
    for receipt, field, reason in (
        (many, "records", "TOO_MANY"),
        (long, "batch_id", "TOO_LONG"),
    ):
        assert (receipt.accepted, receipt.duplicates) == (0, 0)
        assert [(r.index, r.field, r.reason) for r in receipt.refused] == [(0, field, reason)]
    assert (many.batch_id, long.batch_id) == ("many", "n" * 200)
    assert (fine.batch_id, fine.accepted) == ("n" * 200, 1)


async def test_a_broken_stream_may_be_sent_again(agents_stub: AgentServiceStub) -> None:
    agent = await create(agents_stub, "a")
    batches = [
        pb.StreamTelemetryRequest(batch_id=str(n), records=[record(agent, id=str(n))])
        for n in range(20)
    ]
    call = agents_stub.StreamTelemetry()
    for batch in batches[:10]:
        await call.write(batch)
    await call.read()
    call.cancel()
    receipts = await stream(agents_stub, batches)
    assert sum(r.accepted + r.duplicates for r in receipts) == 20
    assert (await rows(agents_stub, agent)).total_size == 20


async def test_callers_that_give_up_do_not_touch_others(agents_stub: AgentServiceStub) -> None:
    agent = await create(agents_stub, "a")

    async def hasty(number: int) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agents_stub.RecordTelemetry(
                request(record(agent, id=f"h{number}")), timeout=0.000_001
            )
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def patient(number: int) -> int:
        return (await agents_stub.RecordTelemetry(request(record(agent, id=f"p{number}")))).accepted

    patients = [asyncio.ensure_future(patient(n)) for n in range(50)]
    await asyncio.gather(*(hasty(n) for n in range(50)))
    assert sum(await asyncio.gather(*patients)) == 50


async def test_records_are_listed_by_time_page_by_page(agents_stub: AgentServiceStub) -> None:
    agent = await create(agents_stub, "a")
    times = [NOW - timedelta(minutes=number) for number in range(25)]
    await agents_stub.RecordTelemetry(request(*(record(agent, at=at) for at in times)))

    async def walk(**query: object) -> list[datetime]:
        seen, token = [], ""
        while True:
            page = await rows(agents_stub, agent, page_size=7, page_token=token, **query)
            seen += [r.record.observed_at.ToDatetime(tzinfo=UTC) for r in page.telemetry]
            token = page.next_page_token
            if not token:
                assert page.total_size == len(seen)
                return seen

    assert await walk() == sorted(times)
    assert await walk(order_by="observed_at desc") == sorted(times, reverse=True)
    span = pb.ListTelemetryRequest()
    span.start_time.FromDatetime(times[10])
    span.end_time.FromDatetime(times[5])
    inside = await walk(start_time=span.start_time, end_time=span.end_time)
    assert inside == sorted(times[6:11])
    page = await rows(agents_stub, agent, page_size=7)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rows(agents_stub, agent, page_token=page.next_page_token, order_by="observed_at desc")
    assert reason_of(caught.value)[1] == "PAGE_TOKEN_MISMATCH"


async def test_a_catalogue_entry_that_reports_becomes_part_of_the_fleet(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub
) -> None:
    document = b'{"name": "io.example/reader", "description": "reads", "version": "1.0.0"}'
    await agents_stub.ImportAgents(
        pb.ImportAgentsRequest(content={"content_type": "application/json", "data": document})
    )
    assert not (await agents_stub.ListAgents(pb.ListAgentsRequest())).agents
    reader = telemetry_pb2.AgentRef(type="mcp", name="io.example/reader")
    await agents_stub.RecordTelemetry(request(record(agent=reader, operations=10)))
    trust = await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    (agent,) = (await agents_stub.ListAgents(pb.ListAgentsRequest())).agents
    assert (agent.name, agent.state) == ("io.example/reader", agent_pb2.Agent.STATE_ACTIVE)
    # (10 + 20 x 0.85) / 30 = 0.9; 0.6 x 0.9 + 0.4 = 0.94; and 0.4 x 0.9 + 0.4 + 0.2 x 0.94.
    assert agent.trust_ppb == 940_000_000
    assert trust.trust_ppb == 948_000_000


async def test_trust_says_what_it_is_made_of(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub
) -> None:
    started = time.time()
    good, bad = await create(agents_stub, "good"), await create(agents_stub, "bad")
    await create(agents_stub, "unmeasured")
    await agents_stub.RecordTelemetry(
        request(
            record(good, operations=1000),
            record(bad, operations=777, errors=333, violations=7, blocked_violations=3),
        )
    )
    trust = await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    assert trust.as_of.ToDatetime(tzinfo=UTC).timestamp() >= started
    parts = trust.components
    present = (parts.agent_uptime, parts.policy_adherence, parts.risk_exposure)
    assert sum(part.contribution_ppb for part in present) == trust.trust_ppb
    assert not parts.sync_freshness.HasField("ppb")
    assert list(trust.coverage.absent_components) == ["sync_freshness"]
    assert (trust.coverage.agents, trust.coverage.agents_with_values) == (3, 2)
    assert [agent.name for agent in trust.worst] == ["bad", "good"]
    for name, agent_id in (("good", good), ("bad", bad)):
        one = await trust_stub.GetAgentTrust(
            trust_service_pb2.GetAgentTrustRequest(agent_id=agent_id)
        )
        assert sum(part.contribution_ppb for part in one.contributions) == one.trust_ppb, name
        assert one.trust_ppb == next(a.trust_ppb for a in trust.worst if a.name == name)
    again = await trust_stub.GetTrust(trust_service_pb2.GetTrustRequest(show_interval=True))
    assert again.trust_ppb == trust.trust_ppb
    assert 0 <= again.interval.low <= again.interval.high <= 1


async def test_history_shows_moves_and_pages(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub
) -> None:
    agent = await create(agents_stub, "a")
    await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    await agents_stub.RecordTelemetry(request(record(agent, operations=1000, errors=900)))
    await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    history = await trust_stub.GetTrustHistory(
        trust_service_pb2.GetTrustHistoryRequest(agent_id=agent)
    )
    assert history.total_size == len(history.points) == 1  # at most one a minute
    assert history.points[0].trust_state == trust_pb2.TRUST_STATE_UNMEASURED
    fleet = await trust_stub.GetTrustHistory(trust_service_pb2.GetTrustHistoryRequest())
    assert len(fleet.points) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trust_stub.GetTrustHistory(
            trust_service_pb2.GetTrustHistoryRequest(
                agent_id="00000000-0000-7000-8000-000000000000"
            )
        )
    assert info_of(caught.value).reason == "AGENT_NOT_FOUND"
