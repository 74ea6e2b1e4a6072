"""What was observed of agents, and their drift: written under the agents' locks, listed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orca_server.domain import drift as domain
from orca_server.domain.agents import Agent
from orca_server.domain.errors import NotFound
from orca_server.store.audit import Author
from orca_server.store.database import Connection, Record
from orca_server.store.listings import DRIFT
from orca_server.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Observation:
    """What was observed last of a field of an agent, as JSON."""

    agent_id: UUID
    rule: str
    value: Any
    observed_at: datetime


async def list_observations(
    tx: Connection, tenant_id: UUID, agents: Sequence[UUID]
) -> list[Observation]:
    """What was observed last of agents."""
    return [
        Observation(row["agent_id"], row["rule"], json.loads(row["value"]), row["observed_at"])
        for row in await tx.fetch(QUERIES["list_observations"], tenant_id, agents)
    ]


async def save_observations(
    tx: Connection, author: Author, agent_id: UUID, values: Mapping[str, Any], at: datetime
) -> None:
    """Writes what was observed of a locked agent, by rule."""
    if values:
        await tx.execute(
            QUERIES["save_observations"],
            author.tenant_id,
            agent_id,
            list(values),
            [json.dumps(value) for value in values.values()],
            at,
            author.subject,
        )


async def judge(
    tx: Connection, author: Author, agents: Sequence[Agent], seen: Collection[str] = ()
) -> None:
    """Compares what was observed of locked agents with what is accepted, and writes their drift.

    Args:
        tx: The caller's transaction.
        author: Who observed, or changed what is accepted.
        agents: As they are accepted now.
        seen: Rules that were observed just now; else only what is accepted has changed.
    """
    by_id = {agent.id: agent for agent in agents}
    found = await list_observations(tx, author.tenant_id, list(by_id)) if by_id else []
    if not found:
        return
    entries = [_entry(by_id[one.agent_id], one, one.rule in seen) for one in found]
    moved = await tx.fetch(
        QUERIES["save_drift"],
        author.tenant_id,
        *(list(column) for column in zip(*entries, strict=True)),
        author.subject,
    )
    await mark(tx, author.tenant_id, [row["entity_id"] for row in moved])


def _entry(agent: Agent, one: Observation, seen: bool) -> tuple[object, ...]:
    """The columns of `save_drift` after the tenant."""
    found = domain.compare(one.rule, domain.accepted(agent.content, one.rule), one.value)
    kept = [{"path": each.path, **each.sides} for each in found[: domain.MOST_DIFFERENCES]]
    return (
        agent.id,
        one.rule,
        json.dumps(kept) if kept else None,
        len(found),
        domain.digest(one.value),
        one.observed_at,
        seen,
    )


async def mark(tx: Connection, tenant_id: UUID, agents: Collection[UUID]) -> None:
    """Makes the next tick take the drift of agents into the fleet's."""
    if agents:
        await tx.execute(QUERIES["mark_drift"], tenant_id, list(agents))


async def merge(tx: Connection) -> int:
    """Takes the marks into `agent_trust`, after the tick computed it; how many agents it was."""
    count: int = await tx.fetchval(QUERIES["merge_drift_inbox"])
    return count


async def find_agent(tx: Connection, tenant_id: UUID, drift_id: UUID) -> UUID:
    """The agent of a drift.

    Raises:
        NotFound: If there is none of this id (`DRIFT_NOT_FOUND`).
    """
    found: UUID | None = await tx.fetchval(QUERIES["find_drift_agent"], tenant_id, drift_id)
    if found is None:
        raise NotFound(
            "DRIFT_NOT_FOUND", f"No drift has id '{drift_id}'.", {"drift_id": str(drift_id)}
        )
    return found


async def get(tx: Connection, tenant_id: UUID, drift_id: UUID) -> Record:
    """A drift that is there."""
    row = await tx.fetchrow(DRIFT.one, tenant_id, drift_id)
    assert row is not None  # noqa: S101 - find_agent() found it, and nothing deletes drift
    return row


async def list_open(tx: Connection, tenant_id: UUID, agent_id: UUID) -> list[Record]:
    """The open drift of an agent, by rule."""
    ids = await tx.fetch(QUERIES["list_open_drift"], tenant_id, agent_id)
    rows: list[Record] = await tx.fetch(DRIFT.some, tenant_id, [row["id"] for row in ids])
    return sorted(rows, key=lambda row: str(row["rule"]))


async def accept(tx: Connection, author: Author, drift_id: UUID) -> None:
    """Resolves an open drift as accepted."""
    await tx.execute(
        QUERIES["accept_drift"], author.tenant_id, drift_id, author.subject, author.reason
    )
