"""What a verification of trust reads: everything in one snapshot, a few agents at a time."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from orca_server.domain.trust import AgentHour, Facts
from orca_server.store.database import Connection, Record
from orca_server.store.queries import QUERIES

AGENTS_AT_A_TIME = 250
FETCH_SECONDS = 3_600.0
SUMS = tuple(field.name for field in fields(Facts))
NEWEST = ("last_operation_at", "last_counted_at", "last_seen_at")


@dataclass(frozen=True, slots=True)
class HourSides:
    """One number of an hour, as kept and as the records add up to it."""

    hour: datetime
    field: str
    kept: object
    told: object


@dataclass(frozen=True, slots=True)
class AgentHours:
    """Hours of one agent against its records.

    Attributes:
        hours: How many there are.
        expired: How many have lost records to retention, so that they cannot be checked.
        differing: Every number that differs in the others.
    """

    hours: int
    expired: int
    differing: tuple[HourSides, ...]


async def count_agents(db: Connection, tenant_id: UUID) -> int:
    """How many agents there are to verify."""
    count: int = await db.fetchval(QUERIES["count_agents_to_verify"], tenant_id)
    return count


async def lift_limit(tx: Connection) -> None:
    """Lets each statement of a transaction take its time."""
    await tx.execute(QUERIES["lift_statement_limit"])


async def get_fleet(tx: Connection, tenant_id: UUID) -> Record | None:
    """What the last tick wrote of the fleet; None before the first."""
    return await tx.fetchrow(QUERIES["verify_fleet"], tenant_id)


async def stream_agents(tx: Connection, tenant_id: UUID) -> AsyncIterator[list[Record]]:
    """All agents with what the last tick wrote of them, a few at a time, by a cursor."""
    cursor = await tx.cursor(QUERIES["verify_agents"], tenant_id, timeout=FETCH_SECONDS)
    while some := await cursor.fetch(AGENTS_AT_A_TIME, timeout=FETCH_SECONDS):
        yield some


async def compare_hours(
    tx: Connection, tenant_id: UUID, agents: Sequence[UUID], expired_before: datetime
) -> dict[UUID, AgentHours]:
    """Hours of some agents, with what waits for a tick, against the sums of their records.

    Args:
        tx: The snapshot.
        tenant_id: Whose agents.
        agents: Which.
        expired_before: Hours that start earlier may have lost records to retention.
    """
    rows = await tx.fetch(
        QUERIES["verify_hours"], tenant_id, agents, expired_before, timeout=FETCH_SECONDS
    )
    return {
        row["agent_id"]: AgentHours(
            row["hours"],
            row["expired"],
            tuple(
                side for each in json.loads(row["differing"] or "[]") for side in _differing(each)
            ),
        )
        for row in rows
    }


def _differing(found: dict[str, Any]) -> list[HourSides]:
    """The numbers of an hour that are not the same on both sides."""
    hour = datetime.fromisoformat(found["hour"])
    sides = []
    for names, suffix in ((SUMS, ""), (NEWEST, "_newest")):
        absent = [None] * len(names)
        kept, told = found[f"kept{suffix}"] or absent, found[f"told{suffix}"] or absent
        rows = zip(names, kept, told, strict=True)
        sides += [HourSides(hour, name, one, other) for name, one, other in rows if one != other]
    return sides


async def list_facts(
    tx: Connection, tenant_id: UUID, agents: Sequence[UUID]
) -> dict[UUID, list[AgentHour]]:
    """The hours from which the scores of some agents follow."""
    rows = await tx.fetch(QUERIES["verify_facts"], tenant_id, agents, timeout=FETCH_SECONDS)
    hours: dict[UUID, list[AgentHour]] = defaultdict(list)
    for row in rows:
        facts = Facts(*(row[name] for name in SUMS))
        hours[row["agent_id"]].append(
            AgentHour(row["hour"], facts, *(row[name] for name in NEWEST))
        )
    return hours


async def compare_violations(
    tx: Connection, tenant_id: UUID, agents: Sequence[UUID], expired_before: datetime
) -> list[Record]:
    """Violations of some agents by rule, as kept and as their records tell them."""
    rows: list[Record] = await tx.fetch(
        QUERIES["verify_violations"], tenant_id, agents, expired_before, timeout=FETCH_SECONDS
    )
    return rows
