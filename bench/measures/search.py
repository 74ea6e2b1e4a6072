"""SearchAgents: how many searches a second, and how well it finds."""

import asyncio
import os
import random
from pathlib import Path

import orca
from bench import search_quality
from bench.child import running_child
from bench.fleet import connection_to, fill_described_agents
from bench.goals import Result
from bench.measures.unary import rate_of
from bench.scale import Scale
from bench.sql import QUERIES
from bench.stage import Server, Stage
from orca.v1 import search_pb2 as pb

SEARCH = "/orca.v1.AgentService/SearchAgents"
CALLERS = 100
SEED = 11
WARM_CALLS = 200
EMBEDDED_SECONDS = 600.0
READ_SECONDS = 120.0
SHARED = Path(os.environ.get("ORCA_SHARED", Path(__file__).parents[3] / "shared"))
"""Where the judged queries are: `data/search`, as for `make bench-search`."""

VERBS = ("read", "create", "delete", "list", "update", "export", "watch", "summarise", "check")
THINGS = (
    *("issues", "pull requests", "invoices", "payments", "calendar events", "tickets", "emails"),
    *("weather forecasts", "log files", "metrics", "database tables", "spreadsheets", "contacts"),
    *("orders", "deployments", "containers", "documents", "images", "translations", "routes"),
)
SYSTEMS = (
    *("github", "gitlab", "jira", "slack", "stripe", "postgres", "mysql", "kubernetes", "docker"),
    *("salesforce", "hubspot", "notion", "confluence", "grafana", "prometheus", "s3", "gmail"),
    *("outlook", "sap", "shopify", "twilio", "zendesk", "airtable", "snowflake", "elasticsearch"),
)
"""What the fleet of `fill_described_agents` speaks of."""


async def measure(stage: Stage, scale: Scale) -> list[Result]:
    """The two goals of search."""
    return [await _rate(stage, scale), await _quality()]


async def _rate(stage: Stage, scale: Scale) -> Result:
    async with (
        stage.database() as url,
        stage.server(url) as server,
        running_child("caller") as caller,
    ):
        await fill_described_agents(url, scale.searched_agents, VERBS, THINGS, SYSTEMS)
        await _until_embedded(url, scale.searched_agents)
        stage.settle()

        async def searches(count: int, seed: int) -> float:
            await caller.ask("prepare", requests=_requests(count, seed), count=count)
            answer = await caller.ask(
                "unary", target=server.target, method=SEARCH, in_flight=CALLERS, token=server.token
            )
            return rate_of(answer)

        await searches(WARM_CALLS, SEED)
        rates = [await searches(scale.searches, SEED + n) for n in range(1, scale.rounds + 1)]
    median = sorted(rates)[len(rates) // 2]
    return Result(
        "search_rps_100_clients",
        median,
        f"{median:,.0f} searches/s of {scale.searched_agents:,} agents",
    )


async def until_searchable(server: Server) -> None:
    """Waits until a server that has just started has read all agents."""
    async with (
        asyncio.timeout(READ_SECONDS),
        orca.connect(server.target, token=server.token) as client,
    ):
        while True:
            try:
                await client.agents.search("anything")
            except (orca.Unavailable, orca.DeadlineExceeded):
                continue
            return


async def _until_embedded(url: str, agents: int) -> None:
    async with asyncio.timeout(EMBEDDED_SECONDS), connection_to(url) as connection:
        while await connection.fetchval(QUERIES["count_embeddings"]) < agents:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await connection.execute("VACUUM ANALYZE agents, agent_embeddings")


def _requests(count: int, seed: int) -> list[str]:
    """Searches as people write them, hardly two the same, one in ten with a slip."""
    chosen = random.Random(seed)
    queries = [_query(chosen) for _ in range(count)]
    return [pb.SearchAgentsRequest(query=query).SerializeToString().hex() for query in queries]


def _query(chosen: random.Random) -> str:
    verb, thing, system = (chosen.choice(words) for words in (VERBS, THINGS, SYSTEMS))
    query = chosen.choice(
        (
            f"{verb} {thing} from {system}",
            f"which agent can {verb} {thing} in {system} for the {chosen.choice(THINGS)} team?",
            f"{system} {thing}",
            f"{system}-{verb}-{thing.replace(' ', '-')}-{chosen.randrange(10_000)}",
        )
    )
    if chosen.randrange(10):
        return query
    at = chosen.randrange(len(query) - 1)
    return query[:at] + query[at + 1] + query[at] + query[at + 2 :]


async def _quality() -> Result:
    """On the judged queries.

    Raises:
        RuntimeError: If they are not there.
    """
    folder = SHARED / "data" / "search"
    if not folder.is_dir():
        raise RuntimeError(f"the judged queries are not there ({folder}); set ORCA_SHARED")
    quality = await search_quality.measure(folder)
    return Result(
        "search_ndcg10",
        quality.ndcg,
        f"MRR {quality.mrr:.3f}, without a hit {quality.zero_hit_share:.1%}",
    )
