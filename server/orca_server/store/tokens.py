"""Tokens that were handed out. The token itself is never stored, only what it says."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orca_server.store.database import Connection, Record
from orca_server.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token.

    Attributes:
        id: Its `jti`.
        agents: Ids, or `type/name`, of the agents it is bound to; empty: all.
    """

    id: UUID
    subject: str
    role: str
    agents: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


async def insert_token(
    tx: Connection,
    tenant_id: UUID,
    token_id: UUID,
    *,
    subject: str,
    role: str,
    agents: tuple[str, ...],
    expires_at: datetime,
) -> None:
    """Remembers a token that is about to be handed out."""
    await tx.execute(
        QUERIES["insert_token"],
        tenant_id,
        token_id,
        subject,
        role,
        json.dumps(agents),
        expires_at,
    )


async def list_tokens(connection: Connection, tenant_id: UUID) -> list[Token]:
    """The tenant's tokens, newest first, expired and revoked ones included."""
    return [_token(row) for row in await connection.fetch(QUERIES["list_tokens"], tenant_id)]


async def revoke_token(tx: Connection, tenant_id: UUID, token_id: UUID) -> Token | None:
    """Revokes a token, or finds it revoked; None if there is none with this id."""
    row = await tx.fetchrow(QUERIES["revoke_token"], tenant_id, token_id)
    return None if row is None else _token(row)


async def list_revoked_tokens(connection: Connection) -> frozenset[str]:
    """Ids of the revoked tokens of every tenant that have not expired yet."""
    rows = await connection.fetch(QUERIES["list_revoked_tokens"])
    return frozenset(str(row["id"]) for row in rows)


def _token(row: Record) -> Token:
    return Token(
        id=row["id"],
        subject=row["subject"],
        role=row["role"],
        agents=tuple(json.loads(row["agents"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
