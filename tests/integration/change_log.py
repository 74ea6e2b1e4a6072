"""What tests of the log of changes have in common."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.changes import Change, Kind
from orca_server.runtime import changes as runtime
from orca_server.runtime.changes import Changes
from orca_server.store import changes as store
from orca_server.store.database import Database

TENANT = DEFAULT_TENANT
SOON = 30.0


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The test's own database."""
    database = Database(database_url, size=4)
    yield database
    await database.close()


@asynccontextmanager
async def reading(db: Database) -> AsyncIterator[Changes]:
    """A reader that has begun."""
    reader = Changes(db, now)
    task = asyncio.create_task(reader.run())
    try:
        await reader.subscribe()
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def record(connection: Any, *ids: UUID, kind: Kind = Kind.UPDATED) -> None:
    """Says that agents change."""
    await store.record(connection, TENANT, "agent", ids, kind)


async def log_of(connection: Any) -> list[tuple[int, UUID]]:
    """Position and entity of each change, in order."""
    return [(one.position, one.entity_id) for one in await store.read(connection, 0, 100_000)]


async def gather(subscription: runtime.Subscription, count: int) -> list[Change]:
    """The next so many changes."""
    found: list[Change] = []
    async with asyncio.timeout(SOON):
        while len(found) < count:
            found += await subscription.next()
    return found


def ids(count: int) -> list[UUID]:
    """So many new ids."""
    return [uuid4() for _ in range(count)]
