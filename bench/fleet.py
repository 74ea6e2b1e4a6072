"""Fleets and their facts, made set-based in the database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import numpy as np

from bench.sql import QUERIES
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.fleet_trust import TrustSettings
from orca_server.runtime.embedding import DIMENSIONS, MODEL, as_text
from orca_server.runtime.tick import Tick
from orca_server.store.database import Database

FILL_SECONDS = 600.0


@asynccontextmanager
async def connection_to(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for fills and looks."""
    connection = await asyncpg.connect(
        url, command_timeout=FILL_SECONDS, server_settings={"jit": "off", "timezone": "UTC"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def fill_agents(url: str, agents: int) -> list[str]:
    """Creates agents; gives their ids, ascending."""
    async with connection_to(url) as connection:
        await connection.execute(QUERIES["fill_agents"], DEFAULT_TENANT, agents)
        await connection.execute("ANALYZE agents")
        rows = await connection.fetch(QUERIES["list_agent_ids"], DEFAULT_TENANT)
        return [str(row["id"]) for row in rows]


async def fill_described_agents(
    url: str, agents: int, verbs: Sequence[str], things: Sequence[str], systems: Sequence[str]
) -> None:
    """Creates agents whose texts are made of these words, beside a running server."""
    async with connection_to(url) as connection, connection.transaction():
        words = (list(verbs), list(things), list(systems))
        await connection.execute(QUERIES["fill_described_agents"], DEFAULT_TENANT, agents, *words)
        await connection.execute(QUERIES["tell_of_agents"], DEFAULT_TENANT)


async def fill_embeddings(url: str) -> None:
    """Gives every agent a vector, that of nothing: for fleets that are not searched."""
    vector = as_text(np.ones(DIMENSIONS, np.float32))
    async with connection_to(url) as connection:
        await connection.execute(QUERIES["drop_vectors_index"])
        await connection.execute(QUERIES["fill_embeddings"], DEFAULT_TENANT, MODEL, vector)
        await connection.execute("VACUUM ANALYZE agent_embeddings")


async def fill_telemetry(url: str, per_agent: int, hours: int) -> None:
    """Stores records of each agent, spread over the hours before now."""
    async with connection_to(url) as connection:
        await connection.execute(QUERIES["fill_telemetry"], DEFAULT_TENANT, per_agent, hours)
        await connection.execute("ANALYZE telemetry")


async def fill_hours(url: str, hours: int) -> None:
    """Stores so many hours of facts of each agent, in the order of time."""
    async with connection_to(url) as connection:
        await connection.execute(QUERIES["drop_hours_key"])
        await connection.execute(QUERIES["fill_hours"], DEFAULT_TENANT, hours, 1)
        await connection.execute(QUERIES["add_hours_key"])
        await connection.execute("VACUUM ANALYZE agent_hours")


async def report(url: str, agents: Sequence[str]) -> None:
    """Leaves in the tick's inbox what ingest does when these agents report."""
    async with connection_to(url) as connection:
        ids = [UUID(agent) for agent in agents]
        await connection.execute(QUERIES["report_agents"], DEFAULT_TENANT, ids)


@asynccontextmanager
async def ticking(url: str) -> AsyncIterator[Tick]:
    """The product's tick, called by hand."""
    db = Database(url, size=2)
    try:
        yield Tick(db, TrustSettings())
    finally:
        await db.close()


async def compute(url: str) -> None:
    """Computes the trust of everything that changed."""
    async with ticking(url) as tick:
        await tick.tick(wait=True)
