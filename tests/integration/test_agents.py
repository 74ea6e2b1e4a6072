"""Agents over a real channel: created and read."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from orca.v1 import agent_pb2, trust_pb2, trust_service_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from tests.inventory import (
    EXISTS,
    MISSING,
    UNKNOWN,
    audits,
    create,
    full,
    refused,
    sql,
    update,
    wrong_fields,
)
from tests.serving import info_of

__all__ = ["sql"]
Agent = agent_pb2.Agent


async def test_an_agent_is_kept_as_it_was_given(agents_stub: AgentServiceStub) -> None:
    given = full()
    made = await agents_stub.CreateAgent(pb.CreateAgentRequest(agent=given))
    assert UUID(made.id).version == 7
    assert (made.state, made.source) == (Agent.STATE_ACTIVE, "api")
    assert made.trust_state == trust_pb2.TRUST_STATE_UNMEASURED
    assert not made.HasField("trust_level")
    assert made.latency_limit_ms == 12.346  # whole microseconds
    assert made.created_at == made.updated_at
    for field in ("display_name", "description", "owner", "version", "endpoint", "criticality"):
        assert getattr(made, field) == getattr(given, field), field
    assert made.capabilities == given.capabilities
    assert made.labels == given.labels
    assert made.tools == given.tools
    assert await agents_stub.GetAgent(pb.GetAgentRequest(id=made.id)) == made


async def test_a_bare_agent_has_defaults(agents_stub: AgentServiceStub) -> None:
    made = await create(agents_stub, "bare", id=UNKNOWN, state=Agent.STATE_RETIRED, source="file")
    assert made.id != UNKNOWN
    assert (made.state, made.source) == (Agent.STATE_ACTIVE, "api")
    assert made.criticality == Agent.CRITICALITY_NORMAL
    assert not made.HasField("heartbeat_interval_seconds")
    assert not made.HasField("latency_limit_ms")
    assert not made.HasField("endpoint")


async def test_a_new_agent_is_marked_for_the_tick_and_audited(
    agents_stub: AgentServiceStub, trust_stub: TrustServiceStub, sql: Any
) -> None:
    request = pb.CreateAgentRequest(agent=Agent(type="mcp", name="a"), reason="because")
    made = await agents_stub.CreateAgent(request)
    assert await audits(sql) == [("anonymous", "agents.create", "a", "because")]
    await trust_stub.RefreshTrust(trust_service_pb2.RefreshTrustRequest())
    got = await agents_stub.GetAgent(pb.GetAgentRequest(id=made.id))
    assert got.HasField("trust_as_of")


async def test_all_wrong_fields_of_a_new_agent_are_named(agents_stub: AgentServiceStub) -> None:
    agent = Agent(
        type="M C P",
        name="a b",
        owner="x" * 201,
        criticality=77,
        latency_limit_ms=float("nan"),
        heartbeat_interval_seconds=1,
    )
    agent.tools.add().input_schema.update({"x": float("inf")})
    agent.endpoint.env["API_KEY"] = "sk-123"
    request = pb.CreateAgentRequest(agent=agent, request_id="x", reason="r" * 501)
    assert sorted(await wrong_fields(agents_stub.CreateAgent(request))) == [
        ("agent.criticality", "INVALID_VALUE"),
        ("agent.endpoint.env.API_KEY", "SECRET_IN_PLAIN_TEXT"),
        ("agent.heartbeat_interval_seconds", "OUT_OF_RANGE"),
        ("agent.latency_limit_ms", "OUT_OF_RANGE"),
        ("agent.name", "INVALID_FORMAT"),
        ("agent.owner", "TOO_LONG"),
        ("agent.tools[0].input_schema", "INVALID_FORMAT"),
        ("agent.tools[0].name", "REQUIRED"),
        ("agent.type", "INVALID_FORMAT"),
        ("reason", "TOO_LONG"),
        ("request_id", "INVALID_FORMAT"),
    ]


async def test_a_taken_name_is_refused_and_a_retired_one_named(
    agents_stub: AgentServiceStub,
) -> None:
    made = await create(agents_stub, "a")
    assert await refused(create(agents_stub, "a")) == (EXISTS, "AGENT_EXISTS")
    await create(agents_stub, "a", type="bot")
    await agents_stub.RetireAgent(pb.RetireAgentRequest(id=made.id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(agents_stub, "a")
    assert (caught.value.code(), info_of(caught.value).reason) == (EXISTS, "AGENT_RETIRED")
    assert info_of(caught.value).metadata["agent_id"] == made.id


async def test_a_retried_creation_finds_the_first_one(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    request_id = str(uuid4())
    request = pb.CreateAgentRequest(agent=Agent(type="mcp", name="a"), request_id=request_id)
    answers = await asyncio.gather(*(agents_stub.CreateAgent(request) for _ in range(8)))
    assert len({answer.id for answer in answers}) == 1
    assert len(await audits(sql)) == 1
    other = pb.CreateAgentRequest(agent=Agent(type="mcp", name="b"), request_id=request_id)
    assert await refused(agents_stub.CreateAgent(other)) == (EXISTS, "REQUEST_ID_REUSED")


async def test_one_of_many_simultaneous_creations_wins(agents_stub: AgentServiceStub) -> None:
    results = await asyncio.gather(
        *(create(agents_stub, "a") for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, Agent) for result in results) == 1


@pytest.mark.parametrize("given", ["", "x", "x" * 36, UNKNOWN.replace("-", "")])
async def test_ids_that_are_none(agents_stub: AgentServiceStub, given: str) -> None:
    reason = "INVALID_FORMAT" if given else "REQUIRED"
    for call, request in (
        (agents_stub.GetAgent, pb.GetAgentRequest),
        (agents_stub.DeleteAgent, pb.DeleteAgentRequest),
        (agents_stub.SuspendAgent, pb.SuspendAgentRequest),
        (agents_stub.ResumeAgent, pb.ResumeAgentRequest),
        (agents_stub.RetireAgent, pb.RetireAgentRequest),
        (agents_stub.EnrolAgent, pb.EnrolAgentRequest),
    ):
        assert await wrong_fields(call(request(id=given))) == [("id", reason)]


async def test_agents_that_are_not_there(agents_stub: AgentServiceStub) -> None:
    for call in (
        agents_stub.GetAgent(pb.GetAgentRequest(id=UNKNOWN)),
        agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=UNKNOWN)),
        agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=UNKNOWN)),
        agents_stub.UpdateAgent(update(Agent(id=UNKNOWN, owner="x"))),
        agents_stub.UpdateAgent(update(Agent(type="mcp", name="nobody", owner="x"))),
        agents_stub.UpdateAgent(update(Agent(id=UNKNOWN, owner="x"), allow_missing=True)),
        agents_stub.BatchGetAgents(pb.BatchGetAgentsRequest(ids=[UNKNOWN])),
    ):
        assert await refused(call) == (MISSING, "AGENT_NOT_FOUND")


async def test_a_batch_comes_in_the_order_of_its_ids(agents_stub: AgentServiceStub) -> None:
    ids = [(await create(agents_stub, name)).id for name in "abc"]
    wanted = [ids[2], ids[0], ids[2]]
    answer = await agents_stub.BatchGetAgents(pb.BatchGetAgentsRequest(ids=wanted))
    assert [agent.id for agent in answer.agents] == wanted
    many = pb.BatchGetAgentsRequest(ids=[UNKNOWN] * 1001)
    assert await wrong_fields(agents_stub.BatchGetAgents(many)) == [("ids", "TOO_MANY")]
    none = pb.BatchGetAgentsRequest()
    assert await wrong_fields(agents_stub.BatchGetAgents(none)) == [("ids", "REQUIRED")]
    bad = pb.BatchGetAgentsRequest(ids=[ids[0], "x"])
    assert await wrong_fields(agents_stub.BatchGetAgents(bad)) == [("ids[1]", "INVALID_FORMAT")]
