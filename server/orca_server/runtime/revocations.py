"""The revoked tokens, read again every few seconds."""

import structlog

from orca_server.runtime.jobs import repeat
from orca_server.store import tokens
from orca_server.store.database import Database

INTERVAL_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Revocations:
    """Ids of revoked tokens; at most 5 s old while the database answers, else the last known."""

    def __init__(self, db: Database) -> None:
        """Knows none until the first read."""
        self._db = db
        self._ids: frozenset[str] = frozenset()

    def ids(self) -> frozenset[str]:
        """The ids now."""
        return self._ids

    async def refresh(self) -> None:
        """Reads them now."""
        async with self._db.connection() as connection:
            self._ids = await tokens.list_revoked_tokens(connection)

    async def run(self) -> None:
        """Reads them again and again."""
        await repeat("revocations", self.refresh, INTERVAL_SECONDS)
