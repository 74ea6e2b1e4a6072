"""Servers in the conditions under which they answer with errors, each with its gateway."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from google.protobuf.message import Message

from orca.v1 import agent_pb2, telemetry_pb2, workflow_pb2, workflow_service_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2 import GetHealthRequest
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca.v1.trust_service_pb2 import RefreshTrustRequest
from orca.v1.trust_service_pb2_grpc import TrustServiceStub
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.app import Addresses, serve
from orca_server.settings import Settings
from tests.contract.finding_stages import finding_pages, found_findings
from tests.inventory import bearer
from tests.servers import running_gateway
from tests.serving import settings_for

REGISTRY = 'version: "1.0.0"\nservers:\n  from-file: {command: npx}\n'
CREATE_ID = "8c7b9a6e-9d0a-4f5e-9d4a-3a8f1c2b4d5e"
REVOKED = "11111111-2222-4333-8444-555555555555"
TRIGGERS = """
CREATE FUNCTION misbehave() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.name = 'exploding' THEN RAISE EXCEPTION 'nobody foresaw this'; END IF;
    IF NEW.name = 'vanishing' THEN RETURN NULL; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER misbehave BEFORE INSERT ON agents FOR EACH ROW EXECUTE FUNCTION misbehave();
CREATE TRIGGER misbehave BEFORE INSERT ON workflows FOR EACH ROW EXECUTE FUNCTION misbehave();
"""
"""Agents and workflows that cannot be stored, or that another replica takes away at once."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A server and its gateway."""

    target: str
    rest_port: int
    registry: Path
    stop: Callable[[], None]
    """Begins the drain."""


@dataclass
class Fleet:
    """Agents in each state, workflows and findings, by name, and tokens of pages."""

    ids: dict[str, str] = field(default_factory=dict)
    workflows: dict[str, str] = field(default_factory=dict)
    pages: dict[str, Message] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)


@contextmanager
def server_in_thread(settings: Settings) -> Iterator[tuple[Addresses, Callable[[], None]]]:
    """A server on a loop of its own, so that who waits for it may block; and how to stop it."""
    started: list[Addresses] = []
    ready = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))

        def note(addresses: Addresses) -> None:
            started.append(addresses)
            ready.set()

        await serve(settings, stop, note)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(30)
    loop, stop = loops[0]
    try:
        yield started[0], lambda: loop.call_soon_threadsafe(stop.set)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextmanager
def stage(url: str, folder: Path, **changes: Any) -> Iterator[Stage]:
    """A ready server with a registry file of its own, behind a gateway."""
    registry = folder / "registry.yaml"
    registry.write_text(REGISTRY)
    settings = settings_for(url, mcp_registry_path=registry, drain_seconds=1.0, **changes)
    with server_in_thread(settings) as (addresses, stop):
        wait_until_ready(addresses.grpc)
        with running_gateway(int(addresses.grpc.rpartition(":")[2])) as gateway:
            yield Stage(addresses.grpc, gateway.settings.rest_port, registry, stop)


def wait_until_ready(target: str) -> None:
    """Returns once the server can do its work; the test's limit ends it."""
    with grpc.insecure_channel(target) as channel:
        health = SystemServiceStub(channel)
        while not is_ready(health):
            threading.Event().wait(0.02)


def is_ready(health: Any) -> bool:
    """Whether the server says so."""
    try:
        health.GetHealth(GetHealthRequest(), wait_for_ready=True)
    except grpc.RpcError:
        return False
    return True


def found(target: str) -> Fleet:
    """Makes the fleet."""
    fleet = Fleet()
    with grpc.insecure_channel(target) as channel:
        stub = AgentServiceStub(channel)
        for name in ("active", "suspended", "retired", "reported", "fresh"):
            agent = agent_pb2.Agent(type="bot", name=name)
            request = pb.CreateAgentRequest(agent=agent)
            request.request_id = CREATE_ID if name == "active" else ""
            fleet.ids[name] = stub.CreateAgent(request).id
        stub.SuspendAgent(pb.SuspendAgentRequest(id=fleet.ids["suspended"]))
        stub.RetireAgent(pb.RetireAgentRequest(id=fleet.ids["retired"]))
        content = pb.ImportAgentsRequest()
        content.content.data = b'[{"name": "catalog", "description": "x", "version": "1"}]'
        stub.ImportAgents(content)
        stub.SyncRegistry(pb.SyncRegistryRequest())
        for agent in stub.ListAgents(pb.ListAgentsRequest(show_catalog=True)).agents:
            fleet.ids.setdefault(agent.name, agent.id)
        stub.RecordTelemetry(pb.RecordTelemetryRequest(records=records(fleet.ids["reported"], 3)))
        _read_pages(stub, fleet)
        _found_workflows(channel, fleet)
        fleet.findings = found_findings(channel, fleet.ids)
        fleet.pages |= finding_pages(channel)
    return fleet


def _read_pages(stub: Any, fleet: Fleet) -> None:
    agents = pb.ListAgentsRequest(page_size=1)
    agents.page_token = stub.ListAgents(agents).next_page_token
    rows = pb.ListTelemetryRequest(agent_id=fleet.ids["reported"], page_size=1)
    rows.page_token = stub.ListTelemetry(rows).next_page_token
    fleet.pages = {"ListAgents": agents, "ListTelemetry": rows}


def _found_workflows(channel: grpc.Channel, fleet: Fleet) -> None:
    stub = WorkflowServiceStub(channel)
    for name in ("active", "paused", "retired", "reported", "fresh"):
        workflow = workflow_pb2.Workflow(provider="n8n", name=name)
        request = workflow_service_pb2.CreateWorkflowRequest(workflow=workflow)
        request.request_id = CREATE_ID if name == "active" else ""
        fleet.workflows[name] = stub.CreateWorkflow(request).id
    stub.PauseWorkflow(workflow_service_pb2.PauseWorkflowRequest(id=fleet.workflows["paused"]))
    stub.RetireWorkflow(workflow_service_pb2.RetireWorkflowRequest(id=fleet.workflows["retired"]))
    reported = fleet.workflows["reported"]
    stub.RecordEvents(workflow_service_pb2.RecordEventsRequest(events=events(reported, 3)))
    rows = workflow_service_pb2.ListEventsRequest(workflow_id=reported, page_size=1)
    rows.page_token = stub.ListEvents(rows).next_page_token
    fleet.pages["ListEvents"] = rows
    TrustServiceStub(channel).RefreshTrust(RefreshTrustRequest())  # derives the runs
    runs = workflow_service_pb2.ListRunsRequest(workflow_id=reported, page_size=1)
    runs.page_token = stub.ListRuns(runs).next_page_token
    listed = workflow_service_pb2.ListWorkflowsRequest(page_size=1)
    listed.page_token = stub.ListWorkflows(listed).next_page_token
    fleet.pages |= {"ListRuns": runs, "ListWorkflows": listed}


def events(workflow_id: str, count: int) -> Sequence[workflow_pb2.WorkflowEvent]:
    """So many good events, of as many runs."""
    made = []
    for number in range(count):
        event = workflow_pb2.WorkflowEvent(
            workflow_id=workflow_id, run_id=f"run-{number}", kind="started", id=str(number)
        )
        event.occurred_at.GetCurrentTime()
        made.append(event)
    return made


def records(agent_id: str, count: int) -> Sequence[telemetry_pb2.TelemetryRecord]:
    """So many good records."""
    made = []
    for number in range(count):
        record = telemetry_pb2.TelemetryRecord(agent_id=agent_id, operations=1, id=str(number))
        record.observed_at.GetCurrentTime()
        made.append(record)
    return made


async def prepare(url: str) -> None:
    """Revokes a token, and makes some agents impossible."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TRIGGERS)
        await connection.execute(
            "INSERT INTO tokens (tenant_id, id, subject, role, expires_at, revoked_at) VALUES"
            " ('00000000-0000-0000-0000-000000000001', $1, 'x', 'operator',"
            " now() + interval '1 hour', now())",
            REVOKED,
        )
    finally:
        await connection.close()


def wait_until_revoked(target: str) -> None:
    """Returns once the server knows of the revoked token; the test's limit ends it."""
    with grpc.insecure_channel(target) as channel:
        stub = AgentServiceStub(channel)
        while True:
            try:
                stub.ListAgents(pb.ListAgentsRequest(), metadata=bearer("operator", jti=REVOKED))
            except grpc.RpcError:
                return
            threading.Event().wait(0.05)


@contextmanager
def holding(url: str, statement: str) -> Iterator[None]:
    """Runs a statement in a transaction that stays open, on a loop of its own."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(url))
    try:
        loop.run_until_complete(connection.execute(f"BEGIN; {statement}"))
        yield
    finally:
        loop.run_until_complete(connection.close())
        loop.close()
