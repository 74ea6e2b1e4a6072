"""Who changed what: written in the transaction of the change."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from orca_server.store.database import Connection
from orca_server.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts, for whom, and why."""

    tenant_id: UUID
    subject: str
    reason: str = ""


async def record(
    tx: Connection,
    author: Author,
    action: str,
    entity_type: str,
    details: Mapping[UUID, Mapping[str, object]],
) -> None:
    """Adds one entry per changed entity; `details` says what changed in each."""
    if not details:
        return
    await tx.execute(
        QUERIES["insert_audit_entries"],
        author.tenant_id,
        author.subject,
        action,
        entity_type,
        list(details),
        author.reason,
        [json.dumps(one) for one in details.values()],
    )
