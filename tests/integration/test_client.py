"""The client against a real server: each of its calls, and a server that dies under a stream."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import orca
from orca.v1.agent_pb2 import Agent, AgentTool
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.telemetry_pb2 import AgentRef, TelemetryRecord
from orca.v1.workflow_pb2 import Workflow, WorkflowEvent
from orca_server.app import Addresses
from tests.servers import free_port
from tests.serving import server_process, wait_until_ready

DATA = Path(__file__).parents[1] / "data" / "registry"
UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
async def client(server: Addresses) -> AsyncIterator[orca.Client]:
    """A client of a real server."""
    async with orca.connect(server.grpc, token="") as opened:
        yield opened


def _record(agent: Agent, number: int = 0, **values: Any) -> TelemetryRecord:
    """A record of its own millisecond, a minute ago."""
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC) - timedelta(minutes=1, milliseconds=number))
    given = {"operations": 1, "id": str(number), **values}
    return TelemetryRecord(agent_id=agent.id, observed_at=at, **given)


async def test_an_agent_lives_its_life(client: orca.Client) -> None:
    created = await client.agents.create(Agent(type="bot", name="life", labels={"team": "x"}))
    assert created.state == Agent.STATE_ACTIVE
    assert await client.agents.get(created.id) == created
    assert list(await client.agents.batch_get([created.id])) == [created]
    described = Agent(id=created.id, description="new", etag=created.etag)
    updated = await client.agents.update(described, update_mask=["description"])
    assert (updated.description, updated.labels) == ("new", {"team": "x"})
    with pytest.raises(orca.Changed) as caught:
        await client.agents.suspend(created.id, etag=created.etag)
    assert caught.value.reason == "ETAG_MISMATCH"
    suspended = await client.agents.suspend(created.id, reason="a test")
    assert suspended.state == Agent.STATE_SUSPENDED
    assert (await client.agents.resume(created.id)).state == Agent.STATE_ACTIVE
    assert (await client.agents.retire(created.id)).state == Agent.STATE_RETIRED
    await client.agents.delete(created.id)
    with pytest.raises(orca.NotFound) as missing:
        await client.agents.get(created.id)
    assert missing.value.reason == "AGENT_NOT_FOUND"


async def test_an_agent_is_created_where_it_is_missing(client: orca.Client) -> None:
    tools = [AgentTool(name="ask")]
    agent = Agent(type="mcp", name="upsert", tools=tools)
    with pytest.raises(orca.NotFound):
        await client.agents.update(agent)
    first = await client.agents.update(agent, allow_missing=True)
    second = await client.agents.update(agent, allow_missing=True)
    assert first == second
    assert [tool.name for tool in second.tools] == ["ask"]


async def test_pages_are_one_list(client: orca.Client) -> None:
    for number in range(7):
        await client.agents.create(Agent(type="mcp", name=f"n{number}"))
    pages = client.agents.list(order_by="name desc", page_size=3)
    assert [agent.name async for agent in pages] == [f"n{number}" for number in range(6, -1, -1)]
    assert [len(page.agents) async for page in pages.pages()] == [3, 3, 1]
    assert await pages.count() == 7


@pytest.mark.parametrize("name", ["plain", "io.github.x/y", "a*b", 'q"uo\\te', "%_", "é"])
async def test_any_name_is_found_as_it_is_written(client: orca.Client, name: str) -> None:
    wanted = await client.agents.create(Agent(type="mcp", name=name))
    await client.agents.create(Agent(type="mcp", name="aXb"))
    assert (await client.agents.find(name)).id == wanted.id
    assert (await client.agents.find(f"mcp/{name}")).id == wanted.id
    assert (await client.agents.find(wanted.id)).id == wanted.id


async def test_a_name_of_two_types_is_ambiguous(client: orca.Client) -> None:
    for kind in ("mcp", "bot"):
        await client.agents.create(Agent(type=kind, name="twin"))
    with pytest.raises(orca.InvalidRequest) as caught:
        await client.agents.find("twin")
    assert caught.value.reason == "AGENT_AMBIGUOUS"
    assert "bot/twin" in caught.value.metadata["candidates"]
    assert (await client.agents.find("bot/twin")).type == "bot"


async def test_a_wrong_request_names_its_fields(client: orca.Client) -> None:
    with pytest.raises(orca.InvalidRequest) as caught:
        await client.agents.create(Agent(type="No Kebab", name=""))
    assert caught.value.reason == "FIELD_INVALID"
    fields = {violation.field for violation in caught.value.violations}
    assert {"agent.type", "agent.name"} <= fields
    assert all(violation.reason for violation in caught.value.violations)
    assert caught.value.request_id


async def test_telemetry_is_recorded_once(client: orca.Client) -> None:
    agent = await client.agents.create(Agent(type="mcp", name="reporter"))
    records = [_record(agent, number) for number in range(3)]
    first = await client.telemetry.record(records)
    assert (first.accepted, first.duplicates) == (3, 0)
    again = await client.telemetry.record(records)
    assert (again.accepted, again.duplicates) == (0, 3)
    newest = client.telemetry.list(agent.id, order_by="observed_at desc", page_size=2)
    assert [stored.record.observed_at async for stored in newest] == [
        record.observed_at for record in records
    ]
    later = client.telemetry.list(agent.id, start=datetime.now(UTC))
    assert await later.collect() == []


async def test_a_wrong_record_stores_nothing_and_is_named(client: orca.Client) -> None:
    agent = await client.agents.create(Agent(type="mcp", name="reporter"))
    records = [_record(agent, 0), _record(agent, 1, errors=2)]
    with pytest.raises(orca.InvalidRequest) as caught:
        await client.telemetry.record(records)
    assert caught.value.reason == "TELEMETRY_INVALID"
    (violation,) = caught.value.violations
    assert (violation.field, violation.reason) == ("records[1].errors", "OUT_OF_RANGE")
    assert await client.telemetry.list(agent.id).collect() == []


async def test_a_stream_names_what_it_refuses_and_goes_on(client: orca.Client) -> None:
    agent = await client.agents.create(Agent(type="mcp", name="streamer"))
    unknown = _record(agent, 1)
    unknown.ClearField("agent_id")
    unknown.agent.CopyFrom(AgentRef(type="mcp", name="nobody"))
    batches = [[_record(agent, 0), unknown], [_record(agent, 2)]]
    receipts = [receipt async for receipt in client.telemetry.stream(batches)]
    assert [(each.accepted, each.duplicates) for each in receipts] == [(1, 0), (1, 0)]
    again = [receipt async for receipt in client.telemetry.stream(batches)]
    assert [(each.accepted, each.duplicates) for each in again] == [(0, 1), (0, 1)]
    (refused,) = receipts[0].refused
    assert (refused.index, refused.field, refused.reason) == (1, "agent", "AGENT_NOT_FOUND")


def _event(workflow: Workflow, number: int, **values: Any) -> WorkflowEvent:
    """An event a minute ago, each a millisecond earlier."""
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC) - timedelta(minutes=1, milliseconds=number))
    given = {"run_id": str(number), "kind": "succeeded", **values}
    return WorkflowEvent(workflow_id=workflow.id, occurred_at=at, **given)


async def test_events_are_recorded_streamed_and_listed(client: orca.Client) -> None:
    workflow = await client.workflows.create(Workflow(provider="n8n", name="w"))
    events = [_event(workflow, number) for number in range(40)]
    first = await client.events.record(events[:10])
    assert (first.accepted, first.duplicates) == (10, 0)
    spoilt = [_event(workflow, 50), _event(workflow, 51, kind="exploded")]
    batches = [*orca.batched(events, 15), spoilt]
    receipts = [receipt async for receipt in client.events.stream(batches)]
    assert [(r.accepted, r.duplicates, len(r.refused)) for r in receipts] == [
        *((5, 10, 0), (15, 0, 0), (10, 0, 0)),
        (1, 0, 1),
    ]
    newest = client.events.list(workflow.id, order_by="occurred_at desc", page_size=7)
    assert [each.event.run_id for each in await newest.collect(3)] == ["0", "1", "2"]
    assert await newest.count() == 41
    with pytest.raises(orca.InvalidRequest) as refused:
        await client.events.record(spoilt)
    assert refused.value.reason == "EVENTS_INVALID"
    assert refused.value.violations[0].field == "events[1].kind"


async def test_registries_are_imported_and_enrolled(client: orca.Client) -> None:
    document = (DATA / "page.json").read_bytes()
    dry = await client.registry.import_document(document, validate_only=True)
    assert await client.agents.list(show_catalog=True).count() == 0
    done = await client.registry.import_document(document)
    assert done.created == dry.created > 0
    entry = (await client.agents.list(show_catalog=True).collect(1))[0]
    assert entry.state == Agent.STATE_CATALOG
    assert (await client.agents.enrol(entry.id)).state == Agent.STATE_ACTIVE
    with pytest.raises(orca.InvalidRequest) as caught:
        await client.registry.import_document(b"[")
    assert caught.value.reason == "DOCUMENT_INVALID"
    with pytest.raises(orca.NotAllowedNow) as missing:
        await client.registry.sync()
    assert missing.value.reason == "REGISTRY_FILE_MISSING"


async def test_trust_is_read_explained_and_remembered(client: orca.Client) -> None:
    agent = await client.agents.create(Agent(type="mcp", name="trusted"))
    assert not (await client.trust.refresh()).HasField("trust_score")
    await client.telemetry.record([_record(agent, operations=100, errors=1)])
    fresh = await client.trust.refresh()
    assert fresh.HasField("trust_score")
    shown = await client.trust.get(show_interval=True)
    assert shown.trust_ppb == fresh.trust_ppb
    assert shown.interval.low <= shown.trust_score <= shown.interval.high
    explained = await client.trust.of_agent(agent.id)
    assert sum(part.contribution_ppb for part in explained.contributions) == explained.trust_ppb
    assert await client.trust.history().count() >= 1  # at most a point a minute
    assert await client.trust.history(agent_id=agent.id).count() >= 1
    with pytest.raises(orca.NotFound):
        await client.trust.of_agent(UNKNOWN)


async def test_health_and_status_answer(client: orca.Client) -> None:
    assert (await client.system.health()).status == "SERVING"
    status = await client.system.status()
    assert status.ready
    assert status.anonymous_role == "operator"


async def test_a_wrong_token_is_unauthenticated(server: Addresses) -> None:
    async with orca.connect(server.grpc, token="nonsense") as client:
        with pytest.raises(orca.Unauthenticated) as caught:
            await client.system.status()
        assert caught.value.reason == "TOKEN_INVALID"
        stream = client.telemetry.stream([[TelemetryRecord()]])
        with pytest.raises(orca.Unauthenticated):
            await anext(stream)


def test_the_client_without_async_does_the_same(database_url: str) -> None:
    with server_process(database_url) as process:
        address = process.start().grpc
        asyncio.run(_ready(address))
        with orca.connect_sync(address, token="") as client:
            agent = client.agents.create(Agent(type="mcp", name="plain"))
            batches = [[_record(agent, number)] for number in range(20)]
            receipts = list(client.telemetry.stream(batches))
            assert sum(receipt.accepted for receipt in receipts) == 20
            assert [each.name for each in client.agents.list()] == ["plain"]
            with pytest.raises(orca.NotFound):
                client.agents.get(UNKNOWN)


async def _ready(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        await wait_until_ready(channel)


async def test_a_stream_outlives_servers_that_are_killed(database_url: str) -> None:
    """Every batch has its receipt in order and every record is stored once, over three kills."""
    port, count, kill_after = free_port(), 400, (50, 150, 250)
    with server_process(database_url, ORCA_GRPC_ADDRESS=f"127.0.0.1:{port}") as process:
        address = (await asyncio.to_thread(process.start)).grpc
        await _ready(address)
        async with orca.connect(address, token="") as client:
            agent = await client.agents.create(Agent(type="mcp", name="survivor"))
            batches = [[_record(agent, 10 * b + n) for n in range(5)] for b in range(count)]
            settings = orca.StreamSettings(max_attempts=30, max_backoff_seconds=1)
            received, stored = [], 0
            async for receipt in client.telemetry.stream(batches, settings):
                received.append(receipt.batch_id)
                stored += receipt.accepted + receipt.duplicates
                if len(received) in kill_after:
                    await asyncio.to_thread(process.kill)
                    await asyncio.to_thread(process.start)
            assert received == [str(number) for number in range(count)]
            assert stored == count * 5
            assert await client.telemetry.list(agent.id).count() == count * 5


def test_importing_the_client_starts_nothing_and_needs_no_server() -> None:
    script = (
        "import sys, threading, orca; "
        "assert threading.active_count() == 1; "
        "assert not any(name.startswith('orca_server') for name in sys.modules); "
        "assert all(hasattr(orca, name) for name in orca.__all__)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


async def test_the_stub_and_the_client_agree(client: orca.Client, server: Addresses) -> None:
    created = await client.agents.create(Agent(type="mcp", name="same"))
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        from orca.v1.agent_service_pb2 import GetAgentRequest

        assert await AgentServiceStub(channel).GetAgent(GetAgentRequest(id=created.id)) == created
