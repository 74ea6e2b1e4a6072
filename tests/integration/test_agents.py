"""Agents over a real channel: created, read, changed, moved between states, deleted."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from orca.v1 import agent_pb2, telemetry_pb2, trust_pb2, trust_service_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca_server.store.queries import QUERIES
from tests.inventory import (
    ABORTED,
    DENIED,
    EXISTS,
    FAILED,
    INVALID,
    MISSING,
    UNKNOWN,
    audits,
    bearer,
    create,
    refused,
    sql,
    wrong_fields,
)
from tests.serving import info_of

__all__ = ["sql"]

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


def full(name: str = "full") -> Agent:
    agent = Agent(type="mcp", name=name, **FULL)
    agent.endpoint.command = "npx"
    agent.endpoint.args.extend(["-y", "server"])
    agent.endpoint.env["TOKEN"] = "${TOKEN}"
    tool = agent.tools.add(name="search", description="Finds things.")
    tool.input_schema.update({"type": "object", "properties": {"q": {"type": "string"}}})
    agent.tools.add(name="ping")
    return agent


def update(agent: Agent, *paths: str, **fields: Any) -> pb.UpdateAgentRequest:
    mask = FieldMask(paths=paths) if paths else None
    return pb.UpdateAgentRequest(agent=agent, update_mask=mask, **fields)


async def report(stub: AgentServiceStub, agent_id: str) -> None:
    record = telemetry_pb2.TelemetryRecord(agent_id=agent_id, operations=1)
    record.observed_at.GetCurrentTime()
    await stub.RecordTelemetry(pb.RecordTelemetryRequest(records=[record]))


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
