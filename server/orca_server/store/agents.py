"""Agents in the database: read with their trust, locked, written set by set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orca_server.domain import agents as domain
from orca_server.domain import drift as drift_domain
from orca_server.domain.agents import (
    Agent,
    AgentState,
    Content,
    Criticality,
    Endpoint,
    Source,
    Tool,
)
from orca_server.domain.changes import Kind
from orca_server.domain.errors import Conflict, NotFound
from orca_server.store import audit, changes, drift
from orca_server.store.audit import Author
from orca_server.store.database import Connection, Record
from orca_server.store.deletion import standing_still
from orca_server.store.listings import AGENTS
from orca_server.store.queries import QUERIES

ENTITY = "agent"
"""What the audit log and the log of changes call it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Who holds a name or a request id."""

    id: UUID
    type: str
    name: str
    state: AgentState
    source: Source


def agent_missing(what: UUID | str) -> NotFound:
    """The error for an agent that is not there, by its id, or by type and name together."""
    if isinstance(what, UUID):
        return NotFound("AGENT_NOT_FOUND", f"No agent has id '{what}'.", {"agent_id": str(what)})
    return NotFound("AGENT_NOT_FOUND", f"There is no agent '{what}'.", {"agent": what})


async def get_agent(db: Connection, tenant_id: UUID, agent_id: UUID) -> Record:
    """One agent with its trust.

    Raises:
        NotFound: If there is none of this id.
    """
    row = await db.fetchrow(AGENTS.one, tenant_id, agent_id)
    if row is None:
        raise agent_missing(agent_id)
    return row


async def find_agents(db: Connection, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Record]:
    """Agents with their trust, by id, those that exist."""
    rows = await db.fetch(AGENTS.some, tenant_id, ids)
    return {row["id"]: row for row in rows}


async def get_agents(db: Connection, tenant_id: UUID, ids: Sequence[UUID]) -> list[Record]:
    """Agents with their trust, in the order of the ids.

    Raises:
        NotFound: Names the first id that is missing.
    """
    by_id = await find_agents(db, tenant_id, ids)
    for one in ids:
        if one not in by_id:
            raise agent_missing(one)
    return [by_id[one] for one in ids]


async def lock_agent(tx: Connection, tenant_id: UUID, agent_id: UUID) -> tuple[Agent, datetime]:
    """One agent, locked against other writers, and the transaction's time.

    Raises:
        NotFound: If there is none of this id.
    """
    row = await tx.fetchrow(QUERIES["lock_agent"], tenant_id, agent_id)
    if row is None:
        raise agent_missing(agent_id)
    return agent_of(row), row["read_at"]


async def lock_named_agents(
    tx: Connection, tenant_id: UUID, agent_type: str, names: Sequence[str]
) -> list[Agent]:
    """Agents of one type by name, locked against other writers."""
    rows = await tx.fetch(QUERIES["lock_named_agents"], tenant_id, agent_type, list(names))
    return [agent_of(row) for row in rows]


async def lock_file_agents(tx: Connection, tenant_id: UUID, agent_type: str) -> list[Agent]:
    """Agents that the registry file created, locked against other writers."""
    rows = await tx.fetch(QUERIES["lock_file_agents"], tenant_id, agent_type)
    return [agent_of(row) for row in rows]


async def lock_inventory(tx: Connection, tenant_id: UUID) -> datetime:
    """Waits until no other sync or import of the tenant runs; the transaction's time."""
    row = await tx.fetchrow(QUERIES["lock_inventory"], tenant_id)
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    read_at: datetime = row["read_at"]
    return read_at


async def find_created(tx: Connection, tenant_id: UUID, request_id: UUID) -> Taken | None:
    """The agent that a request created."""
    return _taken(await tx.fetchrow(QUERIES["find_created_agent"], tenant_id, request_id))


async def find_named(tx: Connection, tenant_id: UUID, agent_type: str, name: str) -> Taken | None:
    """The agent that holds a name."""
    return _taken(await tx.fetchrow(QUERIES["find_named_agent"], tenant_id, agent_type, name))


async def add_agents(
    tx: Connection,
    author: Author,
    action: str,
    new: Sequence[Agent],
    request_id: UUID | None = None,
) -> set[UUID]:
    """Adds agents whose names are free, marks those of the fleet for the tick, and records it.

    Args:
        tx: The caller's transaction.
        author: Who adds them.
        action: What the audit log calls it.
        new: The agents.
        request_id: Of the request that creates a single agent.

    Returns:
        The ids of those that were added; the others' names or request id were taken.
    """
    if not new:
        return set()
    columns = [list(column) for column in zip(*map(_new_row, new), strict=True)]
    rows = await tx.fetch(
        QUERIES["insert_agents"], author.tenant_id, *columns, [request_id] * len(new)
    )
    added = {row["id"] for row in rows}
    await changes.record(tx, author.tenant_id, ENTITY, list(added), Kind.CREATED)
    fleet = [one.id for one in new if one.id in added and one.state is not AgentState.CATALOG]
    await mark(tx, author.tenant_id, fleet)
    details = {
        one.id: {"type": one.type, "name": one.name, "state": one.state, "source": one.source}
        for one in new
        if one.id in added
    }
    await audit.record(tx, author, action, ENTITY, details)
    return added


async def save_agents(
    tx: Connection, author: Author, action: str, pairs: Sequence[tuple[Agent, Agent]]
) -> None:
    """Writes locked agents, each as (before, after); equal ones are left alone."""
    changed = [(old, new) for old, new in pairs if old != new]
    if not changed:
        return
    rows = [_saved_row(new) for _, new in changed]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await tx.execute(QUERIES["update_agents"], author.tenant_id, *columns)
    ids = [new.id for _, new in changed]
    await changes.record(tx, author.tenant_id, ENTITY, ids, Kind.UPDATED)
    moved = [new.id for old, new in changed if domain.moves_trust(old, new)]
    await mark(tx, author.tenant_id, moved)
    redefined = [new for old, new in changed if drift_domain.redefined(old.content, new.content)]
    await drift.judge(tx, author, redefined)
    details = {new.id: domain.changes(old, new) for old, new in changed}
    await audit.record(tx, author, action, ENTITY, details)


async def mark(tx: Connection, tenant_id: UUID, ids: Sequence[UUID]) -> None:
    """Makes the next trust tick compute agents anew."""
    if ids:
        await tx.execute(QUERIES["mark_agents"], tenant_id, ids)


async def lock_for_deletion(tx: Connection, tenant_id: UUID, agent_id: UUID) -> Agent:
    """One agent, locked, while nothing can be stored or computed of it.

    Raises:
        NotFound: If there is none of this id.
        Unavailable: If telemetry is being stored, or the agent written, for more than a moment.
    """
    async with standing_still(tx, QUERIES["hold_telemetry"]):
        return (await lock_agent(tx, tenant_id, agent_id))[0]


async def has_history(db: Connection, tenant_id: UUID, agent_id: UUID) -> bool:
    """Whether an agent ever reported."""
    found: bool = await db.fetchval(QUERIES["agent_has_history"], tenant_id, agent_id)
    return found


async def delete_agent(tx: Connection, author: Author, agent: Agent) -> bool:
    """Removes a locked agent, unless it ever reported; whether it is gone."""
    if await has_history(tx, author.tenant_id, agent.id):
        return False
    await tx.execute(QUERIES["delete_agent"], author.tenant_id, agent.id)
    await changes.record(tx, author.tenant_id, ENTITY, [agent.id], Kind.DELETED)
    await mark(tx, author.tenant_id, [agent.id])
    details = {agent.id: {"type": agent.type, "name": agent.name, "state": agent.state}}
    await audit.record(tx, author, "agents.delete", ENTITY, details)
    return True


def inventory_changed(missing: int) -> Conflict:
    """The error for names that were taken between reading and writing."""
    return Conflict(
        "INVENTORY_CHANGED",
        f"{missing} agents were created by someone else meanwhile; send the request again.",
        {"agents": str(missing)},
    )


def agent_of(row: Record) -> Agent:
    """The agent of a locked row."""
    return Agent(
        id=row["id"],
        type=row["type"],
        name=row["name"],
        state=AgentState(row["state"]),
        source=Source(row["source"]),
        content=Content(
            display_name=row["display_name"],
            description=row["description"],
            owner=row["owner"],
            version=row["version"],
            endpoint=endpoint_of(row["endpoint"]),
            capabilities=tuple(row["capabilities"]),
            tools=tools_of(row["tools"]),
            labels=json.loads(row["labels"]),
            criticality=Criticality(row["criticality"]),
            heartbeat_interval_seconds=row["heartbeat_interval_seconds"],
            latency_limit_us=row["latency_limit_us"],
        ),
        left_at=row["left_at"],
        counted_until=row["counted_until"],
        import_stamp=row["import_stamp"],
        revision=row["revision"],
    )


def endpoint_of(text: str) -> Endpoint:
    """The endpoint of a column."""
    found: Mapping[str, Any] = json.loads(text)
    return Endpoint(
        url=found.get("url", ""),
        command=found.get("command", ""),
        args=tuple(found.get("args", ())),
        env=found.get("env", {}),
    )


def tools_of(text: str) -> tuple[Tool, ...]:
    """The tools of a column."""
    return tuple(
        Tool(one["name"], one.get("description", ""), one.get("input_schema"))
        for one in json.loads(text)
    )


def _taken(row: Record | None) -> Taken | None:
    if row is None:
        return None
    state, source = AgentState(row["state"]), Source(row["source"])
    return Taken(row["id"], row["type"], row["name"], state, source)


def _new_row(agent: Agent) -> tuple[object, ...]:
    content = agent.content
    return (
        agent.id,
        agent.type,
        agent.name,
        content.display_name,
        content.description,
        agent.state,
        agent.source,
        content.owner,
        content.version,
        *_described(content),
        agent.import_stamp,
    )


def _saved_row(agent: Agent) -> tuple[object, ...]:
    content = agent.content
    return (
        agent.id,
        content.display_name,
        content.description,
        agent.state,
        agent.source,
        content.owner,
        content.version,
        *_described(content),
        agent.import_stamp,
        agent.left_at,
        agent.counted_until,
    )


def _described(content: Content) -> tuple[object, ...]:
    """The columns from endpoint to latency limit, in the order of both statements."""
    return (
        json.dumps(_endpoint_json(content.endpoint)),
        json.dumps(content.capabilities),
        json.dumps([_tool_json(tool) for tool in content.tools]),
        json.dumps(dict(content.labels)),
        content.criticality,
        content.heartbeat_interval_seconds,
        content.latency_limit_us,
    )


def _endpoint_json(endpoint: Endpoint) -> dict[str, object]:
    found = {
        "url": endpoint.url,
        "command": endpoint.command,
        "args": list(endpoint.args),
        "env": dict(endpoint.env),
    }
    return {key: value for key, value in found.items() if value}


def _tool_json(tool: Tool) -> dict[str, object]:
    found: dict[str, object] = {"name": tool.name, "description": tool.description}
    if tool.input_schema is not None:
        found["input_schema"] = tool.input_schema
    return found
