"""Removal of the sample fleet with its history, which the API rightly refuses to delete."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from orca_server.domain.changes import Kind
from orca_server.store import agents, audit, changes, workflows
from orca_server.store.audit import Author
from orca_server.store.database import Connection
from orca_server.store.deletion import standing_still
from orca_server.store.queries import QUERIES

ACTION = "seed.remove"


@dataclass(frozen=True, slots=True)
class Removed:
    """How much is gone."""

    entities: int
    records: int


async def remove_agents(
    tx: Connection, author: Author, names: Sequence[tuple[str, str]]
) -> Removed:
    """Removes agents that are labelled as sample, and all that is known of them.

    Nothing is computed or stored meanwhile; the next tick computes the fleet without them.

    Args:
        tx: A transaction.
        author: Who asks, for the audit log.
        names: Type and name of each; others are never touched.

    Raises:
        Unavailable: If telemetry is being stored for more than a moment.
    """
    kinds, called = [kind for kind, _ in names], [name for _, name in names]
    async with standing_still(tx, QUERIES["hold_telemetry"]):
        rows = await tx.fetch(QUERIES["lock_sample_agents"], author.tenant_id, kinds, called)
        found = {row["id"]: {"type": row["type"], "name": row["name"]} for row in rows}
        records = await tx.fetchval(QUERIES["remove_sample_agents"], author.tenant_id, list(found))
    await changes.record(tx, author.tenant_id, agents.ENTITY, list(found), Kind.DELETED)
    await agents.mark(tx, author.tenant_id, list(found))
    await audit.record(tx, author, ACTION, agents.ENTITY, found)
    return Removed(len(found), records)


async def remove_workflows(
    tx: Connection, author: Author, names: Sequence[tuple[str, str]]
) -> Removed:
    """Removes workflows that are labelled as sample, as remove_agents() does agents.

    Args:
        tx: A transaction.
        author: Who asks, for the audit log.
        names: Provider and name of each; others are never touched.

    Raises:
        Unavailable: If events are being stored for more than a moment.
    """
    providers, called = [provider for provider, _ in names], [name for _, name in names]
    async with standing_still(tx, QUERIES["hold_workflow_events"]):
        rows = await tx.fetch(QUERIES["lock_sample_workflows"], author.tenant_id, providers, called)
        found: dict[UUID, dict[str, object]] = {
            row["id"]: {"provider": row["provider"], "name": row["name"]} for row in rows
        }
        records = await tx.fetchval(
            QUERIES["remove_sample_workflows"], author.tenant_id, list(found)
        )
    await changes.record(tx, author.tenant_id, workflows.ENTITY, list(found), Kind.DELETED)
    await audit.record(tx, author, ACTION, workflows.ENTITY, found)
    return Removed(len(found), records)
