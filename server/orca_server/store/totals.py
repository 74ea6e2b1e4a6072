"""How many rows a list has on all pages, counted once for as long as nothing changed.

To count is to look at every row that a filter has to judge, which for one page of a large fleet is
nearly all of the work, and readers ask for page after page of the same list. So a total is kept
with the stand of the tenant's data that it was counted at, and is right as long as that stands:
nothing is assumed to be unchanged for some time.
"""

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from uuid import UUID

from orca_server.store.database import Connection
from orca_server.store.queries import QUERIES

STAND = QUERIES["get_stand"]
KEPT = 1_000
"""Totals, over all tenants; the one that was asked for longest ago goes first."""
KEPT_SECONDS = 60.0
"""Then it is counted again in any case: rows that were written past the server, by hand or by a
restore, are in no log of changes."""

Stand = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class _Counted:
    """A total, the stand of the data that it was counted at, and until when it may be used."""

    total: int
    stand: Stand
    until: float


class Totals:
    """The totals of one server's lists."""

    def __init__(self) -> None:
        """Has counted nothing."""
        self._counted: OrderedDict[Hashable, _Counted] = OrderedDict()

    async def of(
        self, db: Connection, tenant_id: UUID, count: str, parameters: list[object], *, ticks: bool
    ) -> int:
        """What a statement counts, as of now.

        Args:
            db: Where.
            tenant_id: Whose rows.
            count: The statement; all that it reads is recorded in the log of changes or written
                by the tick.
            parameters: Of the statement.
            ticks: Whether it reads what the tick writes.
        """
        stand = await _stand(db, tenant_id, ticks=ticks)
        if stand is None:
            total: int = await db.fetchval(count, *parameters)
            return total
        key = (count, *parameters)
        known = self._counted.get(key)
        if known is None or known.stand != stand or known.until < time.monotonic():
            # The stand is older than the total: a change between them makes it be counted again.
            total = await db.fetchval(count, *parameters)
            known = _Counted(total, stand, time.monotonic() + KEPT_SECONDS)
            self._counted[key] = known
            if len(self._counted) > KEPT:
                self._counted.popitem(last=False)
        self._counted.move_to_end(key)
        return known.total


async def _stand(db: Connection, tenant_id: UUID, *, ticks: bool) -> Stand | None:
    """What changes with each write; None while a write has no position in the log yet."""
    row = await db.fetchrow(STAND, tenant_id)
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    if row["waiting"]:
        return None
    return (row["position"], row["ticked_at"] if ticks else None)
