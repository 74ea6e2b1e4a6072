"""State of the schema: its version, and the daily partitions of telemetry."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg

from orca_server.store.database import Connection
from orca_server.store.queries import QUERIES

PREFIX = "telemetry_p"


@dataclass(frozen=True, slots=True)
class Schema:
    """Version of the schema (0: none) and of PostgreSQL."""

    version: int
    server_version: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A table for one day of telemetry."""

    day: date
    attached: bool
    """False: a table that was detached and not dropped yet."""
    detaching: bool

    @property
    def table(self) -> str:
        """Its name."""
        return table_of(self.day)


async def read_schema(connection: Connection) -> Schema:
    """The schema's version."""
    try:
        row = await connection.fetchrow(QUERIES["read_schema_version"])
    except asyncpg.UndefinedTableError:
        return Schema(0, await connection.fetchval("SHOW server_version"))
    return Schema(row["version"] or 0, row["server_version"]) if row else Schema(0, "")


async def list_partitions(connection: Connection) -> list[Partition]:
    """The days of telemetry that have a table, oldest first."""
    rows = await connection.fetch(QUERIES["list_telemetry_partitions"])
    return [Partition(_day_of(row["name"]), row["attached"], row["detaching"]) for row in rows]


async def create_partitions(tx: Connection, days: list[date]) -> None:
    """Makes tables for the days and attaches them.

    Made as tables of their own and then attached: CREATE TABLE … PARTITION OF would wait behind a
    running pg_dump, and every insert behind it.
    """
    statements = [
        f"CREATE TABLE {table_of(day)} (LIKE telemetry INCLUDING ALL EXCLUDING COMMENTS);\n"
        f"{_attach(day)};"
        for day in days
    ]
    await tx.execute("\n".join(statements))


async def attach_partition(tx: Connection, day: date) -> None:
    """Attaches a day's table that was detached."""
    await tx.execute(_attach(day))


def _attach(day: date) -> str:
    first, end = first_key(day), first_key(day + timedelta(days=1))
    return (
        f"ALTER TABLE telemetry ATTACH PARTITION {table_of(day)}"
        f" FOR VALUES FROM ('{first}') TO ('{end}')"
    )


async def detach_partition(connection: Connection, partition: Partition) -> None:
    """Detaches a day without holding up readers or writers; outside of a transaction."""
    how = "FINALIZE" if partition.detaching else "CONCURRENTLY"
    await connection.execute(f"ALTER TABLE telemetry DETACH PARTITION {partition.table} {how}")


async def drop_partition(connection: Connection, partition: Partition) -> None:
    """Drops the table of a detached day."""
    await connection.execute(f"DROP TABLE {partition.table}")


async def limit_lock_waits(connection: Connection, milliseconds: int) -> None:
    """Bounds the wait for each lock: in a transaction for its rest, else for the session."""
    local = connection.is_in_transaction()
    await connection.execute(
        f"SET {'LOCAL' if local else 'SESSION'} lock_timeout = {milliseconds:d}"
    )


def table_of(day: date) -> str:
    """Name of a day's table."""
    return f"{PREFIX}{day:%Y%m%d}"


def first_key(day: date) -> UUID:
    """The smallest key of a day: its start in milliseconds in the first 48 bits, then zeros."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return UUID(int=int(start.timestamp()) * 1000 << 80)


def _day_of(table: str) -> date:
    return datetime.strptime(table.removeprefix(PREFIX), "%Y%m%d").replace(tzinfo=UTC).date()
