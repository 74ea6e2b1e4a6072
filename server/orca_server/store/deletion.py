"""Deletion of what never reported: it must not begin to while it goes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from orca_server.domain.errors import Unavailable
from orca_server.store import trust
from orca_server.store.database import Connection
from orca_server.store.queries import QUERIES

BUSY_SECONDS = 1.0


@asynccontextmanager
async def standing_still(tx: Connection, hold: str) -> AsyncIterator[None]:
    """Nothing is computed, nor stored in the table that `hold` locks, until the transaction ends.

    First the tick's lock, for a tick that read the resource before would write what it computed
    after it is gone; then the table; in the block the caller locks the row: ingest takes its locks
    in this order.

    Raises:
        Unavailable: If a lock, also one of the block, cannot be had for more than a moment.
    """
    await tx.execute(QUERIES["limit_lock_wait"])
    try:
        await trust.lock_tick(tx, wait=True)
        await tx.execute(hold)
        yield
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable(
            "DATABASE_UNAVAILABLE",
            "What is reported is being stored, or trust computed, without a pause; try again.",
            {"cause": "a lock could not be had in time"},
            retry_after_seconds=BUSY_SECONDS,
        ) from error
