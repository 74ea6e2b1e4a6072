"""Agents over a real channel: moved between states and deleted."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc

from orca.v1 import agent_pb2, telemetry_pb2, trust_service_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca_server.store.queries import QUERIES
from tests.inventory import (
    FAILED,
    MISSING,
    audits,
    create,
    refused,
    sql,
)

__all__ = ["sql"]
Agent = agent_pb2.Agent


async def report(stub: AgentServiceStub, agent_id: str) -> None:
    record = telemetry_pb2.TelemetryRecord(agent_id=agent_id, operations=1)
    record.observed_at.GetCurrentTime()
    await stub.RecordTelemetry(pb.RecordTelemetryRequest(records=[record]))


async def test_states_and_the_times_of_leaving(agents_stub: AgentServiceStub, sql: Any) -> None:
    made = await create(agents_stub, "a")

    async def times() -> tuple[bool, timedelta | None]:
        row = await sql.fetchrow("SELECT left_at, counted_until FROM agents")
        gone = row["left_at"] is not None
        return gone, row["counted_until"] - row["left_at"] if gone else None

    suspended = await agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=made.id, reason="ill"))
    assert suspended.state == Agent.STATE_SUSPENDED
    assert await times() == (True, timedelta(days=7))
    again = await agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=made.id))
    assert again == suspended
    resumed = await agents_stub.ResumeAgent(pb.ResumeAgentRequest(id=made.id))
    assert resumed.state == Agent.STATE_ACTIVE
    assert await times() == (False, None)
    retired = await agents_stub.RetireAgent(pb.RetireAgentRequest(id=made.id))
    assert retired.state == Agent.STATE_RETIRED
    call = agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=made.id))
    assert await refused(call) == (FAILED, "AGENT_RETIRED")
    call = agents_stub.EnrolAgent(pb.EnrolAgentRequest(id=made.id))
    assert await refused(call) == (FAILED, "AGENT_NOT_IN_CATALOG")
    back = await agents_stub.ResumeAgent(pb.ResumeAgentRequest(id=made.id))
    assert (await agents_stub.EnrolAgent(pb.EnrolAgentRequest(id=made.id))) == back
    assert [entry[1] for entry in await audits(sql)] == [
        *("agents.create", "agents.suspend", "agents.resume", "agents.retire", "agents.resume"),
    ]


async def test_an_agent_that_never_reported_is_deleted(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a")
    await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    await agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id, reason="wrong one"))
    call = agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id))
    assert await refused(call) == (MISSING, "AGENT_NOT_FOUND")
    assert (await audits(sql))[-1] == ("anonymous", "agents.delete", "", "wrong one")
    trust = await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    assert trust.coverage.agents == 0
    assert (await create(agents_stub, "a")).id != made.id


async def test_an_agent_that_reported_stays(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a")
    await report(agents_stub, made.id)
    request = pb.DeleteAgentRequest(id=made.id)
    assert await refused(agents_stub.DeleteAgent(request)) == (FAILED, "AGENT_HAS_HISTORY")
    # Also once its telemetry is gone: the hours that trust is made of remain.
    await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    await sql.execute("DELETE FROM telemetry")
    assert await refused(agents_stub.DeleteAgent(request)) == (FAILED, "AGENT_HAS_HISTORY")


async def test_a_deletion_waits_for_telemetry_that_is_being_stored(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a")
    async with sql.transaction():
        await sql.execute(
            "INSERT INTO telemetry (tenant_id, agent_id, key, observed_at, operations, errors,"
            " violations, counted) SELECT tenant_id, agents.id, agents.id, now(), 1, 0, 0, true"
            " FROM agents"
        )
        deletion = asyncio.create_task(
            _outcome(agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id)))
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not await sql.fetchval(waiting):  # noqa: ASYNC110 - another process waits
            await asyncio.sleep(0.01)
    assert await deletion == (FAILED, "AGENT_HAS_HISTORY")


async def test_a_deletion_gives_up_where_telemetry_never_pauses(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a")
    async with sql.transaction():
        await sql.execute("LOCK TABLE telemetry IN ROW EXCLUSIVE MODE")
        code, reason = await refused(agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id)))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    await agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id))


async def _outcome(call: Any) -> tuple[grpc.StatusCode, str]:
    return await refused(call)


async def test_a_tick_under_way_leaves_nothing_of_a_deleted_agent(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a")
    async with sql.transaction():
        await sql.fetchval(QUERIES["lock_tick"])  # as a tick that has read the agent
        deletion = asyncio.ensure_future(agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id)))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        while not await sql.fetchval(waiting):  # noqa: ASYNC110 - another process waits
            await asyncio.sleep(0.01)
        await sql.execute(
            "INSERT INTO agent_trust (tenant_id, agent_id, state, operations, errors, violations,"
            " blocked_violations, latency_us, latency_operations, cost_nano_usd, input_tokens,"
            " output_tokens, recent_operations, recent_errors, in_fleet, criticality, cause, as_of)"
            " SELECT tenant_id, id, 'unmeasured', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, true,"
            " 'normal', 'operator', now() FROM agents ON CONFLICT DO NOTHING"
        )
    await deletion
    assert await sql.fetchval("SELECT count(*) FROM agent_trust") == 0


async def test_no_record_is_left_without_its_agent_when_deleting_under_load(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    for n in range(10):
        made = await create(agents_stub, f"a{n}")
        await asyncio.gather(
            agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id)),
            report(agents_stub, made.id),
            return_exceptions=True,
        )
    orphans = await sql.fetchval(
        "SELECT count(*) FROM telemetry LEFT JOIN agents ON agents.id = agent_id"
        " WHERE agents.id IS NULL"
    )
    assert orphans == 0
