"""The tables `telemetry` and `trust_inbox`: batches in, pages out."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from asyncpg import Connection, Record

from orca_server.domain.telemetry import Row
from orca_server.store.queries import QUERIES

LAST_KEY = UUID(int=2**128 - 1)


class PartitionMissing(Exception):
    """The day of some row has no partition yet; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch; positions count its rows from 0.

    Attributes:
        all_stored: Every row was stored.
        positions: Rows that were stored, ascending; empty if `all_stored`.
        unknown: Rows whose agent is unknown.
        retired: Rows whose agent is retired.
    """

    all_stored: bool
    positions: tuple[int, ...]
    unknown: frozenset[int]
    retired: frozenset[int]


ALL_STORED = Stored(True, (), frozenset(), frozenset())


async def store_rows(
    connection: Connection,
    tenants: Sequence[UUID],
    rows: Sequence[Row],
    requests: Sequence[int],
) -> Stored:
    """Stores a batch in one statement.

    Args:
        connection: Any; the statement is its own transaction unless one is open.
        tenants: Tenant of each row.
        rows: The rows.
        requests: Request of each row, negative if that request wants all or nothing.

    Raises:
        PartitionMissing: If a row's day has none; nothing was stored.
    """
    columns = list(zip(*rows, strict=True))
    try:
        record = await connection.fetchrow(QUERIES["store_telemetry"], tenants, *columns, requests)
    except asyncpg.CheckViolationError as error:
        if error.constraint_name is not None:
            raise
        raise PartitionMissing from error
    return Stored(
        all_stored=record["stored"] == len(rows),
        positions=tuple(sorted(_from_zero(record["positions"]))),
        unknown=_from_zero(record["unknown"]),
        retired=_from_zero(record["retired"]),
    )


async def store_row(connection: Connection, tenant_id: UUID, row: Row) -> bool:
    """Stores one row, if nothing about it is out of the ordinary: for callers that are few.

    Returns:
        Whether it was stored; if not, `store_rows` finds out why.
    """
    try:
        stored: bool = await connection.fetchval(QUERIES["store_record"], tenant_id, *row)
    except asyncpg.CheckViolationError:
        return False
    return stored


def _from_zero(positions: Sequence[int] | None) -> frozenset[int]:
    return frozenset(position - 1 for position in positions or ())


async def resolve_agents(
    connection: Connection, tenant_id: UUID, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], UUID]:
    """Id by type and name, for those that exist."""
    types = [agent_type for agent_type, _ in names]
    records = await connection.fetch(
        QUERIES["resolve_agents"], [tenant_id] * len(names), types, [name for _, name in names]
    )
    return {(record["type"], record["name"]): record["id"] for record in records}


async def list_rows(
    connection: Connection,
    tenant_id: UUID,
    agent_id: UUID,
    *,
    first: UUID,
    end: UUID,
    newest_first: bool,
    limit: int,
) -> list[Record]:
    """A page of an agent's records with `first` <= key < `end`."""
    name = "list_telemetry_newest_first" if newest_first else "list_telemetry"
    rows: list[Record] = await connection.fetch(
        QUERIES[name], tenant_id, agent_id, first, end, limit
    )
    return rows


async def count_rows(
    connection: Connection, tenant_id: UUID, agent_id: UUID, first: UUID, end: UUID
) -> int:
    """How many records of an agent have `first` <= key < `end`."""
    count: int = await connection.fetchval(
        QUERIES["count_telemetry"], tenant_id, agent_id, first, end
    )
    return count
