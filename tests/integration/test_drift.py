"""Drift: what was observed against what is accepted, over a real channel."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from orca.v1 import agent_pb2, drift_pb2, trust_pb2
from orca.v1 import agent_service_pb2 as agent_requests
from orca.v1 import trust_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca_server.app import Addresses
from tests.inventory import (
    ABORTED,
    DENIED,
    EXISTS,
    FAILED,
    MISSING,
    UNKNOWN,
    bearer,
    create,
    refused,
    sql,
    wrong_fields,
)
from tests.serving import running_server, settings_for, wait_until_ready

__all__ = ["sql"]  # a fixture


def tool(name: str, description: str = "", **schema: Any) -> agent_pb2.AgentTool:
    made = agent_pb2.AgentTool(name=name, description=description)
    if schema:
        json_format.ParseDict(schema, made.input_schema)
    return made


class Observer:
    """Sees one agent again and again, a second later each time."""

    def __init__(self, agents: AgentServiceStub, trust: TrustServiceStub, agent_id: str) -> None:
        self.agents, self.trust, self.agent_id = agents, trust, agent_id
        self.at = datetime.now(UTC) - timedelta(hours=1)

    async def see(
        self, *tools: agent_pb2.AgentTool, looked: bool = True, **seen: Any
    ) -> drift_pb2.ObserveAgentResponse:
        """What was seen, unless `looked` is false the tools too."""
        self.at += timedelta(seconds=1)
        observation = drift_pb2.AgentObservation(**seen)
        observation.observed_at.FromDatetime(self.at)
        if looked:
            observation.tools.tools.extend(tools)
            observation.tools.SetInParent()
        request = drift_pb2.ObserveAgentRequest(id=self.agent_id, observation=observation)
        return await self.agents.ObserveAgent(request)

    async def found(self, filter: str = "") -> list[drift_pb2.DriftDetection]:
        """The drift, by id."""
        page = await self.trust.ListDrift(pb.ListDriftRequest(filter=filter))
        assert page.total_size == len(page.drift)
        return list(page.drift)

    async def fleet(self) -> tuple[float | None, float, float]:
        """Drift rate, baselines and drifted agents, as the next tick has them."""
        trust: trust_pb2.Trust = await self.trust.RefreshTrust(pb.RefreshTrustRequest())
        rate = trust.drift_rate_pct if trust.HasField("drift_rate_pct") else None
        return rate, trust.drift.baselines, trust.drift.drifted


@pytest.fixture
async def observer(agents_stub: AgentServiceStub, trust_stub: TrustServiceStub) -> Observer:
    agent = await create(agents_stub, "clock", endpoint=agent_pb2.AgentEndpoint(command="clockd"))
    return Observer(agents_stub, trust_stub, agent.id)


async def update(observer: Observer, *paths: str, **fields: Any) -> agent_pb2.Agent:
    agent = agent_pb2.Agent(id=observer.agent_id, **fields)
    return await observer.agents.UpdateAgent(
        agent_requests.UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=paths))
    )


def differences(found: drift_pb2.DriftDetection) -> list[dict[str, Any]]:
    return [json_format.MessageToDict(one) for one in found.differences]


async def test_what_is_seen_first_is_accepted_and_nobody_looked_is_unknown(
    observer: Observer,
) -> None:
    assert await observer.fleet() == (None, 0, 0)
    response = await observer.see(tool("now", "Tells the time."), version="1.0")
    assert not response.drift
    assert (response.agent.version, response.agent.tools[0].name) == ("1.0", "now")
    assert await observer.fleet() == (0, 1, 0)
    assert await observer.found() == []


async def test_a_changed_tool_is_drift_field_by_field_until_accepted(
    observer: Observer, sql: Any
) -> None:
    await observer.see(tool("now", "Tells the time.", type="object"), version="1.0")
    seen = tool("now", "Tells the time, and sends it on.", type="object", required=["to"])
    response = await observer.see(seen, tool("wipe"), version="1.0")
    (drift,) = response.drift
    assert (drift.rule, drift.entity, drift.resolved) == ("tools", "mcp/clock", False)
    assert differences(drift) == [
        {
            "path": "/tools/now/description",
            "accepted": "Tells the time.",
            "observed": "Tells the time, and sends it on.",
        },
        {"path": "/tools/now/input_schema/required", "observed": ["to"]},
        {"path": "/tools/wipe", "observed": {"description": ""}},
    ]
    assert response.agent.tools[0].description == "Tells the time."  # as it is accepted
    assert await observer.fleet() == (100, 1, 1)
    await observer.see(tool("wipe"), seen, version="1.0")  # another order: the same drift
    (found,) = await observer.found("resolved = false")
    assert (found.id, found.observations) == (drift.id, 2)

    accept = observer.trust.AcceptDrift
    wrong = pb.AcceptDriftRequest(id=drift.id, etag="0" * 16)
    assert await refused(accept(wrong)) == (ABORTED, "ETAG_MISMATCH")
    request = pb.AcceptDriftRequest(id=drift.id, etag=drift.etag, reason="reviewed")
    ended = await accept(request)
    assert (ended.resolved, ended.resolution, ended.resolved_by) == (True, "accepted", "anonymous")
    assert ended.reason == "reviewed"
    assert await refused(accept(request)) == (FAILED, "DRIFT_RESOLVED")
    assert await observer.fleet() == (0, 1, 0)
    get = agent_requests.GetAgentRequest(id=observer.agent_id)
    agent = await observer.agents.GetAgent(get)
    assert sorted(one.name for one in agent.tools) == ["now", "wipe"]
    audit = await sql.fetchrow(
        "SELECT action, reason, details FROM audit_entries ORDER BY id DESC LIMIT 1"
    )
    assert (audit["action"], audit["reason"]) == ("drift.accept", "reviewed")
    assert json.loads(audit["details"])["tools"][0] == ["now"]
    assert not (await observer.see(seen, tool("wipe"), version="1.0")).drift


async def test_drift_that_is_gone_is_resolved_and_comes_back_as_another(
    observer: Observer,
) -> None:
    await observer.see(looked=False, version="1.0")
    await observer.see(looked=False, version="1.1")
    assert not (await observer.see(looked=False, version="1.0")).drift
    await observer.see(looked=False, version="1.2")
    first, second = await observer.found()
    assert (first.resolution, first.resolved_by) == ("gone", "anonymous")
    assert differences(first) == [{"path": "/version", "accepted": "1.0", "observed": "1.1"}]
    assert not second.resolved
    await update(observer, "version", version="1.2")  # an operator says so
    assert [one.resolution for one in await observer.found()] == ["gone", "gone"]
    await update(observer, "version", version="2.0")
    third = (await observer.found("resolved = false"))[0]
    assert differences(third) == [{"path": "/version", "accepted": "2.0", "observed": "1.2"}]
    assert await observer.fleet() == (100, 1, 1)


async def test_a_command_that_was_declared_differs_at_first_sight(observer: Observer) -> None:
    command = drift_pb2.ObservedCommand(command="clockd", args=["--debug"])
    (drift,) = (await observer.see(looked=False, command=command)).drift
    assert drift.rule == "command"
    assert differences(drift) == [
        {"path": "/command/args", "accepted": [], "observed": ["--debug"]}
    ]
    await observer.trust.AcceptDrift(pb.AcceptDriftRequest(id=drift.id))
    get = agent_requests.GetAgentRequest(id=observer.agent_id)
    assert (await observer.agents.GetAgent(get)).endpoint.args == ["--debug"]


async def test_an_old_observation_and_a_retry_change_nothing(observer: Observer) -> None:
    await observer.see(looked=False, version="1.0")
    await observer.see(looked=False, version="1.1")
    for seconds in (1, 2):
        observer.at -= timedelta(seconds=seconds)
        await observer.see(looked=False, version="1.0")
    (drift,) = await observer.found()
    assert (drift.observations, drift.resolved) == (1, False)


async def test_what_an_adapter_updates_is_an_observation(
    observer: Observer, server: Addresses
) -> None:
    await observer.see(tool("now"), version="1.0")
    agent = agent_pb2.Agent(id=observer.agent_id, version="6.6.6", description="A clock.")
    agent.tools.append(tool("exfiltrate"))
    request = agent_requests.UpdateAgentRequest(
        agent=agent, update_mask=FieldMask(paths=["tools", "version", "description"])
    )
    updated = await observer.agents.UpdateAgent(request, metadata=bearer("adapter"))
    assert (updated.version, updated.description) == ("1.0", "A clock.")
    assert [one.name for one in updated.tools] == ["now"]
    assert sorted(one.rule for one in await observer.found()) == ["tools", "version"]
    request.agent.version = "1.0"
    request.update_mask.paths[:] = ["version"]
    await observer.agents.UpdateAgent(request, metadata=bearer("adapter"))
    assert [one.rule for one in await observer.found('resolution = "gone"')] == ["version"]
    (drift, _) = await observer.found()
    call = observer.trust.AcceptDrift(
        pb.AcceptDriftRequest(id=drift.id), metadata=bearer("adapter")
    )
    assert await refused(call) == (DENIED, "SCOPE_MISSING")


async def test_what_cannot_be_observed_is_refused_whole(observer: Observer) -> None:
    at = observer.at
    observer.at -= timedelta(days=2)
    old = await wrong_fields(observer.see(tool(""), tool("a"), tool("a"), version="x" * 101))
    assert old == [
        ("observation.observed_at", "OUT_OF_RANGE"),
        ("observation.tools.tools[0].name", "REQUIRED"),
        ("observation.tools.tools", "DUPLICATE"),
        ("observation.version", "TOO_LONG"),
    ]
    observer.at = at
    assert await wrong_fields(observer.see(looked=False)) == [("observation", "REQUIRED")]
    empty = await wrong_fields(observer.see(looked=False, command=drift_pb2.ObservedCommand()))
    assert empty == [("observation.command.command", "REQUIRED")]
    nothing = drift_pb2.ObserveAgentRequest(id=observer.agent_id)
    assert await wrong_fields(observer.agents.ObserveAgent(nothing)) == [
        ("observation.observed_at", "REQUIRED"),
        ("observation", "REQUIRED"),
    ]
    observer.agent_id = UNKNOWN
    assert await refused(observer.see(tool("a"))) == (MISSING, "AGENT_NOT_FOUND")
    unknown = pb.AcceptDriftRequest(id=UNKNOWN)
    assert await refused(observer.trust.AcceptDrift(unknown)) == (MISSING, "DRIFT_NOT_FOUND")


async def test_a_retired_agent_is_neither_observed_nor_accepted(observer: Observer) -> None:
    await observer.see(looked=False, version="1")
    (drift,) = (await observer.see(looked=False, version="2")).drift
    retire = agent_requests.RetireAgentRequest(id=observer.agent_id)
    await observer.agents.RetireAgent(retire)
    assert await refused(observer.see(looked=False, version="3")) == (EXISTS, "AGENT_RETIRED")
    accept = observer.trust.AcceptDrift(pb.AcceptDriftRequest(id=drift.id))
    assert await refused(accept) == (EXISTS, "AGENT_RETIRED")
    delete = agent_requests.DeleteAgentRequest(id=observer.agent_id)
    assert await refused(observer.agents.DeleteAgent(delete)) == (FAILED, "AGENT_HAS_HISTORY")


async def test_a_catalogue_entry_that_is_observed_is_of_the_fleet(
    observer: Observer, sql: Any
) -> None:
    await sql.execute("UPDATE agents SET state = 'CATALOG'")
    response = await observer.see(tool("now"))
    assert response.agent.state == agent_pb2.Agent.STATE_ACTIVE
    assert await observer.fleet() == (0, 1, 0)


async def test_many_observers_at_once_agree_on_one_row(observer: Observer) -> None:
    await observer.see(looked=False, version="1.0")
    await asyncio.gather(*(observer.see(looked=False, version="1.1") for _ in range(20)))
    (drift,) = await observer.found()
    assert 1 <= drift.observations <= 20
    accepting = [observer.trust.AcceptDrift(pb.AcceptDriftRequest(id=drift.id)) for _ in range(10)]
    outcomes = await asyncio.gather(*accepting, return_exceptions=True)
    errors = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert len(errors) == 9
    assert await observer.fleet() == (0, 1, 0)


async def test_a_drift_of_many_tools_is_counted_whole_and_shown_in_part(
    observer: Observer,
) -> None:
    await observer.see(*(tool(f"tool-{number:03}") for number in range(150)))
    (drift,) = (await observer.see()).drift
    assert (len(drift.differences), drift.difference_count) == (100, 150)


async def test_the_registry_file_owns_its_commands(database_url: str, tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    registry.write_text('version: "1.0.0"\nservers:\n  one:\n    command: one\n')
    settings = settings_for(database_url, mcp_registry_path=registry)
    async with (
        running_server(settings) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        agents, trust = AgentServiceStub(channel), TrustServiceStub(channel)
        await agents.SyncRegistry(agent_requests.SyncRegistryRequest())
        (agent,) = (await agents.ListAgents(agent_requests.ListAgentsRequest())).agents
        observer = Observer(agents, trust, agent.id)
        command = drift_pb2.ObservedCommand(command="two")
        (drift,) = (await observer.see(looked=False, command=command)).drift
        accept = trust.AcceptDrift(pb.AcceptDriftRequest(id=drift.id))
        assert await refused(accept) == (FAILED, "AGENT_OWNED_BY_FILE")
        registry.write_text('version: "1.0.0"\nservers:\n  one:\n    command: two\n')
        await agents.SyncRegistry(agent_requests.SyncRegistryRequest())
        (drift,) = await observer.found()
        assert drift.resolution == "gone"
