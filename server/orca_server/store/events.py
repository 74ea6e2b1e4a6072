"""The tables `workflow_events` and `workflow_inbox`: batches in."""

from collections.abc import Sequence
from uuid import UUID

from asyncpg import Connection

from orca_server.domain.events import Row
from orca_server.store.batches import Stored, store_batch
from orca_server.store.queries import QUERIES


async def store_events(
    connection: Connection,
    tenants: Sequence[UUID],
    rows: Sequence[Row],
    requests: Sequence[int],
) -> Stored:
    """Stores a batch in one statement; see `store_batch`."""
    return await store_batch(connection, "events", tenants, rows, requests)


async def resolve_workflows(
    connection: Connection, tenant_id: UUID, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], UUID]:
    """Id by provider and name, for those that exist."""
    providers = [provider for provider, _ in names]
    records = await connection.fetch(
        QUERIES["resolve_workflows"], tenant_id, providers, [name for _, name in names]
    )
    return {(record["provider"], record["name"]): record["id"] for record in records}
