"""Imports of public registries over a real channel: whole, twice, and never over the fleet."""

import json
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.domain.access import DEFAULT_TENANT, Caller
from orca_server.domain.registry_entries import parse
from orca_server.runtime.registry_sync import RegistrySync
from orca_server.services.authentication import set_caller
from orca_server.services.registry import RegistryServicer
from orca_server.store.database import Database
from tests.inventory import INVALID, audits, create, refused, sql, wrong_fields

__all__ = ["sql"]

DATA = Path(__file__).parents[1] / "data" / "registry"
SHARED = Path(os.environ.get("ORCA_SHARED", Path(__file__).parents[3] / "shared")) / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the whole data sets are not there ({SHARED}); set ORCA_SHARED"
)
Agent = agent_pb2.Agent


def request(document: Any, **fields: Any) -> pb.ImportAgentsRequest:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    content_type = fields.pop("content_type", "")
    return pb.ImportAgentsRequest(content=HttpBody(data=data, content_type=content_type), **fields)


async def take(stub: AgentServiceStub, document: Any, **fields: Any) -> pb.ImportAgentsResponse:
    return await stub.ImportAgents(request(document, **fields))


def counts(answer: pb.ImportAgentsResponse) -> tuple[int, int, int, int]:
    return answer.created, answer.updated, answer.unchanged, len(answer.refused)


async def catalogue(stub: AgentServiceStub) -> dict[str, agent_pb2.Agent]:
    page = await stub.ListAgents(pb.ListAgentsRequest(show_catalog=True))
    return {agent.name: agent for agent in page.agents}


def sample(name: str) -> bytes:
    return (DATA / name).read_bytes()


async def test_samples_of_every_form_twice(agents_stub: AgentServiceStub, sql: Any) -> None:
    documents = [sample(path) for path in sorted(os.listdir(DATA))]
    first = [counts(await take(agents_stub, document)) for document in documents]
    assert [tuple(map(sum, zip(*first, strict=True)))] == [(9, 0, 1, 2)]
    agents, written = await catalogue(agents_stub), len(await audits(sql))
    assert {agent.state for agent in agents.values()} == {Agent.STATE_CATALOG}
    assert {agent.source for agent in agents.values()} == {"import"}
    assert agents["ffmpeg"].tools[1].input_schema["required"] == ["path"]
    second = [counts(await take(agents_stub, document)) for document in documents]
    assert [tuple(map(sum, zip(*second, strict=True)))] == [(0, 0, 10, 2)]
    assert await catalogue(agents_stub) == agents
    assert len(await audits(sql)) == written == 9


@needs_shared
async def test_both_registries_import_whole_and_twice(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    seed = (SHARED / "mcp-registry" / "seed.json").read_bytes()
    answer = await take(agents_stub, seed)
    assert counts(answer) == (232, 0, 0, 4)
    assert {entry.reason for entry in answer.refused} == {"NAME_MISSING"}
    docker = [path.read_bytes() for path in sorted((SHARED / "docker-mcp").glob("*.yaml"))]
    for document in docker:
        assert counts(await take(agents_stub, document)) == (1, 0, 0, 0)
    agents = await catalogue(agents_stub)
    assert len(agents) == 232 + 164
    assert counts(await take(agents_stub, seed)) == (0, 0, 232, 4)
    for document in docker:
        assert counts(await take(agents_stub, document)) == (0, 0, 1, 0)
    assert await catalogue(agents_stub) == agents
    fleet = await agents_stub.ListAgents(pb.ListAgentsRequest())
    assert fleet.total_size == 0


async def test_the_catalogue_is_not_marked_for_trust(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    async with sql.transaction():
        await sql.execute("LOCK TABLE trust_current IN ACCESS EXCLUSIVE MODE")
        await take(agents_stub, sample("server.json"))
        assert await sql.fetchval("SELECT count(*) FROM trust_inbox") == 0


async def test_a_newer_version_replaces_an_older_one_and_not_the_other_way(
    agents_stub: AgentServiceStub,
) -> None:
    old = {"name": "x", "version": "1.9.0", "description": "old"}
    new = {"name": "x", "version": "1.10.0", "description": "new"}
    assert counts(await take(agents_stub, [old, new])) == (1, 0, 1, 0)
    assert (await catalogue(agents_stub))["x"].version == "1.10.0"
    assert counts(await take(agents_stub, old)) == (0, 0, 1, 0)
    newest = {**new, "version": "2.0.0", "description": "newest"}
    assert counts(await take(agents_stub, newest)) == (0, 1, 0, 0)
    assert (await catalogue(agents_stub))["x"].description == "newest"


async def test_an_enrolled_entry_is_described_anew_and_stays_in_the_fleet(
    agents_stub: AgentServiceStub,
) -> None:
    await take(agents_stub, {"name": "x", "version": "1"})
    agent_id = (await catalogue(agents_stub))["x"].id
    enrolled = await agents_stub.EnrolAgent(pb.EnrolAgentRequest(id=agent_id))
    assert (enrolled.state, enrolled.source) == (Agent.STATE_ACTIVE, "import")
    await agents_stub.UpdateAgent(
        pb.UpdateAgentRequest(agent=Agent(id=agent_id, labels={"team": "a"}, owner="me"))
    )
    await take(agents_stub, {"name": "x", "version": "2", "description": "new"})
    got = (await catalogue(agents_stub))["x"]
    assert (got.state, got.version, got.owner) == (Agent.STATE_ACTIVE, "2", "me")
    assert dict(got.labels) == {"team": "a", "registry": "official"}


async def test_names_of_the_fleet_are_refused_with_both_named(
    agents_stub: AgentServiceStub,
) -> None:
    made = await create(agents_stub, "x", description="mine")
    answer = await take(agents_stub, [{"name": "y"}, {"name": "x"}])
    assert counts(answer) == (1, 0, 0, 1)
    (entry,) = answer.refused
    assert (entry.index, entry.name, entry.reason) == (1, "x", "OWNED_BY_OTHER_SOURCE")
    assert "'api'" in entry.message
    assert made.id in entry.message
    assert (await catalogue(agents_stub))["x"] == made


async def test_a_preview_changes_nothing(agents_stub: AgentServiceStub, sql: Any) -> None:
    answer = await take(agents_stub, [{"name": "x"}, {}], validate_only=True)
    assert (counts(answer), answer.validate_only) == ((1, 0, 0, 1), True)
    assert await catalogue(agents_stub) == {}
    assert await audits(sql) == []


@pytest.mark.parametrize(
    ("document", "content_type", "reason"),
    [
        (b"", "", "DOCUMENT_INVALID"),
        (b"{", "application/json", "DOCUMENT_INVALID"),
        (b"a: [", "application/yaml", "DOCUMENT_INVALID"),
        (b"\xff", "", "DOCUMENT_INVALID"),
        (b"[" * 1_000_000, "", "DOCUMENT_INVALID"),
        (b"{}", "", "DOCUMENT_INVALID"),
        (b'[{"name": "x"}]' + b" " * (8 * 2**20), "", "DOCUMENT_TOO_LARGE"),
        (json.dumps([{"name": f"x{n}"} for n in range(1001)]).encode(), "", "DOCUMENT_TOO_LARGE"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_documents_that_are_refused(
    agents_stub: AgentServiceStub, document: bytes, content_type: str, reason: str
) -> None:
    call = take(agents_stub, document, content_type=content_type)
    assert await refused(call) == (INVALID, reason)


async def test_what_a_document_holds_never_breaks_the_database(
    agents_stub: AgentServiceStub,
) -> None:
    nasty = [
        {"name": "a", "description": "x\u0000y\ud800", "version": "\u0000"},
        {"name": "b", "tools": [{"name": "\u0000t", "inputSchema": {"x": "\u0000"}}]},
        {"name": "c", "tools": [{"name": "t", "inputSchema": {"\ud800": 1, "n": 1e300}}]},
        {"name": "d", "packages": [{"registryType": "npm", "identifier": "\u0000"}]},
        {"name": "e", "repository": {"url": "https://x/\ud800"}, "tags": ["\u0000"]},
        {"name": "\ud800"},
    ]
    answer = await take(agents_stub, nasty)
    assert counts(answer) == (5, 0, 0, 1)
    assert counts(await take(agents_stub, nasty)) == (0, 0, 5, 1)


async def test_a_long_reason_is_refused(agents_stub: AgentServiceStub) -> None:
    call = take(agents_stub, {"name": "x"}, reason="r" * 501)
    assert await wrong_fields(call) == [("reason", "TOO_LONG")]


async def test_an_import_is_audited_with_its_reason(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    await take(agents_stub, [{"name": "x"}], reason="monthly")
    assert await audits(sql) == [("anonymous", "registry.import", "x", "monthly")]


async def test_an_import_takes_as_many_statements_for_many_entries_as_for_one(
    agents_stub: AgentServiceStub, database_url: str
) -> None:
    set_caller(Caller(DEFAULT_TENANT, "test", "operator"))
    database = Database(database_url, size=1)
    servicer, seen = RegistryServicer(database, RegistrySync(database, None)), list[str]()
    async with database.connection() as connection:
        driver: Any = connection
        driver.add_query_logger(lambda record: seen.append(record.query))
    taken = []
    context: Any = None
    try:
        for count in (2, 1, 100):  # the driver asks for types the first time
            names = [f"{count}-{n}" for n in range(count)]
            old = [{"name": name, "version": "1"} for name in names]
            new = [{"name": name, "version": "2"} for name in (*names, *(f"n{n}" for n in names))]
            await servicer.ImportAgents(request(old), context)
            seen.clear()
            answer = await servicer.ImportAgents(request(new), context)
            assert counts(answer) == (count, count, 0, 0)
            taken.append(len(seen))
    finally:
        await database.close()
    assert taken[1] == taken[2] <= 11


def test_the_samples_are_what_the_tests_above_count() -> None:
    found = [parse(sample(path)) for path in sorted(os.listdir(DATA))]
    assert sum(len(entries.taken) for entries in found) == 9
    assert sum(entries.older for entries in found) == 1


async def test_a_document_of_the_largest_size_is_read(agents_stub: AgentServiceStub) -> None:
    filler = "x" * 8000
    entries = [{"name": f"x{n}", "description": filler} for n in range(1000)]
    try:
        answer = await take(agents_stub, entries)
    except grpc.aio.AioRpcError as error:
        pytest.fail(f"refused: {error.details()}")
    assert counts(answer) == (1000, 0, 0, 0)
