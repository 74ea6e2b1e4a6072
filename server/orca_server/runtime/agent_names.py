"""Ids of the agents that telemetry names by type and name.

Only agents that have reported are remembered: such an agent is never deleted, so its id
never changes. The others are looked up each time, in one statement per request.
"""

from collections.abc import Collection, Iterable
from uuid import UUID

from orca_server.store.database import Database
from orca_server.store.telemetry import resolve_agents

MOST_REMEMBERED = 100_000


class AgentNames:
    """Finds ids by name."""

    def __init__(self, db: Database) -> None:
        """Starts with nothing remembered."""
        self._db = db
        self._known: dict[tuple[UUID, str, str], UUID] = {}

    async def resolve(
        self, tenant_id: UUID, names: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], UUID]:
        """Id by type and name, for those that exist.

        Raises:
            Unavailable: If the database does not answer.
        """
        found = {n: i for n in names if (i := self._known.get((tenant_id, *n))) is not None}
        missing = [name for name in names if name not in found and "\0" not in "".join(name)]
        if missing:
            async with self._db.connection() as connection:
                found |= await resolve_agents(connection, tenant_id, missing)
        return found

    def remember(self, tenant_id: UUID, named: Iterable[tuple[tuple[str, str], UUID]]) -> None:
        """Notes agents whose telemetry was stored."""
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known.update({(tenant_id, *name): agent_id for name, agent_id in named})

    def forget(self, tenant_id: UUID, names: Iterable[tuple[str, str]]) -> None:
        """Drops names whose id turned out to be unknown, as after a restore."""
        for name in names:
            self._known.pop((tenant_id, *name), None)
