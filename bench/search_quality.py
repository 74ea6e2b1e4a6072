"""How well search finds: `python -m bench.search_quality DIR`, on a real server.

DIR/servers.json lists MCP servers (`server`, `name`, `description`, `tools`), DIR/queries.json
queries (`query`, `relevant_servers`). All servers become agents; each query is asked of them all.
Printed are means over the queries:

* NDCG@10: 1 if the relevant agents come first, less the further down they stand.
* MRR: one divided by the rank of the first relevant agent.
* zero-hit share: queries without a relevant agent among the first ten.
"""

import asyncio
import json
import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orca
from bench.fleet import connection_to
from bench.sql import QUERIES
from bench.stage import set_stage
from orca.client import Client
from orca.v1.agent_pb2 import Agent, AgentTool

DEPTH = 10
LONGEST_NAME, LONGEST_DESCRIPTION = 200, 4_000
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the queries."""

    ndcg: float
    mrr: float
    zero_hit_share: float


def ndcg(ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Normalised discounted cumulative gain of the first ten, each relevant one worth the same."""
    gains = [1 / math.log2(rank + 1) for rank in range(1, DEPTH + 1)]
    found = sum(gain for gain, name in zip(gains, ranking, strict=False) if name in relevant)
    return found / sum(gains[: len(relevant)])


def reciprocal_rank(ranking: Sequence[str], relevant: Collection[str]) -> float:
    """One divided by the rank of the first relevant one; 0 if there is none."""
    ranks = (rank for rank, name in enumerate(ranking, 1) if name in relevant)
    return 1 / next(ranks, math.inf)


def judge(rankings: Sequence[Sequence[str]], relevant: Sequence[Collection[str]]) -> Quality:
    """The means over queries: what was found against what should be."""
    pairs = list(zip(rankings, relevant, strict=True))
    missed = [found for found, wanted in pairs if not set(found[:DEPTH]) & set(wanted)]
    return Quality(
        ndcg=sum(ndcg(*pair) for pair in pairs) / len(pairs),
        mrr=sum(reciprocal_rank(*pair) for pair in pairs) / len(pairs),
        zero_hit_share=len(missed) / len(pairs),
    )


def name_of(server: str) -> str:
    """What an agent of this server is called: names hold no white space."""
    return "-".join(server.split())


def agent_of(server: dict[str, Any]) -> Agent:
    """A server of the file as an agent."""
    tools = {tool["name"]: tool.get("description") or "" for tool in server.get("tools") or ()}
    return Agent(
        type="mcp",
        name=name_of(server["server"]),
        display_name=(server.get("name") or "")[:LONGEST_NAME],
        description=(server.get("description") or "")[:LONGEST_DESCRIPTION],
        tools=[
            AgentTool(name=name, description=text[:LONGEST_DESCRIPTION])
            for name, text in tools.items()
        ],
    )


async def _fill(client: Client, url: str, agents: Sequence[Agent]) -> None:
    """Creates the agents, and waits until each has a vector: then words are known too."""
    for agent in agents:
        await client.agents.create(agent)
    async with asyncio.timeout(READY_SECONDS), connection_to(url) as connection:
        while await connection.fetchval(QUERIES["count_embeddings"]) < len(agents):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _rank(client: Client, query: str) -> list[str]:
    hits = await client.agents.search(query, page_size=100)
    return [hit.agent.name for hit in hits]


async def measure(folder: Path) -> Quality:
    """Fills a server of its own and asks it."""
    servers = json.loads((folder / "servers.json").read_text(encoding="utf-8"))
    queries = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
    async with (
        set_stage() as stage,
        stage.database() as url,
        stage.server(url) as server,
        orca.connect(server.target, token=server.token) as client,
    ):
        await _fill(client, url, [agent_of(one) for one in servers])
        rankings = [await _rank(client, one["query"]) for one in queries]
    relevant = [set(map(name_of, one["relevant_servers"])) for one in queries]
    return judge(rankings, relevant)


def main() -> None:
    """Prints the three figures."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m bench.search_quality DIR")
    quality = asyncio.run(measure(Path(sys.argv[1])))
    print(f"NDCG@10         {quality.ndcg:.4f}")
    print(f"MRR             {quality.mrr:.4f}")
    print(f"zero-hit share  {quality.zero_hit_share:.4f}")


if __name__ == "__main__":
    main()
