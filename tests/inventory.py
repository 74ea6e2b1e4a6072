"""What tests of the inventory have in common."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.services.authentication import sign
from tests.serving import SECRET, reason_of, violations_of

UNKNOWN = "0b1fc1b4-5a0e-4f3c-8d57-6f0f7f2c9e11"
"""The id of nobody."""
FAILED = grpc.StatusCode.FAILED_PRECONDITION
EXISTS = grpc.StatusCode.ALREADY_EXISTS
INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
ABORTED = grpc.StatusCode.ABORTED
DENIED = grpc.StatusCode.PERMISSION_DENIED
Agent = agent_pb2.Agent
FULL: dict[str, Any] = {
    "display_name": "GitHub",
    "description": "Issues and\ncode.",
    "owner": "platform",
    "version": "1.2.3",
    "capabilities": ["issues", "code"],
    "labels": {"team": "a", "tier": "1"},
    "criticality": Agent.CRITICALITY_CRITICAL,
    "heartbeat_interval_seconds": 60,
    "latency_limit_ms": 12.3456,
}


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[Any]:
    """A connection of the test's own to the server's database."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def create(stub: AgentServiceStub, name: str, **fields: Any) -> agent_pb2.Agent:
    """Creates an agent."""
    agent = agent_pb2.Agent(**{"type": "mcp", "name": name, **fields})
    return await stub.CreateAgent(pb.CreateAgentRequest(agent=agent))


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Status and reason of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def wrong_fields(call: Any) -> list[tuple[str, str]]:
    """Field violations of a call that must fail with FIELD_INVALID."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert reason_of(caught.value) == (INVALID, "FIELD_INVALID")
    return violations_of(caught.value)


async def audits(sql: Any) -> list[tuple[str, str, str, str]]:
    """Actor, action, name of the agent and reason, oldest first."""
    rows = await sql.fetch(
        "SELECT actor, action, coalesce(agents.name, '') AS name, reason FROM audit_entries"
        " LEFT JOIN agents ON agents.id = entity_id ORDER BY audit_entries.id"
    )
    return [tuple(row) for row in rows]


def bearer(role: str, **claims: Any) -> tuple[tuple[str, str], ...]:
    """Metadata with a token of a role."""
    now = int(datetime.now(UTC).timestamp())
    token = sign(
        SECRET,
        {
            "sub": f"the-{role}",
            "role": role,
            "iat": now,
            "exp": now + 600,
            "jti": str(uuid4()),
            "tenant": str(DEFAULT_TENANT),
            **claims,
        },
    )
    return (("authorization", f"Bearer {token}"),)


def full(name: str = "full") -> Agent:
    """An agent of type mcp that says all that can be said."""
    agent = Agent(type="mcp", name=name, **FULL)
    agent.endpoint.command = "npx"
    agent.endpoint.args.extend(["-y", "server"])
    agent.endpoint.env["TOKEN"] = "${TOKEN}"
    tool = agent.tools.add(name="search", description="Finds things.")
    tool.input_schema.update({"type": "object", "properties": {"q": {"type": "string"}}})
    agent.tools.add(name="ping")
    return agent


def update(agent: Agent, *paths: str, **fields: Any) -> pb.UpdateAgentRequest:
    """A request to change these paths of it; without any, what is populated."""
    mask = FieldMask(paths=paths) if paths else None
    return pb.UpdateAgentRequest(agent=agent, update_mask=mask, **fields)
