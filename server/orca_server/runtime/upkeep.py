"""Hourly upkeep of the facts: hours past their retention become days, for charts.

No score reads what is moved: each agent keeps its window and its newest hour. Any replica
may do it, also several at once: a row is moved by whoever deletes it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from orca_server.runtime.jobs import repeat
from orca_server.store import trust
from orca_server.store.database import Database

INTERVAL_SECONDS = 3600.0
HOURS_KEPT_LONGER = timedelta(days=8)
ROWS_PER_STATEMENT = 20_000

log = structlog.get_logger(__name__)


class Upkeep:
    """The job that rolls up old hours."""

    def __init__(self, db: Database, retention_days: int, now: Callable[[], datetime]) -> None:
        """Does nothing yet.

        Args:
            db: The primary.
            retention_days: Days for which telemetry is kept; hours are kept 8 days longer.
            now: The clock, UTC.
        """
        self._db = db
        self._kept = timedelta(days=retention_days) + HOURS_KEPT_LONGER
        self._now = now

    async def roll_up(self) -> int:
        """Moves what is due and gives the number of hours moved.

        Raises:
            Unavailable: If the database does not answer.
        """
        moved = 0
        while True:
            async with self._db.connection() as connection:
                count = await trust.roll_up(
                    connection, self._now() - self._kept, ROWS_PER_STATEMENT
                )
            moved += count
            if count < ROWS_PER_STATEMENT:
                return moved

    async def run(self) -> None:
        """Rolls up every hour until it is cancelled."""
        await repeat("upkeep", self._round, INTERVAL_SECONDS)

    async def _round(self) -> None:
        if moved := await self.roll_up():
            log.info("hours_rolled_up", hours=moved)
