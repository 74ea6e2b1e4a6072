"""The ceiling of lists: asyncpg alone runs the statements that a page of ListAgents runs."""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator

import asyncpg
import uvloop

from bench.child import serve_orders
from orca_server.domain import filtering
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.store.filter_sql import Query, Statement, page_of
from orca_server.store.listings import AGENTS, WITHOUT_CATALOG
from orca_server.store.totals import STAND

SETTINGS = {"jit": "off", "timezone": "UTC"}


async def serve(url: str, connections: int) -> None:
    """Answers until the parent is gone."""
    opened = [await asyncpg.connect(url, server_settings=SETTINGS) for _ in range(connections)]
    prepared: list[Statement] = []

    async def prepare(filter: str, size: int, after: list[str], count: int) -> None:
        """Takes `count` pages: each begins after a key, in turn; the first after none."""
        query = Query(DEFAULT_TENANT, filtering.parse(filter, AGENTS.fields), WITHOUT_CATALOG)
        order = AGENTS.orders["id"]
        keys = [[key] if key else [] for key in after]
        pages = [page_of(AGENTS, query, order, key, size + 1) for key in keys]
        prepared[:] = itertools.islice(itertools.cycle(pages), count)

    async def select() -> float:
        """Pages a second."""
        waiting = iter(prepared)
        started = time.perf_counter()
        await asyncio.gather(*(_select(connection, waiting) for connection in opened))
        return len(prepared) / (time.perf_counter() - started)

    await serve_orders({"prepare": prepare, "select": select})
    for connection in opened:
        await connection.close()


async def _select(connection: asyncpg.Connection, waiting: Iterator[Statement]) -> None:
    for page in waiting:
        await connection.fetch(page.text, *page.parameters)
        await connection.fetchrow(STAND, DEFAULT_TENANT)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
