"""A fleet as large as one is meant to get, loaded set by set; and who asked what of a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.fleet_trust import TrustSettings
from orca_server.runtime import partitions
from orca_server.runtime.tick import Tick
from orca_server.store.database import Database
from orca_server.store.queries import load_queries

RETENTION_DAYS = 9


@dataclass(frozen=True, slots=True)
class Fleet:
    """How much there is.

    Attributes:
        agents: Of the fleet; a tenth as many again are in the catalogue.
        workflows: Each with a few runs a day for a week.
        busy: Agents with telemetry in each hour of a week, which have history too.
    """

    agents: int
    workflows: int
    busy: int


LARGE = Fleet(agents=100_000, workflows=20_000, busy=1_000)
SMALL = Fleet(agents=100, workflows=20, busy=10)

AGENT, WORKFLOW = UUID(int=1), UUID(int=1)
"""The first ones, which are busy."""

_LOAD = load_queries(Path(__file__).with_name("sql"))


_HISTORY = """
    INSERT INTO trust_snapshots (tenant_id, as_of, trust_ppb, band, capped_by, summary)
    SELECT tenant_id, as_of - n * interval '1 minute', trust_ppb, band, capped_by, summary
    FROM trust_current CROSS JOIN generate_series(1, $1::integer) AS n
"""


async def load(url: str, fleet: Fleet) -> None:
    """Fills a migrated, empty database."""
    db = Database(url, size=2)
    await partitions.ensure(db, datetime.now(UTC), RETENTION_DAYS)
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    values = (DEFAULT_TENANT, fleet.agents, fleet.workflows, fleet.busy)
    for text in _LOAD.values():
        for number, value in enumerate(values, 1):
            text = text.replace(f"${number}", f"'{value}'")
        await connection.execute(text)
    await Tick(db, TrustSettings()).tick(wait=True)
    await connection.execute(_HISTORY, fleet.busy * 10)
    await db.close()
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


class AskedDatabase(Database):
    """A database that remembers what it was asked, with parameters."""

    def __init__(self, url: str) -> None:
        super().__init__(url, size=2)
        self.asked: list[tuple[str, tuple[object, ...]]] = []

    @asynccontextmanager
    async def connection(self, timeout: float = 10.0) -> AsyncIterator[Any]:
        async with super().connection(timeout) as connection:
            yield AskedConnection(connection, self.asked)


class AskedConnection:
    """Hands statements on and remembers them."""

    def __init__(self, connection: Any, asked: list[tuple[str, tuple[object, ...]]]) -> None:
        self._connection = connection
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in ("execute", "fetch", "fetchrow", "fetchval"):
            return found

        def remember(text: str, *parameters: object) -> Any:
            self._asked.append((text, parameters))
            return found(text, *parameters)

        return remember
