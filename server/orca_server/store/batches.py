"""What telemetry and events have in common: batches in, pages by key out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
from asyncpg import Connection, Record

from orca_server.store.queries import QUERIES

LAST_KEY = UUID(int=2**128 - 1)
Table = Literal["telemetry", "events"]


class PartitionMissing(Exception):
    """The day of some row has no partition yet; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch; positions count its rows from 0.

    Attributes:
        all_stored: Every row was stored.
        positions: Rows that were stored, ascending; empty if `all_stored`.
        unknown: Rows whose agent or workflow is unknown.
        retired: Rows whose agent or workflow is retired.
    """

    all_stored: bool
    positions: tuple[int, ...]
    unknown: frozenset[int]
    retired: frozenset[int]


ALL_STORED = Stored(True, (), frozenset(), frozenset())


async def store_batch(
    connection: Connection,
    table: Table,
    tenants: Sequence[UUID],
    rows: Sequence[tuple[Any, ...]],
    requests: Sequence[int],
) -> Stored:
    """Stores a batch in one statement.

    Args:
        connection: Any; the statement is its own transaction unless one is open.
        table: Where the rows go.
        tenants: Tenant of each row.
        rows: The rows.
        requests: Request of each row, negative if that request wants all or nothing.

    Raises:
        PartitionMissing: If a row's day has none; nothing was stored.
    """
    columns = list(zip(*rows, strict=True))
    try:
        record = await connection.fetchrow(QUERIES[f"store_{table}"], tenants, *columns, requests)
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


def _from_zero(positions: Sequence[int] | None) -> frozenset[int]:
    return frozenset(position - 1 for position in positions or ())


async def list_by_key(
    connection: Connection,
    table: Table,
    tenant_id: UUID,
    whose: UUID,
    *,
    first: UUID,
    end: UUID,
    newest_first: bool,
    limit: int,
) -> list[Record]:
    """A page of an agent's or workflow's rows with `first` <= key < `end`."""
    name = f"list_{table}_newest_first" if newest_first else f"list_{table}"
    rows: list[Record] = await connection.fetch(QUERIES[name], tenant_id, whose, first, end, limit)
    return rows


async def count_by_key(
    connection: Connection, table: Table, tenant_id: UUID, whose: UUID, first: UUID, end: UUID
) -> int:
    """How many rows of an agent or workflow have `first` <= key < `end`."""
    count: int = await connection.fetchval(QUERIES[f"count_{table}"], tenant_id, whose, first, end)
    return count
