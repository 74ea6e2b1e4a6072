"""100,000 agents and 20,000 workflows: what is read takes no more statements than of a small fleet,
and no large table is read whole where an index can tell.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.message import Message

from orca.v1 import agent_pb2, report_service_pb2, search_pb2, system_service_pb2, trust_service_pb2
from orca.v1 import agent_service_pb2 as agents_pb
from orca.v1 import workflow_service_pb2 as workflows_pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca_server.app.parts import build_context, services
from orca_server.doctor import database as doctor
from orca_server.domain.access import DEFAULT_TENANT, Caller
from orca_server.domain.filtering import parse
from orca_server.runtime import search_index
from orca_server.services.authentication import set_caller
from orca_server.store import search
from orca_server.store.filter_sql import Query
from orca_server.store.listings import AGENTS
from orca_server.store.queries import QUERIES
from tests.inventory import create
from tests.large import AGENT, LARGE, SMALL, WORKFLOW, AskedConnection, AskedDatabase, load
from tests.servers import PostgresServer
from tests.serving import running_server, settings_for, wait_until_ready

LARGE_TABLE_ROWS = 2_000
FRESH_SECONDS = 2.0
ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Fleets:
    """Two databases."""

    small: str
    large: str


@pytest.fixture(scope="module")
def fleets(postgres: PostgresServer, template: str) -> Iterator[Fleets]:
    """A small and a large fleet, for all tests here."""
    with postgres.database(template) as small, postgres.database(template) as large:
        asyncio.run(load(small, SMALL))
        asyncio.run(load(large, LARGE))
        yield Fleets(small, large)


def list_agents(**said: Any) -> tuple[str, Message]:
    return "ListAgents", agents_pb.ListAgentsRequest(page_size=50, **said)


def list_workflows(**said: Any) -> tuple[str, Message]:
    return "ListWorkflows", workflows_pb.ListWorkflowsRequest(page_size=50, **said)


def list_violations(**said: Any) -> tuple[str, Message]:
    return "ListViolations", trust_service_pb2.ListViolationsRequest(page_size=50, **said)


def list_drift(**said: Any) -> tuple[str, Message]:
    return "ListDrift", trust_service_pb2.ListDriftRequest(page_size=50, **said)


READS: dict[str, tuple[str, Message]] = {
    "agents": list_agents(),
    "agents by name": list_agents(order_by="name desc"),
    "agents by time": list_agents(order_by="updated_at"),
    "agents by label": list_agents(filter='labels.region = "eu"'),
    "agents by trust": list_agents(filter="trust_level < 0.75"),
    "agents of an owner": list_agents(filter='owner = "team-7"'),
    "agents of a name": list_agents(filter='type = mcp AND name = "agent-7"'),
    "least trusted agents": list_agents(order_by="trust_level"),
    "catalogue": list_agents(show_catalog=True),
    "catalogue alone": list_agents(show_catalog=True, filter="state = CATALOG"),
    "workflows": list_workflows(),
    "workflows by name": list_workflows(order_by="name"),
    "stale workflows": list_workflows(filter="freshness = STALE"),
    "workflows of an owner": list_workflows(filter='owner = "team-7"'),
    "workflows by success": list_workflows(order_by="last_success_at"),
    "agent": ("BatchGetAgents", agents_pb.BatchGetAgentsRequest(ids=[str(AGENT)])),
    "telemetry": (
        "ListTelemetry",
        agents_pb.ListTelemetryRequest(agent_id=str(AGENT), page_size=50),
    ),
    "events": (
        "ListEvents",
        workflows_pb.ListEventsRequest(workflow_id=str(WORKFLOW), page_size=50),
    ),
    "runs": ("ListRuns", workflows_pb.ListRunsRequest(workflow_id=str(WORKFLOW), page_size=50)),
    "trust": ("GetTrust", trust_service_pb2.GetTrustRequest()),
    "trust of an agent": (
        "GetAgentTrust",
        trust_service_pb2.GetAgentTrustRequest(agent_id=str(AGENT)),
    ),
    "trust history": (
        "GetTrustHistory",
        trust_service_pb2.GetTrustHistoryRequest(page_size=50),
    ),
    "trust history of an agent": (
        "GetTrustHistory",
        trust_service_pb2.GetTrustHistoryRequest(agent_id=str(AGENT), page_size=50),
    ),
    "violations": list_violations(),
    "open violations": list_violations(filter="resolved = false"),
    "violations of an agent": list_violations(filter=f'entity_id = "{AGENT}"'),
    "newest violations": list_violations(order_by="created_at desc"),
    "drift": list_drift(),
    "open drift": list_drift(filter="resolved = false"),
    "drift of an agent": list_drift(filter=f'entity_id = "{AGENT}"'),
    "drift by time": list_drift(order_by="last_seen_at desc"),
    "summary": ("GetExecutiveSummary", report_service_pb2.GetExecutiveSummaryRequest()),
    "export": ("ExportReport", report_service_pb2.ExportReportRequest(format="csv")),
    "healing": ("GetHealing", report_service_pb2.GetHealingRequest()),
}

WHOLE = {
    "count_agents": "a total by a field without an index judges every row; it is kept then",
    "count_workflows": "the same of workflows",
    "count_violations": "a total judges every row of what was ever found",
    "count_drift": "the same of drift",
    "list_owner_costs": "a sum over the fleet",
    "list_agent_costs": "the most expensive of the fleet",
    "list_quiet_agents": "who is silent of the fleet; an index on a state that ticks write would"
    " let no update be a HOT one",
    "list_agent_findings": "what is wrong in the fleet, with how many there are",
    "list_workflow_findings": "the same of workflows",
    "least trusted agents": "the order moves with every tick: an index on it would let no update of"
    " agent_trust be a HOT one",
    "workflows by success": "the order moves with every run: the same of workflow_status",
}
"""Statements, and lists, that read a table whole by their nature, and why."""


class Context:
    """What ExportReport needs of gRPC: headers go nowhere."""

    async def send_initial_metadata(self, metadata: object) -> None:
        pass


async def ask(url: str, method: str, request: Message) -> list[tuple[str, tuple[object, ...]]]:
    """The statements that a method runs, with their parameters."""
    db = AskedDatabase(url)
    context = replace(build_context(settings_for(url)), db=db)
    set_caller(Caller(DEFAULT_TENANT, "tests", "admin"))
    try:
        for _, servicers in services(context):
            for servicer in servicers:
                if hasattr(servicer, method):
                    await getattr(servicer, method)(request, Context())
    finally:
        await db.close()
    assert db.asked
    return db.asked


def name_of(statement: str) -> str:
    """The block of sql/queries that a statement is, or begins with."""
    heads = {name: text.rstrip(";") for name, text in QUERIES.items()}
    return max(
        (name for name, head in heads.items() if statement.startswith(head)),
        key=lambda name: len(heads[name]),
    )


async def scanned(sql: Any, text: str, parameters: tuple[object, ...]) -> set[str]:
    """Large tables that a statement reads whole, by its plan."""
    (line,) = await sql.fetchrow(f"EXPLAIN (FORMAT JSON) {text}", *parameters)
    tables = set(_scanned(json.loads(line)[0]["Plan"]))
    rows = await sql.fetch(
        "SELECT relname FROM pg_class WHERE relname = ANY($1::text[]) AND reltuples > $2",
        list(tables),
        LARGE_TABLE_ROWS,
    )
    return {row["relname"] for row in rows}


def _scanned(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from _scanned(part)


@pytest.mark.parametrize("name", READS)
async def test_a_large_fleet_takes_as_many_statements_and_no_scan(
    fleets: Fleets, name: str
) -> None:
    method, request = READS[name]
    few, many = [await ask(url, method, request) for url in (fleets.small, fleets.large)]
    assert [name_of(text) for text, _ in many] == [name_of(text) for text, _ in few]
    sql = await asyncpg.connect(fleets.large, server_settings={"jit": "off"})
    try:
        for text, parameters in many:
            if tables := await scanned(sql, text, parameters):
                assert name_of(text) in WHOLE or name in WHOLE, (name_of(text), tables)
    finally:
        await sql.close()


async def test_doctor_takes_as_many_statements_and_no_scan(fleets: Fleets) -> None:
    asked: list[list[tuple[str, tuple[object, ...]]]] = []
    for url in (fleets.small, fleets.large):
        connection = await asyncpg.connect(url)
        found = list[tuple[str, tuple[object, ...]]]()
        view = doctor.DatabaseView(url)
        counting: Any = AskedConnection(connection, found)
        await doctor.read(view, counting)
        assert view.problems == {}
        asked.append(found)
        if url == fleets.large:
            for text, parameters in found:
                assert not await scanned(connection, text, parameters), text
        await connection.close()
    few, many = asked
    assert [text for text, _ in many] == [text for text, _ in few]


async def test_a_search_reads_no_large_table_whole(fleets: Fleets) -> None:
    """What it is made of; tests/integration/test_search.py counts how many statements it takes."""
    sql = await asyncpg.connect(fleets.large, server_settings={"jit": "off"})
    vector = await sql.fetchval("SELECT embedding::text FROM agent_embeddings LIMIT 1")
    ids = [row["id"] for row in await sql.fetch("SELECT id FROM agents LIMIT 3000")]
    region = parse('labels.region = "eu"')
    statements = [
        search.match_statement(Query(DEFAULT_TENANT, region), 3_000, ids),
        search.match_statement(Query(DEFAULT_TENANT, parse('owner = "team-7"')), 4_001, None),
    ]  # fmt: skip
    asked = [(one.text, tuple(one.parameters)) for one in statements]
    asked += [
        (search.QUERIES["nearest_agents"], (DEFAULT_TENANT, vector, 100)),
        (search.QUERIES["nearest_among"], (DEFAULT_TENANT, ids, vector, 100)),
        (AGENTS.some, (DEFAULT_TENANT, ids[:100])),
    ]
    try:
        for text, parameters in asked:
            assert not await scanned(sql, text, parameters), text
    finally:
        await sql.close()


async def found_soon(stub: AgentServiceStub, query: str, name: str) -> None:
    """Waits, not for long, until an agent is the first hit by its words."""
    async with asyncio.timeout(FRESH_SECONDS):
        while True:
            answer = await stub.SearchAgents(search_pb2.SearchAgentsRequest(query=query))
            if answer.hits and answer.hits[0].agent.name == name and answer.hits[0].matches:
                return
            await asyncio.sleep(0.02)


async def test_the_server_answers_while_its_index_is_read_and_finds_what_is_new(
    fleets: Fleets,
) -> None:
    search_index.INDEXED.set(0)
    async with (
        running_server(settings_for(fleets.large)) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        system, stub = SystemServiceStub(channel), AgentServiceStub(channel)
        answers = 0
        while search_index.INDEXED._value.get() == 0:
            request = system_service_pb2.GetStatusRequest()
            await system.GetStatus(request, timeout=ANSWER_SECONDS)
            answers += 1
        assert answers > 10
        made = await create(stub, "zymurgist", description="Ferments quinces.")
        await found_soon(stub, "ferment quince", "zymurgist")
        update = agents_pb.UpdateAgentRequest(
            agent=agent_pb2.Agent(id=made.id, description="Distils kumquats.")
        )
        update.update_mask.paths.append("description")
        await stub.UpdateAgent(update)
        await found_soon(stub, "distil kumquat", "zymurgist")
        await stub.DeleteAgent(agents_pb.DeleteAgentRequest(id=made.id))


@pytest.mark.parametrize("read", [READS["agents of an owner"], READS["workflows of an owner"]])
async def test_a_list_by_owner_and_its_total_read_only_the_owners(
    fleets: Fleets, read: tuple[str, Message]
) -> None:
    sql = await asyncpg.connect(fleets.large, server_settings={"jit": "off"})
    try:
        for text, parameters in await ask(fleets.large, *read):
            if "owner" in text.partition("WHERE")[2]:
                (line,) = await sql.fetchrow(f"EXPLAIN (FORMAT JSON) {text}", *parameters)
                assert "_tenant_id_owner_id_idx" in json.dumps(json.loads(line)), line
    finally:
        await sql.close()
