"""The table `policy_violations`: what the tick counts and resolves, what an operator resolves."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from orca_server.domain.errors import NotAllowedNow, NotFound
from orca_server.store import audit
from orca_server.store.audit import Author
from orca_server.store.database import Connection, Record
from orca_server.store.listings import VIOLATIONS
from orca_server.store.queries import QUERIES
from orca_server.store.trust import DirtyAgent, lock_tick


async def merge(
    tx: Connection, dirty: Sequence[DirtyAgent], as_of: datetime, clean_seconds: int
) -> None:
    """Counts what the inbox holds, and resolves what has been clean for long enough.

    Args:
        tx: The tick's, after it computed the agents.
        dirty: Agents that reported.
        as_of: Instant of the tick.
        clean_seconds: How long an agent must have worked without another violation of a rule.
    """
    written = await tx.fetch(QUERIES["merge_violation_inbox"], as_of)
    agents = {(row["tenant_id"], row["entity_id"]) for row in written}
    agents |= {(one.tenant_id, one.agent_id) for one in dirty if one.facts}
    if agents:
        tenants, ids = zip(*agents, strict=True)
        await tx.execute(QUERIES["resolve_clean_violations"], tenants, ids, as_of, clean_seconds)


async def resolve(tx: Connection, author: Author, violation_id: UUID) -> Record:
    """Resolves an open violation by hand; gives it as it is then.

    Waits for a tick that runs, so that what was acknowledged before is counted there.

    Raises:
        NotFound: If there is none of this id (`VIOLATION_NOT_FOUND`).
        NotAllowedNow: If it is resolved already (`VIOLATION_RESOLVED`).
    """
    await lock_tick(tx, wait=True)
    agent_id = await tx.fetchval(
        QUERIES["resolve_violation"],
        author.tenant_id,
        violation_id,
        author.subject,
        author.reason,
    )
    row = await tx.fetchrow(VIOLATIONS.one, author.tenant_id, violation_id)
    about = {"violation_id": str(violation_id)}
    if row is None:
        raise NotFound("VIOLATION_NOT_FOUND", f"No violation has id '{violation_id}'.", about)
    if agent_id is None:
        raise NotAllowedNow(
            "VIOLATION_RESOLVED",
            f"It was resolved by '{row['resolved_by']}' at {row['resolved_at']:%Y-%m-%d %H:%M}Z.",
            about | {"resolution": row["resolution"]},
        )
    details = {violation_id: {"rule": row["rule"], "agent_id": str(agent_id)}}
    await audit.record(tx, author, "violations.resolve", "violation", details)
    return row
