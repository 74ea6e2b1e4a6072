"""Agents are changed over a real channel: by mask, as a whole, made where they are missing."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.inventory import (
    ABORTED,
    EXISTS,
    INVALID,
    audits,
    create,
    full,
    refused,
    sql,
    update,
)
from tests.serving import info_of

__all__ = ["sql"]
Agent = agent_pb2.Agent


async def test_only_the_fields_of_the_mask_change(agents_stub: AgentServiceStub) -> None:
    made = await agents_stub.CreateAgent(pb.CreateAgentRequest(agent=full()))
    given = Agent(id=made.id, owner="new", version="9", labels={"team": "b", "new": "x"})
    got = await agents_stub.UpdateAgent(update(given, "owner", "labels.team"))
    assert (got.owner, got.version) == ("new", "1.2.3")
    assert dict(got.labels) == {"team": "b", "tier": "1"}
    assert got.etag != made.etag
    assert got.updated_at.ToDatetime() > made.updated_at.ToDatetime()
    cleared = await agents_stub.UpdateAgent(
        update(Agent(id=made.id), "heartbeat_interval_seconds", "labels.tier", "endpoint")
    )
    assert not cleared.HasField("heartbeat_interval_seconds")
    assert not cleared.HasField("endpoint")
    assert dict(cleared.labels) == {"team": "b"}
    assert cleared.display_name == "GitHub"


async def test_without_a_mask_the_populated_fields_change(agents_stub: AgentServiceStub) -> None:
    made = await agents_stub.CreateAgent(pb.CreateAgentRequest(agent=full()))
    given = Agent(type="mcp", name="full", owner="new", state=Agent.STATE_RETIRED)
    got = await agents_stub.UpdateAgent(update(given))
    assert (got.id, got.owner, got.version) == (made.id, "new", "1.2.3")
    assert got.state == Agent.STATE_ACTIVE


async def test_a_star_replaces_everything(agents_stub: AgentServiceStub) -> None:
    made = await agents_stub.CreateAgent(pb.CreateAgentRequest(agent=full()))
    got = await agents_stub.UpdateAgent(update(Agent(id=made.id, owner="new"), "*"))
    bare = await create(agents_stub, "bare", owner="new")
    for field in ("id", "name", "created_at", "updated_at", "etag"):
        got.ClearField(field)
        bare.ClearField(field)
    assert got == bare


async def test_an_update_that_changes_nothing_writes_nothing(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    made = await agents_stub.CreateAgent(pb.CreateAgentRequest(agent=full()))
    again = full()
    again.id = made.id
    assert await agents_stub.UpdateAgent(update(again)) == made
    assert len(await audits(sql)) == 1


async def test_an_update_is_audited_with_each_field(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a", owner="x")
    changed = Agent(id=made.id, owner="y", labels={"a": "b"})
    await agents_stub.UpdateAgent(update(changed, reason="moved"))
    row = await sql.fetchrow("SELECT * FROM audit_entries ORDER BY id DESC LIMIT 1")
    assert (row["action"], row["reason"], str(row["entity_id"])) == (
        *("agents.update", "moved"),
        made.id,
    )
    assert json.loads(row["details"]) == {"owner": ["x", "y"], "labels": [{}, {"a": "b"}]}


async def marks(sql: Any) -> int:
    found: int = await sql.fetchval("SELECT count(*) FROM trust_inbox WHERE hour IS NULL")
    return found


async def test_only_what_weighs_trust_marks_the_agent(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    made = await create(agents_stub, "a")
    async with sql.transaction():
        # Holds the tick's lock out: what is marked stays to be seen.
        await sql.execute("LOCK TABLE trust_current IN ACCESS EXCLUSIVE MODE")
        before = await marks(sql)
        for fields in ({"owner": "x"}, {"labels": {"a": "b"}}, {"display_name": "x"}):
            await agents_stub.UpdateAgent(update(Agent(id=made.id, **fields)))
        assert await marks(sql) == before
        for fields in (
            {"criticality": Agent.CRITICALITY_LOW},
            {"heartbeat_interval_seconds": 60},
            {"latency_limit_ms": 5.0},
        ):
            await agents_stub.UpdateAgent(update(Agent(id=made.id, **fields)))
        await agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=made.id))
        assert await marks(sql) == before + 4


@pytest.mark.parametrize(
    ("paths", "fields", "reason"),
    [
        (["foo"], {}, "FIELD_INVALID"),
        (["state"], {}, "FIELD_IMMUTABLE"),
        (["trust_level"], {}, "FIELD_IMMUTABLE"),
        ([], {"name": "other"}, "FIELD_IMMUTABLE"),
        (["type"], {"type": "bot"}, "FIELD_IMMUTABLE"),
        (["name"], {}, "FIELD_IMMUTABLE"),
        (["owner"], {"owner": "x" * 201}, "FIELD_INVALID"),
        (["endpoint.url"], {"endpoint": {"url": "http://x/"}}, "FIELD_INVALID"),
    ],
)
async def test_updates_that_are_refused(
    agents_stub: AgentServiceStub, paths: list[str], fields: dict[str, Any], reason: str
) -> None:
    made = await create(agents_stub, "a", endpoint={"command": "x"})
    call = agents_stub.UpdateAgent(update(Agent(id=made.id, **fields), *paths))
    assert await refused(call) == (INVALID, reason)
    assert await agents_stub.GetAgent(pb.GetAgentRequest(id=made.id)) == made


async def test_the_same_identity_in_a_mask_is_no_change(agents_stub: AgentServiceStub) -> None:
    made = await create(agents_stub, "a")
    given = Agent(id=made.id, type="mcp", name="a", owner="x", etag=made.etag)
    got = await agents_stub.UpdateAgent(update(given, "id", "type", "name", "owner", "etag"))
    assert got.owner == "x"


async def test_a_lost_update_is_refused(agents_stub: AgentServiceStub) -> None:
    made = await create(agents_stub, "a")
    await agents_stub.UpdateAgent(update(Agent(id=made.id, owner="x", etag=made.etag)))
    stale = Agent(id=made.id, owner="y", etag=made.etag)
    assert await refused(agents_stub.UpdateAgent(update(stale))) == (ABORTED, "ETAG_MISMATCH")
    for call in (
        agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=made.id, etag=made.etag)),
        agents_stub.RetireAgent(pb.RetireAgentRequest(id=made.id, etag=made.etag)),
        agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id, etag=made.etag)),
    ):
        assert await refused(call) == (ABORTED, "ETAG_MISMATCH")


async def test_a_missing_agent_has_no_etag_and_is_named_as_it_was_asked_for(
    agents_stub: AgentServiceStub,
) -> None:
    given = Agent(type="mcp", name="gone", owner="x", etag="0123456789abcdef")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agents_stub.UpdateAgent(update(given, allow_missing=True))
    assert (caught.value.code(), info_of(caught.value).reason) == (ABORTED, "ETAG_MISMATCH")
    assert "There is no agent 'mcp/gone'" in str(caught.value.details())
    assert dict(info_of(caught.value).metadata) == {"agent": "mcp/gone"}


async def test_a_missing_agent_is_created_when_that_is_allowed(
    agents_stub: AgentServiceStub,
) -> None:
    request = update(full("new"), "owner", allow_missing=True)
    made = await agents_stub.UpdateAgent(request)
    assert (made.display_name, made.source, len(made.tools)) == ("GitHub", "api", 2)
    assert await agents_stub.UpdateAgent(request) == made


async def test_simultaneous_upserts_make_one_agent(agents_stub: AgentServiceStub) -> None:
    requests = [
        update(Agent(type="mcp", name="new", owner=f"o{n}"), allow_missing=True) for n in range(8)
    ]
    made = await asyncio.gather(*map(agents_stub.UpdateAgent, requests))
    assert len({agent.id for agent in made}) == 1


async def test_a_retired_agent_is_not_updated(agents_stub: AgentServiceStub) -> None:
    made = await create(agents_stub, "a")
    await agents_stub.RetireAgent(pb.RetireAgentRequest(id=made.id))
    call = agents_stub.UpdateAgent(update(Agent(id=made.id, owner="x")))
    assert await refused(call) == (EXISTS, "AGENT_RETIRED")
