"""Follows the log of changes: one reader per process, which tells all that listen in it.

A notification only wakes the reader; that one comes late, or never, costs at most POLL_SECONDS.
Whoever wakes gives positions to what is committed before it reads, so no replica waits for another.
What was read last is kept in memory; who is further behind reads from the database.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import structlog

from orca_server.domain.changes import Change, Place, read_token, resync_required
from orca_server.runtime.jobs import repeat
from orca_server.store import changes as store
from orca_server.store.changes import Head
from orca_server.store.database import Connection, Database, connect, unavailable

POLL_SECONDS = 0.5
"""Longest time between two looks."""
GATHER_SECONDS = 0.02
"""A writer is rarely alone: what follows it closely is read with it."""
READ_AT_ONCE = 5_000
REMEMBERED = 20_000
"""Changes kept in memory."""
KEPT = timedelta(days=1)
"""Changes kept in the database."""
PRUNE_SECONDS = 600.0
PRUNED_AT_ONCE = 10_000

log = structlog.get_logger(__name__)


class Subscription:
    """Changes from a place on, for one listener."""

    def __init__(self, changes: "Changes", place: Place) -> None:
        """Made by Changes.subscribe."""
        self._changes = changes
        self._place = place

    @property
    def token(self) -> str:
        """Resumes after the changes that were given out."""
        return str(self._place)

    async def next(self) -> list[Change]:
        """The changes that follow, at least one, in order; waits for them.

        Raises:
            OutOfRange: If they cannot be told (`RESYNC_REQUIRED`).
            Unavailable: If they must be read and the database does not answer.
        """
        found = await self._changes.after(self._place)
        self._place = Place(self._place.epoch, found[-1].position)
        return found


class Changes:
    """The reader of this process."""

    def __init__(self, db: Database, now: Callable[[], datetime]) -> None:
        """Reads nothing yet; `run` does.

        Args:
            db: The primary.
            now: The clock, UTC.
        """
        self._db = db
        self._now = now
        self._place: Place | None = None  # of the last change that was read
        self._recent: deque[Change] = deque(maxlen=REMEMBERED)  # up to the place, without gaps
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        """Follows the log until it is cancelled; a database that is away is waited for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat("changes", self._round, POLL_SECONDS, self._wake))
            group.create_task(repeat("changes_wake", self._listen, POLL_SECONDS))
            group.create_task(repeat("changes_prune", self.prune, PRUNE_SECONDS))

    async def subscribe(self, token: str = "") -> Subscription:
        """What changes from now on, or from the place of a token on.

        Raises:
            OutOfRange: If the token is none of this log (`RESYNC_REQUIRED`); that its changes are
                gone, or the log is another one, is told by `next`.
        """
        if token:
            return Subscription(self, read_token(token))
        async with self._moved:
            await self._moved.wait_for(lambda: self._place is not None)
            assert self._place is not None  # noqa: S101 - waited for
            return Subscription(self, self._place)

    async def after(self, place: Place) -> list[Change]:
        """The changes after a place, at least one; waits for them.

        Raises:
            OutOfRange: If they cannot be told (`RESYNC_REQUIRED`).
            Unavailable: If they must be read and the database does not answer.
        """
        async with self._moved:
            await self._moved.wait_for(lambda: self._place not in (None, place))
            now = self._place
            assert now is not None  # noqa: S101 - waited for
            if now.epoch != place.epoch:
                raise resync_required("the database was restored or failed over")
            if place.position > now.position:
                raise resync_required("the token is ahead of the log")
            behind = now.position - place.position
            if behind <= len(self._recent):
                return list(islice(self._recent, len(self._recent) - behind, None))
        return await self._read_back(place)

    async def _read_back(self, place: Place) -> list[Change]:
        """Changes that are no longer in memory."""
        async with self._db.connection() as connection:
            head = await store.read_head(connection)
            found = await store.read(connection, place.position, READ_AT_ONCE)
        if head.epoch != place.epoch:
            raise resync_required("the database was restored or failed over")
        if not found or found[0].position != place.position + 1:
            raise resync_required("the changes after this token are gone")
        return found

    async def _round(self) -> None:
        """Numbers what waits, reads what is new, and tells it."""
        if self._place is not None:
            await asyncio.sleep(GATHER_SECONDS)
        if await self._waiting():
            await number(self._db)
        # One connection for both, so that both are of the same server.
        async with self._db.connection() as connection:
            head = await store.read_head(connection)
            found = await self._new(connection, head)
        async with self._moved:
            if found is None:
                log.info("changes_from_the_start", epoch=head.epoch, position=head.newest)
                self._recent.clear()
                self._place = Place(head.epoch, head.newest)
            elif found:
                self._recent.extend(found)
                self._place = Place(head.epoch, found[-1].position)
                if found[-1].position < head.newest:
                    self._wake.set()
            self._moved.notify_all()

    async def _waiting(self) -> bool:
        async with self._db.connection() as connection:
            return (await store.read_head(connection)).waiting

    async def _new(self, connection: Connection, head: Head) -> list[Change] | None:
        """The changes after the last one read; None if there is no going on from it."""
        at = self._place
        if at is None or at.epoch != head.epoch or at.position > head.newest:
            return None
        if at.position == head.newest:
            return []
        found = await store.read(connection, at.position, READ_AT_ONCE)
        return found if found and found[0].position == at.position + 1 else None

    async def _listen(self) -> None:
        """Lets commits wake the reader, for as long as the connection lasts."""
        connection: Any = await connect(self._db.url, name="orca-changes")
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda *_: lost.set())
            await connection.add_listener(store.CHANNEL, lambda *_: self._wake.set())
            self._wake.set()
            await lost.wait()
        finally:
            connection.terminate()
        raise unavailable(ConnectionError("the connection that waits for changes was lost"))

    async def prune(self) -> None:
        """Deletes changes that are too old.

        Raises:
            Unavailable: If the database does not answer.
        """
        pruned = PRUNED_AT_ONCE
        while pruned >= PRUNED_AT_ONCE - 1:
            async with self._db.transaction() as tx:
                pruned = await store.prune(tx, self._now() - KEPT, PRUNED_AT_ONCE)


async def number(db: Database) -> None:
    """Gives positions to everything that is committed.

    Raises:
        Unavailable: If the database does not answer.
    """
    moved = store.NUMBERED_AT_ONCE
    while moved == store.NUMBERED_AT_ONCE:
        async with db.transaction() as tx:
            moved = await store.number(tx)
