"""Who may say what of agents: adapters, bound adapters, other tenants."""

from typing import Any
from uuid import uuid4

import pytest

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.inventory import (
    DENIED,
    MISSING,
    audits,
    bearer,
    create,
    full,
    refused,
    sql,
    update,
)

__all__ = ["sql"]
Agent = agent_pb2.Agent


async def test_adapters_say_what_agents_say_of_themselves(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a", owner="x")
    said = full("a")
    for field in ("owner", "criticality", "heartbeat_interval_seconds", "latency_limit_ms"):
        said.ClearField(field)
    got = await agents_stub.UpdateAgent(update(said), metadata=bearer("adapter"))
    assert (got.id, got.owner, len(got.tools)) == (made.id, "x", 2)
    assert (await audits(sql))[-1][0] == "the-adapter"


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"owner": "x"}, []),
        ({"criticality": Agent.CRITICALITY_LOW}, []),
        ({"heartbeat_interval_seconds": 60}, []),
        ({"latency_limit_ms": 5.0}, []),
        ({}, ["owner"]),
        ({"version": "1"}, ["*"]),
    ],
)
async def test_adapters_may_not_change_what_weighs_trust(
    agents_stub: AgentServiceStub, fields: dict[str, Any], paths: list[str]
) -> None:
    await create(agents_stub, "a")
    for name in ("a", "missing"):
        request = update(Agent(type="mcp", name=name, **fields), *paths, allow_missing=True)
        call = agents_stub.UpdateAgent(request, metadata=bearer("adapter"))
        assert await refused(call) == (DENIED, "FIELD_NOT_ALLOWED")


async def test_a_mask_does_not_smuggle_fields_into_a_new_agent(
    agents_stub: AgentServiceStub,
) -> None:
    agent = Agent(type="mcp", name="new", version="1", owner="x")
    call = agents_stub.UpdateAgent(
        update(agent, "version", allow_missing=True), metadata=bearer("adapter")
    )
    assert await refused(call) == (DENIED, "FIELD_NOT_ALLOWED")


async def test_a_bound_adapter_speaks_only_for_its_agents(agents_stub: AgentServiceStub) -> None:
    mine, theirs = await create(agents_stub, "mine"), await create(agents_stub, "theirs")
    for binding in (mine.id, "mcp/mine"):
        token = bearer("adapter", agents=[binding])
        got = await agents_stub.UpdateAgent(
            update(Agent(id=mine.id, description=binding)), metadata=token
        )
        assert got.description == binding
        for agent in (
            Agent(id=theirs.id, version="2"),
            Agent(type="mcp", name="theirs", version="2"),
            Agent(type="mcp", name="new", version="2"),
        ):
            call = agents_stub.UpdateAgent(
                update(agent, allow_missing=not agent.id), metadata=token
            )
            assert await refused(call) == (DENIED, "AGENT_NOT_ALLOWED")
    made = await agents_stub.UpdateAgent(
        update(Agent(type="mcp", name="new", version="2"), allow_missing=True),
        metadata=bearer("adapter", agents=["mcp/new"]),
    )
    assert made.state == Agent.STATE_ACTIVE


async def test_one_tenant_does_not_see_or_touch_another(agents_stub: AgentServiceStub) -> None:
    made = await create(agents_stub, "a")
    token = bearer("operator", tenant=str(uuid4()))
    for call in (
        agents_stub.GetAgent(pb.GetAgentRequest(id=made.id), metadata=token),
        agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=made.id), metadata=token),
        agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id), metadata=token),
        agents_stub.UpdateAgent(update(Agent(id=made.id, owner="x")), metadata=token),
        agents_stub.BatchGetAgents(pb.BatchGetAgentsRequest(ids=[made.id]), metadata=token),
    ):
        assert await refused(call) == (MISSING, "AGENT_NOT_FOUND")
    listed = await agents_stub.ListAgents(pb.ListAgentsRequest(), metadata=token)
    assert listed.total_size == 0
    agent = Agent(type="mcp", name="a")
    theirs = await agents_stub.CreateAgent(pb.CreateAgentRequest(agent=agent), metadata=token)
    assert theirs.id != made.id
