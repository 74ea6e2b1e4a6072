"""Reads of single agents: under load those of many callers are read together.

A statement costs the server and the database more for being one than for what it finds. Who comes
when few ask waits for nobody.
"""

import asyncio
from uuid import UUID

from asyncpg import PostgresError

from orca_server.domain.errors import Unavailable
from orca_server.runtime.linger import Linger
from orca_server.store import agents as store
from orca_server.store.database import Database, Record, unavailable_again

MOST_TOGETHER = 500

_Asked = tuple[UUID, asyncio.Future[Record | None]]


class AgentReads:
    """Agents by id."""

    def __init__(self, db: Database) -> None:
        """Reads nothing yet; `run` does."""
        self._db = db
        self._asked: dict[UUID, list[_Asked]] = {}  # by tenant
        self._under_way = 0
        self._waiting = asyncio.Event()
        self._linger = Linger()

    async def get(self, tenant_id: UUID, agent_id: UUID) -> Record:
        """One agent with its trust, as it is now or later.

        Raises:
            NotFound: If there is none of this id.
            Unavailable: If the database does not answer.
        """
        done: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(tenant_id, []).append((agent_id, done))
        self._under_way += 1
        self._waiting.set()
        try:
            row = await done
        finally:
            self._under_way -= 1
        if row is None:
            raise store.agent_missing(agent_id)
        return row

    async def run(self) -> None:
        """Answers until it is cancelled, which is when no caller is left."""
        while True:
            await self._waiting.wait()
            while self._asked:
                await self._linger.grow(self._count_asked, self._under_way)
                tenant_id = next(iter(self._asked))
                asked = self._asked.pop(tenant_id)
                if rest := asked[MOST_TOGETHER:]:
                    self._asked[tenant_id] = rest
                await self._read(tenant_id, asked[:MOST_TOGETHER])
            self._waiting.clear()

    def _count_asked(self) -> int:
        return sum(map(len, self._asked.values()))

    async def _read(self, tenant_id: UUID, asked: list[_Asked]) -> None:
        """Answers those who asked; a database that is away is an answer."""
        try:
            async with self._db.connection() as connection:
                rows = await store.find_agents(connection, tenant_id, [one for one, _ in asked])
        except (Unavailable, PostgresError) as error:
            for _, done in asked:
                if not done.done():
                    again = unavailable_again(error) if isinstance(error, Unavailable) else error
                    done.set_exception(again)
        else:
            for agent_id, done in asked:
                if not done.done():  # else its caller has gone
                    done.set_result(rows.get(agent_id))
