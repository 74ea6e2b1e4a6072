"""Reads of single agents: those that are asked for while one is read are read together.

A statement costs the server and the database more for being one than for what it finds, so under
load the reads of many callers share it. Who comes when nobody reads waits for nobody.
"""

import asyncio
from uuid import UUID

from orca_server.domain.errors import Unavailable
from orca_server.store import agents as store
from orca_server.store.database import Database, Record, unavailable_again

MOST_TOGETHER = 500

_Asked = tuple[UUID, asyncio.Future[Record | None]]


class AgentReads:
    """Agents by id."""

    def __init__(self, db: Database) -> None:
        """Reads nothing yet."""
        self._db = db
        self._asked: dict[UUID, list[_Asked]] = {}  # by tenant
        self._reading = False
        self._task: asyncio.Task[None] | None = None

    async def get(self, tenant_id: UUID, agent_id: UUID) -> Record:
        """One agent with its trust, as it is now or later.

        Raises:
            NotFound: If there is none of this id.
        """
        if not self._reading:
            return await self._alone(tenant_id, agent_id)
        done: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(tenant_id, []).append((agent_id, done))
        if (row := await done) is None:
            raise store.agent_missing(agent_id)
        return row

    async def _alone(self, tenant_id: UUID, agent_id: UUID) -> Record:
        self._reading = True
        try:
            async with self._db.connection() as connection:
                return await store.get_agent(connection, tenant_id, agent_id)
        finally:
            if self._asked:
                self._task = asyncio.create_task(self._together(), name="agent-reads")
            else:
                self._reading = False

    async def _together(self) -> None:
        """Reads what was asked for, and what is asked for meanwhile."""
        while self._asked:
            tenant_id = next(iter(self._asked))
            asked = self._asked.pop(tenant_id)
            if rest := asked[MOST_TOGETHER:]:
                self._asked[tenant_id] = rest
            await self._read(tenant_id, asked[:MOST_TOGETHER])
        self._reading = False

    async def _read(self, tenant_id: UUID, asked: list[_Asked]) -> None:
        """Answers those who asked, whatever happens."""
        try:
            async with self._db.connection() as connection:
                rows = await store.find_agents(connection, tenant_id, [one for one, _ in asked])
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            for _, done in asked:
                if not done.done():
                    again = unavailable_again(error) if isinstance(error, Unavailable) else error
                    done.set_exception(again)
        else:
            for agent_id, done in asked:
                if not done.done():  # else its caller has gone
                    done.set_result(rows.get(agent_id))
