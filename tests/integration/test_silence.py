"""Silence ends with a report, and with nothing that an operator edits."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest

from orca.v1 import agent_pb2, telemetry_pb2, trust_pb2, trust_service_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.telemetry import Row
from orca_server.runtime.ingest import Ingest
from orca_server.runtime.telemetry_writer import TelemetryWriter
from orca_server.store.database import Database
from tests.serving import reason_of

MINUTE = timedelta(minutes=1)
CAP = 500_000_000


async def create(stub: AgentServiceStub, **said: object) -> str:
    agent = agent_pb2.Agent(type="bot", name="a", **said)  # type: ignore[arg-type]
    return (await stub.CreateAgent(pb.CreateAgentRequest(agent=agent))).id


async def report(stub: AgentServiceStub, agent_id: str, at: datetime, errors: int = 0) -> None:
    record = telemetry_pb2.TelemetryRecord(agent_id=agent_id, operations=1000, errors=errors)
    record.observed_at.FromDatetime(at)
    await stub.RecordTelemetry(pb.RecordTelemetryRequest(records=[record]))


async def edit(stub: AgentServiceStub, agent_id: str, path: str, **said: object) -> None:
    request = pb.UpdateAgentRequest(agent=agent_pb2.Agent(id=agent_id, **said))  # type: ignore[arg-type]
    request.update_mask.paths.append(path)
    await stub.UpdateAgent(request)


async def trust_of(
    agents: AgentServiceStub, trust: TrustServiceStub, agent_id: str
) -> agent_pb2.Agent:
    await trust.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    return await agents.GetAgent(pb.GetAgentRequest(id=agent_id))


@pytest.mark.parametrize("promise", [None, 2_592_000, 30], ids=["none", "longer", "shorter"])
async def test_changing_a_broken_promise_does_not_end_silence(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub, promise: int | None
) -> None:
    agent_id = await create(agents_stub, heartbeat_interval_seconds=60)
    await report(agents_stub, agent_id, datetime.now(UTC) - 10 * MINUTE)
    if promise != 30:  # also when no tick has seen the silence yet
        await edit(
            agents_stub,
            agent_id,
            "heartbeat_interval_seconds",
            **({} if promise is None else {"heartbeat_interval_seconds": promise}),
        )
    agent = await trust_of(agents_stub, trust_stub, agent_id)
    assert (agent.trust_state, agent.trust_ppb) == (trust_pb2.TRUST_STATE_SILENT, CAP)
    await edit(agents_stub, agent_id, "heartbeat_interval_seconds")
    agent = await trust_of(agents_stub, trust_stub, agent_id)
    assert (agent.trust_state, agent.trust_ppb) == (trust_pb2.TRUST_STATE_SILENT, CAP)
    await report(agents_stub, agent_id, datetime.now(UTC))
    agent = await trust_of(agents_stub, trust_stub, agent_id)
    assert agent.trust_state == trust_pb2.TRUST_STATE_MEASURED
    assert agent.trust_ppb > CAP


async def test_a_kept_promise_may_be_changed(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub
) -> None:
    agent_id = await create(agents_stub, heartbeat_interval_seconds=3600)
    await report(agents_stub, agent_id, datetime.now(UTC) - 10 * MINUTE)
    await edit(agents_stub, agent_id, "heartbeat_interval_seconds")
    agent = await trust_of(agents_stub, trust_stub, agent_id)
    assert agent.trust_state == trust_pb2.TRUST_STATE_MEASURED


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("criticality", {"criticality": agent_pb2.Agent.CRITICALITY_LOW}),
        ("heartbeat_interval_seconds", {"heartbeat_interval_seconds": 90}),
    ],
    ids=["criticality", "heartbeat"],
)
async def test_what_weighs_a_suspended_agent_stays(
    agents_stub: AgentServiceStub,
    trust_stub: TrustServiceStub,
    path: str,
    said: dict[str, object],
) -> None:
    agent_id = await create(agents_stub, criticality=agent_pb2.Agent.CRITICALITY_CRITICAL)
    await report(agents_stub, agent_id, datetime.now(UTC), errors=1000)
    await agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=agent_id))
    before = await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edit(agents_stub, agent_id, path, **said)
    assert reason_of(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "AGENT_SUSPENDED")
    after = await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    assert (after.trust_ppb, after.band) == (before.trust_ppb, before.band)
    await edit(agents_stub, agent_id, "description", description="what it says is free")


async def test_the_wait_of_the_oldest_record_counts_from_its_arrival(database_url: str) -> None:
    db = Database(database_url, size=3)
    ingest = Ingest(db, TelemetryWriter(), max_records=1000, max_bytes=10**7)
    assert ingest.oldest_wait_seconds() == 0
    agent_id = uuid4()
    nothing = (None,) * 9
    row: Row = (agent_id, UUID(int=7 << 76 | 2 << 62), 0, 1, 0, 0, *nothing)  # type: ignore[assignment]
    holder = await asyncpg.connect(database_url)
    lock = holder.transaction()
    await lock.start()
    await holder.execute("LOCK TABLE telemetry")
    done = ingest.submit(DEFAULT_TENANT, [row], 100, atomic=True)
    first = ingest.oldest_wait_seconds()
    ingest.stop()
    async with asyncio.TaskGroup() as group:
        group.create_task(ingest.run())
        await asyncio.sleep(0.05)  # taken by a flusher, which waits for the lock
        assert ingest.queued_records == 0
        assert ingest.oldest_wait_seconds() > first
        await lock.rollback()
    assert (await done).unknown == {0}
    assert ingest.oldest_wait_seconds() == 0
    await holder.close()
    await db.close()
