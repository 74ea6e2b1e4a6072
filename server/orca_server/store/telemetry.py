"""The tables `telemetry` and `trust_inbox`: batches in."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
from asyncpg import Connection

from orca_server.domain.telemetry import Row, violates
from orca_server.store.batches import Stored, store_batch
from orca_server.store.queries import QUERIES


async def store_rows(
    connection: Connection,
    tenants: Sequence[UUID],
    rows: Sequence[Row],
    requests: Sequence[int],
) -> Stored:
    """Stores a batch in one statement; see `store_batch`."""
    return await store_batch(connection, "telemetry", tenants, rows, requests)


async def store_row(connection: Connection, tenant_id: UUID, row: Row) -> bool:
    """Stores one row, if nothing about it is out of the ordinary: for callers that are few.

    Returns:
        Whether it was stored; if not, `store_rows` finds out why.
    """
    if violates(row):
        return False
    try:
        stored: bool = await connection.fetchval(QUERIES["store_record"], tenant_id, *row[:-1])
    except asyncpg.CheckViolationError:
        return False
    return stored


async def resolve_agents(
    connection: Connection, tenant_id: UUID, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], UUID]:
    """Id by type and name, for those that exist."""
    types = [agent_type for agent_type, _ in names]
    records = await connection.fetch(
        QUERIES["resolve_agents"], [tenant_id] * len(names), types, [name for _, name in names]
    )
    return {(record["type"], record["name"]): record["id"] for record in records}
