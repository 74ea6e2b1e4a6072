"""State of the schema: its version, and the daily partitions of telemetry and events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg

from orca_server.store.database import Connection
from orca_server.store.queries import QUERIES

PARTITIONED = ("telemetry", "workflow_events")
"""Tables with a partition for each day of their key."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Version of the schema (0: none) and of PostgreSQL."""

    version: int
    server_version: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A table for one day of another."""

    parent: str
    """Which of PARTITIONED."""
    day: date
    attached: bool
    """False: a table that was detached and not dropped yet."""
    detaching: bool

    @property
    def in_use(self) -> bool:
        """Whether rows of its day go there."""
        return self.attached and not self.detaching

    @property
    def table(self) -> str:
        """Its name."""
        return table_of(self.parent, self.day)


async def read_schema(connection: Connection) -> Schema:
    """The schema's version."""
    try:
        row = await connection.fetchrow(QUERIES["read_schema_version"])
    except asyncpg.UndefinedTableError:
        return Schema(0, await connection.fetchval("SHOW server_version"))
    return Schema(row["version"] or 0, row["server_version"]) if row else Schema(0, "")


async def list_partitions(connection: Connection) -> list[Partition]:
    """The days that have a table, by parent, oldest first."""
    rows = await connection.fetch(QUERIES["list_partitions"], PARTITIONED)
    return [
        Partition(row["parent"], _day_of(row["name"]), row["attached"], row["detaching"])
        for row in rows
    ]


def attached_days(partitions: Sequence[Partition]) -> set[date]:
    """The days for which each of PARTITIONED has its partition."""
    of_each = (
        {each.day for each in partitions if each.parent == parent and each.in_use}
        for parent in PARTITIONED
    )
    return set.intersection(*of_each)


async def create_partitions(tx: Connection, parent: str, days: Sequence[date]) -> None:
    """Makes tables for the days of one of PARTITIONED and attaches them.

    Made as tables of their own and then attached: CREATE TABLE … PARTITION OF would wait behind a
    running pg_dump, and every insert behind it.
    """
    statements = [
        f"CREATE TABLE {table_of(parent, day)}"
        f" (LIKE {parent} INCLUDING ALL EXCLUDING COMMENTS);\n{_attach(parent, day)};"
        for day in days
    ]
    await tx.execute("\n".join(statements))


async def attach_partition(tx: Connection, partition: Partition) -> None:
    """Attaches a day's table that was detached."""
    await tx.execute(_attach(partition.parent, partition.day))


def _attach(parent: str, day: date) -> str:
    first, end = first_key(day), first_key(day + timedelta(days=1))
    return (
        f"ALTER TABLE {parent} ATTACH PARTITION {table_of(parent, day)}"
        f" FOR VALUES FROM ('{first}') TO ('{end}')"
    )


async def detach_partition(connection: Connection, partition: Partition) -> None:
    """Detaches a day without holding up readers or writers; outside of a transaction."""
    how = "FINALIZE" if partition.detaching else "CONCURRENTLY"
    await connection.execute(
        f"ALTER TABLE {partition.parent} DETACH PARTITION {partition.table} {how}"
    )


async def drop_partition(connection: Connection, partition: Partition) -> None:
    """Drops the table of a detached day."""
    await connection.execute(f"DROP TABLE {partition.table}")


async def limit_lock_waits(connection: Connection, milliseconds: int) -> None:
    """Bounds the wait for each lock: in a transaction for its rest, else for the session."""
    local = connection.is_in_transaction()
    await connection.execute(
        f"SET {'LOCAL' if local else 'SESSION'} lock_timeout = {milliseconds:d}"
    )


def table_of(parent: str, day: date) -> str:
    """Name of a day's table."""
    return f"{parent}_p{day:%Y%m%d}"


def first_key(day: date) -> UUID:
    """The smallest key of a day: its start in milliseconds in the first 48 bits, then zeros."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return UUID(int=int(start.timestamp()) * 1000 << 80)


def _day_of(table: str) -> date:
    return datetime.strptime(table[-8:], "%Y%m%d").replace(tzinfo=UTC).date()
