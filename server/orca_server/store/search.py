"""What search reads and keeps: texts of agents, vectors of meaning, and whom a filter lets."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from orca_server.domain.search import Document, Key
from orca_server.store import filter_sql
from orca_server.store.database import Connection, Record
from orca_server.store.filter_sql import Query, Statement
from orca_server.store.listings import AGENTS
from orca_server.store.queries import QUERIES

_MATCH = replace(AGENTS, count=QUERIES["match_agents"].rstrip(";"))
_BEFORE_ALL = (UUID(int=0), UUID(int=0))


async def list_documents(
    db: Connection, after: Key | None, limit: int, model: str
) -> list[Document]:
    """Texts of agents of all tenants after a key."""
    tenant_id, agent_id = after or _BEFORE_ALL
    rows = await db.fetch(QUERIES["list_search_documents"], tenant_id, agent_id, limit, model)
    return [_document(row) for row in rows]


async def find_documents(db: Connection, keys: Sequence[Key], model: str) -> list[Document]:
    """Texts of certain agents, those that exist."""
    tenants, ids = [key[0] for key in keys], [key[1] for key in keys]
    rows = await db.fetch(QUERIES["find_search_documents"], tenants, ids, model)
    return [_document(row) for row in rows]


async def store_embeddings(
    db: Connection, documents: Sequence[Document], model: str, vectors: Sequence[str]
) -> None:
    """Keeps the vectors of documents, as pgvector reads them, whose agents are still so."""
    await db.execute(
        QUERIES["store_embeddings"],
        [document.key[0] for document in documents],
        [document.key[1] for document in documents],
        [document.revision for document in documents],
        model,
        vectors,
    )


async def match(
    db: Connection, query: Query, limit: int, among: Sequence[UUID] | None = None
) -> list[UUID]:
    """Ids of agents that the query lets, at most so many; only of `among`, if given."""
    statement = match_statement(query, limit, among)
    return [row["id"] for row in await db.fetch(statement.text, *statement.parameters)]


def match_statement(query: Query, limit: int, among: Sequence[UUID] | None) -> Statement:
    """The statement behind `match`."""
    statement = filter_sql.total_of(_MATCH, query)
    if among is not None:
        # Not `= ANY`: for thousands of ids the planner would rather read all agents.
        statement.add(f"\n    AND agents.id IN (SELECT unnest({statement.bind(among)}::uuid[]))")
    statement.add(f"\nLIMIT {statement.bind(limit)}")
    return statement


async def nearest_among(
    db: Connection, tenant_id: UUID, ids: Sequence[UUID], vector: str, limit: int
) -> dict[UUID, float]:
    """The most similar of these agents with their similarity, best first; each was compared."""
    rows = await db.fetch(QUERIES["nearest_among"], tenant_id, ids, vector, limit)
    return {row["id"]: row["similarity"] for row in rows}


async def nearest(db: Connection, tenant_id: UUID, vector: str, limit: int) -> dict[UUID, float]:
    """The agents most similar to a vector with their similarity, best first, by the vectors' index.

    The connection is one of `Database`, which sets how far the index looks.
    """
    rows = await db.fetch(QUERIES["nearest_agents"], tenant_id, vector, limit)
    return {row["id"]: 1 - row["distance"] for row in rows}


def _document(row: Record) -> Document:
    names = (row["name"], row["display_name"])
    return Document(
        key=(row["tenant_id"], row["id"]),
        revision=row["revision"],
        embedded=row["embedded"],
        in_catalog=row["in_catalog"],
        names=tuple(name for name in dict.fromkeys(names) if name),
        description=row["description"],
        capabilities=tuple(row["capabilities"]),
        tools=tuple((name or "", description or "") for name, description in row["tools"]),
    )
