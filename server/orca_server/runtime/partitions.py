"""Keeps a partition of telemetry and events for every day that may be written, and drops old ones.

One replica at a time, by an advisory lock; the others look whether it is done. Each transaction
makes a few days, so that its locks are short.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import asyncpg
import structlog

from orca_server.store import system
from orca_server.store.database import Connection, Database
from orca_server.store.queries import QUERIES
from orca_server.store.system import Partition

LOCK = 0x6F726361_0002
DAYS_AHEAD = 14
LEAST_DAYS_AHEAD = 2.0
"""With fewer days left the server is not ready."""
DAYS_PER_TRANSACTION = 15
LOCK_WAIT_MS = 2_000

log = structlog.get_logger(__name__)


def wanted_days(now: datetime, retention_days: int) -> list[date]:
    """The days that may be written: from now - retention to 14 days ahead."""
    first = (now - timedelta(days=retention_days)).date()
    last = now.date() + timedelta(days=DAYS_AHEAD)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def days_ahead(now: datetime, days: Iterable[date]) -> float:
    """How long from now until the first instant without a partition, in days."""
    have, end = set(days), now.date()
    while end in have:
        end += timedelta(days=1)
    midnight = datetime(end.year, end.month, end.day, tzinfo=UTC)
    return max(0.0, (midnight - now) / timedelta(days=1))


async def ensure(db: Database, now: datetime, retention_days: int) -> bool:
    """Makes what is missing and drops what has expired, if nobody else is at it.

    Args:
        db: The database.
        now: Present instant, UTC.
        retention_days: Days for which rows are kept; a day more is left alone.

    Returns:
        Whether every wanted day has its partitions now.
    """
    days = wanted_days(now, retention_days)
    expired_before = days[0] - timedelta(days=1)
    async with db.connection() as connection:
        found = await system.list_partitions(connection)
    complete = system.attached_days(found).issuperset(days)
    if complete and all(each.day >= expired_before for each in found):
        return True
    async with db.connection() as connection, _turn(connection) as mine:
        if mine:
            await _create(connection, days)
            await _drop(connection, expired_before)
        return system.attached_days(await system.list_partitions(connection)).issuperset(days)


@asynccontextmanager
async def _turn(connection: Connection) -> AsyncIterator[bool]:
    """Whether this replica has the turn; it keeps it until the end of the block."""
    mine: bool = await connection.fetchval(QUERIES["try_session_lock"], LOCK)
    try:
        yield mine
    finally:
        if mine and not connection.is_closed():
            await connection.execute(QUERIES["unlock_session"], LOCK)


async def _create(connection: Connection, days: list[date]) -> None:
    found = await system.list_partitions(connection)
    present = {(each.parent, each.day) for each in found}
    detached = [each for each in found if not each.attached and each.day in days]
    made = 0
    for parent, some in _chunks(days):
        if missing := [day for day in some if (parent, day) not in present]:
            async with connection.transaction():
                await system.limit_lock_waits(connection, LOCK_WAIT_MS)
                await system.create_partitions(connection, parent, missing)
            made += len(missing)
    for partition in detached:  # the retention was made longer meanwhile
        async with connection.transaction():
            await system.limit_lock_waits(connection, LOCK_WAIT_MS)
            await system.attach_partition(connection, partition)
    if made or detached:
        log.info("partitions_made", partitions=made + len(detached))


def _chunks(days: list[date]) -> Iterator[tuple[str, list[date]]]:
    """Table and days of each transaction: of one table, the future of all tables first."""
    for end in range(len(days), 0, -DAYS_PER_TRANSACTION):
        some = days[max(0, end - DAYS_PER_TRANSACTION) : end]
        yield from ((parent, some) for parent in system.PARTITIONED)


async def _drop(connection: Connection, expired_before: date) -> None:
    for partition in await system.list_partitions(connection):
        if partition.day < expired_before:
            await _drop_one(connection, partition)


async def _drop_one(connection: Connection, partition: Partition) -> None:
    """Drops one day; when others hold locks on it for long, a later run does."""
    try:
        await system.limit_lock_waits(connection, LOCK_WAIT_MS)
        if partition.attached:
            await system.detach_partition(connection, partition)
        await system.drop_partition(connection, partition)
        log.info("partition_dropped", table=partition.table)
    except (asyncpg.LockNotAvailableError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
        log.warning("partition_kept", table=partition.table, cause=str(error))
    finally:
        if not connection.is_closed():
            await system.limit_lock_waits(connection, 0)
