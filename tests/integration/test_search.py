"""Search over a real channel: what is found, why, how soon, on every server, and at what cost."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import pytest

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.search_pb2 import SearchAgentsRequest, SearchHit
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.changes import Kind
from orca_server.domain.filtering import parse
from orca_server.runtime import search_index
from orca_server.runtime.changes import Changes
from orca_server.runtime.embedding import DIMENSIONS, MODEL
from orca_server.runtime.search_index import SearchIndex
from orca_server.store import changes, search
from orca_server.store.database import Database
from orca_server.store.filter_sql import Query
from orca_server.store.listings import WITHOUT_CATALOG
from tests.inventory import create, sql, wrong_fields
from tests.serving import running_server, settings_for, wait_until_ready

__all__ = ["sql"]

FRESH_SECONDS = 2.0
OTHER_TENANT = UUID(int=7)
AGENTS: dict[str, dict[str, Any]] = {
    "github-tracker": {
        "description": "Works with repositories, issues and pull requests.",
        "tools": [
            agent_pb2.AgentTool(name="listIssues", description="Lists the issues of a repository."),
            agent_pb2.AgentTool(name="merge_pull_request", description="Merges it."),
        ],
        "owner": "platform",
    },
    "deep-wiki": {"description": "Answers questions about open source projects."},
    "weatherForecast": {"description": "Temperature, rain and wind for any city."},
    "postgres": {
        "description": "Runs SQL against a database.",
        "capabilities": ["query tables"],
        "owner": "platform",
    },
    "必应": {"description": "中文必应搜索工具"},
}


@pytest.fixture
async def fleet(agents_stub: AgentServiceStub, sql: Any) -> dict[str, str]:
    """Agents that search knows all of; name by id."""
    names = {(await create(agents_stub, name, **said)).id: name for name, said in AGENTS.items()}
    await embedded(sql, len(names))
    return names


async def embedded(sql: Any, count: int) -> None:
    """Waits until so many agents have a vector; the test's limit ends it."""
    while await sql.fetchval("SELECT count(*) FROM agent_embeddings") < count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def hits(stub: AgentServiceStub, query: str, **said: Any) -> Sequence[SearchHit]:
    return (await stub.SearchAgents(SearchAgentsRequest(query=query, **said))).hits


async def names(stub: AgentServiceStub, query: str, **said: Any) -> list[str]:
    return [hit.agent.name for hit in await hits(stub, query, **said)]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("read issues from github", "github-tracker"),
        ("issue", "github-tracker"),
        ("gihtub", "github-tracker"),
        ("merge pull requests", "github-tracker"),
        ("mergePullRequest", "github-tracker"),
        ("deepwiki", "deep-wiki"),
        ("DeepWiki", "deep-wiki"),
        ("deep_wiki", "deep-wiki"),
        ("weather-forecasts", "weatherForecast"),
        ("will it be sunny tomorrow", "weatherForecast"),
        ("relational storage", "postgres"),
        ("query tables", "postgres"),
        ("搜索", "必应"),
    ],
)
async def test_what_is_meant_comes_first(
    agents_stub: AgentServiceStub, fleet: dict[str, str], query: str, name: str
) -> None:
    assert (await names(agents_stub, query))[0] == name


async def test_a_hit_says_why(agents_stub: AgentServiceStub, fleet: dict[str, str]) -> None:
    first = (await hits(agents_stub, "Read issues from gihtub"))[0]
    assert [(m.field, list(m.words), list(m.tools)) for m in first.matches] == [
        ("name", ["gihtub"], []),
        ("description", ["issues"], []),
        ("tools", ["issues"], ["listIssues"]),
    ]
    assert first.score == 1
    assert 0 < first.similarity <= 1
    assert first.agent == await agents_stub.GetAgent(pb.GetAgentRequest(id=first.agent.id))


async def test_a_hit_without_words_was_found_by_its_meaning(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    first = (await hits(agents_stub, "sunny"))[0]
    assert (first.agent.name, list(first.matches)) == ("weatherForecast", [])
    assert first.score < 1
    assert first.HasField("similarity")


async def test_scores_fall_and_the_page_is_as_long_as_asked_for(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    scores = [hit.score for hit in await hits(agents_stub, "issues of a database")]
    assert len(scores) == len(AGENTS)
    assert scores == sorted(scores, reverse=True)
    assert len(await hits(agents_stub, "issues of a database", page_size=2)) == 2
    assert len(await hits(agents_stub, "issues of a database", page_size=1_000)) == len(AGENTS)


async def test_a_query_of_no_words_finds_nothing(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    assert await names(agents_stub, "?!") == []


async def test_a_filter_chooses_before_the_ranking(
    agents_stub: AgentServiceStub, fleet: dict[str, str]
) -> None:
    assert await names(agents_stub, "github issues", filter="name = postgres") == ["postgres"]
    found = await names(agents_stub, "weather", filter="owner = platform")
    assert sorted(found) == ["github-tracker", "postgres"]
    assert await names(agents_stub, "github", filter="owner = nobody") == []


async def test_the_catalogue_is_searched_only_when_asked_for(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    imported = pb.ImportAgentsRequest()
    imported.content.data = json.dumps(
        [{"name": "io.example/maps", "description": "Finds routes.", "version": "1"}]
    ).encode()
    await agents_stub.ImportAgents(imported)
    await embedded(sql, 1)
    assert await names(agents_stub, "find routes", show_catalog=False) == []
    (entry,) = await hits(agents_stub, "find routes")
    await agents_stub.EnrolAgent(pb.EnrolAgentRequest(id=entry.agent.id))
    assert await names(agents_stub, "find routes", show_catalog=False) == ["io.example/maps"]


async def test_wrong_requests_are_refused(agents_stub: AgentServiceStub) -> None:
    search_ = agents_stub.SearchAgents
    assert await wrong_fields(search_(SearchAgentsRequest())) == [("query", "REQUIRED")]
    long = SearchAgentsRequest(query="x" * 1_001)
    assert await wrong_fields(search_(long)) == [("query", "TOO_LONG")]
    negative = SearchAgentsRequest(query="x", page_size=-1)
    assert await wrong_fields(search_(negative)) == [("page_size", "OUT_OF_RANGE")]


@asynccontextmanager
async def stub_of(database_url: str) -> AsyncIterator[AgentServiceStub]:
    """Another server on the same database."""
    async with (
        running_server(settings_for(database_url)) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        yield AgentServiceStub(channel)


async def first_within_two_seconds(stub: AgentServiceStub, query: str, name: str) -> None:
    """Waits until the first hit is this agent, by words and by meaning."""
    async with asyncio.timeout(FRESH_SECONDS):
        while True:
            found = await hits(stub, query)
            first = found[0] if found else SearchHit()
            if first.agent.name == name and first.matches and first.HasField("similarity"):
                return
            await asyncio.sleep(0.02)


async def test_every_server_finds_what_is_new_changed_or_gone(
    agents_stub: AgentServiceStub, fleet: dict[str, str], database_url: str
) -> None:
    async with stub_of(database_url) as other:
        stubs = (agents_stub, other)
        for stub in stubs:  # both have read everything
            assert (await names(stub, "postgres"))[0] == "postgres"
        made = await create(other, "payments", description="Refunds credit cards.")
        for stub in stubs:
            await first_within_two_seconds(stub, "refund", "payments")
        changed = agent_pb2.Agent(id=made.id, description="Books trains.")
        update = pb.UpdateAgentRequest(agent=changed)
        update.update_mask.paths.append("description")
        await agents_stub.UpdateAgent(update)
        for stub in stubs:
            await first_within_two_seconds(stub, "train", "payments")
            assert not [h for h in await hits(stub, "refund") if h.matches]
        await other.DeleteAgent(pb.DeleteAgentRequest(id=made.id))
        for stub in stubs:
            assert "payments" not in await names(stub, "train payments")


async def test_a_server_that_starts_computes_no_vector_again(
    agents_stub: AgentServiceStub, fleet: dict[str, str], database_url: str, sql: Any
) -> None:
    before = await sql.fetch("SELECT agent_id, xmin::text FROM agent_embeddings ORDER BY agent_id")
    made = search_index.EMBEDDED._value.get()
    async with stub_of(database_url) as other:
        assert (await names(other, "sql database"))[0] == "postgres"
    assert search_index.EMBEDDED._value.get() == made
    after = await sql.fetch("SELECT agent_id, xmin::text FROM agent_embeddings ORDER BY agent_id")
    assert after == before


async def test_an_index_that_lost_changes_is_read_anew(
    agents_stub: AgentServiceStub, fleet: dict[str, str], sql: Any
) -> None:
    """As after a restore: an agent appears that no change tells of."""
    await sql.execute(
        "INSERT INTO agents (tenant_id, id, type, name, state, source)"
        " VALUES ($1, $2, 'mcp', 'restored-calendar', 'ACTIVE', 'api')",
        DEFAULT_TENANT,
        UUID(int=99),
    )
    await changes.renew_epoch(sql)
    while (await names(agents_stub, "calendar"))[0] != "restored-calendar":  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def test_another_tenants_agents_are_not_found(
    agents_stub: AgentServiceStub, fleet: dict[str, str], sql: Any
) -> None:
    await sql.execute(
        "INSERT INTO agents (tenant_id, id, type, name, state, source)"
        " VALUES ($1, $2, 'mcp', 'github-of-others', 'ACTIVE', 'api')",
        OTHER_TENANT,
        UUID(int=99),
    )
    await changes.record(sql, OTHER_TENANT, "agent", [UUID(int=99)], Kind.CREATED)
    await embedded(sql, len(fleet) + 1)
    assert "github-of-others" not in await names(agents_stub, "github others", show_catalog=True)


async def many(sql: Any, count: int) -> None:
    """So many agents with vectors that point anywhere, as a large catalogue has."""
    await sql.execute(
        "INSERT INTO agents (tenant_id, id, type, name, description, state, source)"
        " SELECT $1, lpad(to_hex(n), 32, '0')::uuid, 'mcp', 'entry-' || n, 'Entry number ' || n,"
        " CASE WHEN n % 2 = 0 THEN 'ACTIVE' ELSE 'CATALOG' END, 'import'"
        " FROM generate_series(1000, 999 + $2::integer) AS n",
        DEFAULT_TENANT,
        count,
    )
    await sql.execute("SELECT setseed(0.5)")
    await sql.execute(
        "INSERT INTO agent_embeddings (tenant_id, agent_id, revision, model, embedding)"
        f" SELECT tenant_id, id, revision, '{MODEL}', (SELECT array_agg(random() - 0.5 + n * 0)"
        f" FROM generate_series(1, {DIMENSIONS}) AS n WHERE agents.id IS NOT NULL)::halfvec"
        " FROM agents WHERE name LIKE 'entry-%'"
    )
    await sql.execute("ANALYZE agents")
    await sql.execute("ANALYZE agent_embeddings")


async def plan_of(sql: Any, text: str, *parameters: object) -> str:
    return "\n".join(row[0] for row in await sql.fetch(f"EXPLAIN {text}", *parameters))


VECTOR = "[" + ",".join(["0.1"] * DIMENSIONS) + "]"


async def test_few_are_compared_one_by_one_and_many_by_the_index(
    sql: Any, database_url: str
) -> None:
    await many(sql, 9_000)
    wide = search.QUERIES["nearest_agents"]
    assert "agent_embeddings_embedding_idx" in await plan_of(sql, wide, DEFAULT_TENANT, VECTOR, 100)
    ids = [UUID(int=n) for n in range(1_000, 1_100)]
    exact = search.QUERIES["nearest_among"]
    plan = await plan_of(sql, exact, DEFAULT_TENANT, ids, VECTOR, 10)
    assert "agent_embeddings_pkey" in plan
    assert "agent_embeddings_embedding_idx" not in plan
    assert "Seq Scan on agent" not in plan
    db = Database(database_url, size=1)
    async with db.connection() as connection:
        found = await search.nearest(connection, DEFAULT_TENANT, VECTOR, search_index.LOOKED_AT)
    await db.close()
    assert len(found) == search_index.LOOKED_AT
    assert sorted(found.values(), reverse=True)[:10] == list(found.values())[:10]


class CountingDatabase(Database):
    """Counts the statements of those who use it."""

    statements = 0

    @asynccontextmanager
    async def connection(self, timeout: float = 10.0) -> AsyncIterator[Any]:
        async with super().connection(timeout) as connection:
            yield Counted(connection, self)


class Counted:
    """A connection whose statements are counted."""

    def __init__(self, connection: Any, database: CountingDatabase) -> None:
        self._connection = connection
        self._database = database

    def __getattr__(self, name: str) -> Any:
        if name in ("execute", "fetch", "fetchrow", "fetchval"):
            self._database.statements += 1
        return getattr(self._connection, name)


@pytest.mark.parametrize(("exact", "statements"), [(4_000, 2), (1, 3)], ids=["few", "many"])
async def test_a_search_takes_as_many_statements_for_many_agents_as_for_one(
    agents_stub: AgentServiceStub,
    fleet: dict[str, str],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    exact: int,
    statements: int,
) -> None:
    monkeypatch.setattr(search_index, "EXACT", exact)
    db, plain = CountingDatabase(database_url, size=4), Database(database_url, size=4)
    following = Changes(plain, lambda: datetime.now(UTC))
    index = SearchIndex(plain, following)
    jobs = [asyncio.create_task(job()) for job in (following.run, index.run)]
    try:
        query = Query(DEFAULT_TENANT, parse("type = mcp"), WITHOUT_CATALOG)
        await index.search(query, "wiki", catalog=False, limit=1)
        index._db = db
        counts = []
        for limit in (1, 5):
            db.statements = 0
            found = await index.search(query, "wiki", catalog=False, limit=limit)
            assert len(found.scores) == limit
            await index.similarities(DEFAULT_TENANT, found)
            counts.append(db.statements)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await db.close()
        await plain.close()
    assert counts == [statements, statements]


async def test_the_vector_of_an_old_text_is_never_put_over_a_newer_one(
    agents_stub: AgentServiceStub, fleet: dict[str, str], sql: Any
) -> None:
    """A server that read an agent before it changed, and is slow to compute."""
    agent_id = UUID(next(iter(fleet)))
    key = (DEFAULT_TENANT, agent_id)
    (read,) = await search.find_documents(sql, [key], MODEL)
    update = pb.UpdateAgentRequest(agent=agent_pb2.Agent(id=str(agent_id), description="New."))
    update.update_mask.paths.append("description")
    await agents_stub.UpdateAgent(update)
    await search.store_embeddings(sql, [read], "slow", [VECTOR])
    models = await sql.fetch("SELECT model FROM agent_embeddings")
    assert {row["model"] for row in models} == {MODEL}
