"""Ids of the agents and workflows that telemetry and events name.

Only those that have reported are remembered: such a one is never deleted, so its id never
changes. The others are looked up each time, in one statement per request.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from uuid import UUID

from orca_server.store.database import Connection, Database

MOST_REMEMBERED = 100_000

Name = tuple[str, str]
"""Type and name of an agent, provider and name of a workflow."""
Resolve = Callable[[Connection, UUID, Sequence[Name]], Awaitable[dict[Name, UUID]]]


class Names:
    """Finds ids by name."""

    def __init__(self, db: Database, resolve: Resolve) -> None:
        """Starts with nothing remembered.

        Args:
            db: Where they stand.
            resolve: Gives the ids of a tenant's names, for those that exist.
        """
        self._db = db
        self._resolve = resolve
        self._known: dict[tuple[UUID, str, str], UUID] = {}

    async def resolve(self, tenant_id: UUID, names: Collection[Name]) -> dict[Name, UUID]:
        """Id by name, for those that exist.

        Raises:
            Unavailable: If the database does not answer.
        """
        found = {n: i for n in names if (i := self._known.get((tenant_id, *n))) is not None}
        missing = [name for name in names if name not in found and "\0" not in "".join(name)]
        if missing:
            async with self._db.connection() as connection:
                found |= await self._resolve(connection, tenant_id, missing)
        return found

    def remember(self, tenant_id: UUID, named: Iterable[tuple[Name, UUID]]) -> None:
        """Notes those of which something was stored."""
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known.update({(tenant_id, *name): found for name, found in named})

    def forget(self, tenant_id: UUID, names: Iterable[Name]) -> None:
        """Drops names whose id turned out to be unknown, as after a restore."""
        for name in names:
            self._known.pop((tenant_id, *name), None)
