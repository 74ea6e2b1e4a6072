"""The log of changes in the database: recorded by writers, numbered afterwards, read in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orca_server.domain.changes import Change, Kind, epoch_of
from orca_server.domain.errors import Unavailable
from orca_server.store.database import RETRY_SECONDS, Connection, Record
from orca_server.store.queries import QUERIES

CHANNEL = "orca_changes"
"""Of the notification by which a commit wakes the readers."""
NUMBERED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log is.

    Attributes:
        epoch: Which log it is.
        newest: Position of the newest change; 0: there never was one.
        oldest: Position of the oldest that is kept.
        waiting: Whether changes are committed and not numbered yet.
    """

    epoch: str
    newest: int
    oldest: int
    waiting: bool


async def record(
    tx: Connection, tenant_id: UUID, entity_type: str, ids: Sequence[UUID], kind: Kind
) -> None:
    """Says that entities change; the transaction holds the locks of their rows already."""
    if ids:
        await tx.execute(QUERIES["record_changes"], tenant_id, entity_type, list(ids), kind)


async def record_of_tenants(
    tx: Connection, tenants: Sequence[UUID], entity_type: str, ids: Sequence[UUID], kind: Kind
) -> None:
    """The same for entities of several tenants."""
    if ids:
        await tx.execute(
            QUERIES["record_tenants_changes"], list(tenants), entity_type, list(ids), kind
        )


async def number(tx: Connection) -> int:
    """Gives positions to what is committed, at most NUMBERED_AT_ONCE; how many it was.

    Args:
        tx: A transaction of its own, with read committed.
    """
    await tx.execute(QUERIES["lock_changes"])
    moved: int = await tx.fetchval(QUERIES["number_changes"], NUMBERED_AT_ONCE)
    return moved


async def read_head(db: Connection) -> Head:
    """Where the log is; its first reader begins the epoch.

    Raises:
        Unavailable: If this is a standby, whose log may lag.
    """
    row = await _head(db)
    if row["stored"] is None:
        await db.execute(QUERIES["begin_change_epoch"])
        row = await _head(db)
    if row["timeline"] is None:
        raise Unavailable(
            "DATABASE_UNAVAILABLE",
            "The database is a standby; changes are read from the primary only.",
            {"cause": "standby"},
            retry_after_seconds=RETRY_SECONDS,
        )
    epoch = epoch_of(row["system"], row["timeline"], row["relation"], row["stored"])
    oldest = row["oldest"] or row["newest"] + 1
    return Head(epoch, row["newest"], oldest, row["waiting"])


async def _head(db: Connection) -> Record:
    row = await db.fetchrow(QUERIES["read_change_head"])
    assert row is not None  # noqa: S101 - pg_control_system has one row
    return row


async def read(db: Connection, after: int, limit: int) -> list[Change]:
    """Changes after a position, in order."""
    return [
        Change(
            position=row["position"],
            tenant_id=row["tenant_id"],
            entity_type=row["entity_type"],
            entity_id=row["entity_id"],
            kind=Kind(row["kind"]),
            created_at=row["created_at"],
        )
        for row in await db.fetch(QUERIES["read_changes"], after, limit)
    ]


async def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Deletes changes older than an instant, at most so many; how many it was."""
    await tx.execute(QUERIES["lock_changes"])
    pruned: int = await tx.fetchval(QUERIES["prune_changes"], before, limit)
    return pruned


async def renew_epoch(db: Connection) -> None:
    """Makes every token unknown, as a restore must."""
    await db.execute(QUERIES["renew_change_epoch"])
