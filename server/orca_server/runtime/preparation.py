"""Makes the database fit for this server, at start and whenever it is not: schema, partitions.

The server itself starts without waiting for it, so that health and status can say what is missing.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import asyncpg
import structlog

from orca_server.runtime import partitions
from orca_server.runtime.jobs import repeat
from orca_server.store import migrate, system
from orca_server.store.database import Database

INTERVAL_SECONDS = 60.0
RETRY_SECONDS = 0.5
"""After a round that left something undone, or that another replica is doing."""

log = structlog.get_logger(__name__)


class Preparation:
    """The job that migrates and keeps partitions."""

    def __init__(self, db: Database, retention_days: int, now: Callable[[], datetime]) -> None:
        """Does nothing yet.

        Args:
            db: The database.
            retention_days: Days for which telemetry is kept.
            now: The clock, UTC.
        """
        self._db = db
        self._retention_days = retention_days
        self._now = now
        self.problem = ""
        """Why the last round could not be completed; empty if it was."""

    async def prepare(self) -> None:
        """Migrates if the schema is older than this server, and makes missing partitions.

        Raises:
            Unavailable: If the database does not answer.
        """
        while not await self._round():  # noqa: ASYNC110 - another process may do it
            await asyncio.sleep(RETRY_SECONDS)

    async def _round(self) -> bool:
        """Whether nothing is left to do."""
        try:
            async with self._db.connection() as connection:
                schema = await system.read_schema(connection)
            if schema.version < migrate.needed_version():
                log.info("migrated", applied=await migrate.migrate(self._db.url))
            done = await partitions.ensure(self._db, self._now(), self._retention_days)
        except (migrate.MigrationError, asyncpg.PostgresError) as error:
            if self.problem != str(error):
                log.error("database_not_prepared", cause=str(error))
            self.problem = str(error)
            return False
        self.problem = ""
        return done

    async def run(self) -> None:
        """Prepares again and again."""
        await repeat("preparation", self.prepare, INTERVAL_SECONDS)
