"""The tables of trust: what the tick writes, what GetTrust and its kin read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record

from orca_server.domain.changes import Kind
from orca_server.domain.fleet_trust import FleetSums
from orca_server.domain.trust import Band
from orca_server.store import changes
from orca_server.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class DirtyAgent:
    """An agent that must be computed: facts came, an operator changed something, or both."""

    tenant_id: UUID
    agent_id: UUID
    facts: bool
    told: bool


@dataclass(frozen=True, slots=True)
class TrustHead:
    """What the tick must know of a tenant's last score.

    Attributes:
        tenant_id: The tenant.
        summary: Its summary, JSON.
        digest: Digest of its digits.
        recorded_at: When its newest history row was written.
        recorded_digest: Digest of that row's digits.
    """

    tenant_id: UUID
    summary: str
    digest: str
    recorded_at: datetime | None
    recorded_digest: str


@dataclass(frozen=True, slots=True)
class TrustRow:
    """A tenant's score as it is written.

    Attributes:
        tenant_id: The tenant.
        trust_ppb: Score; None while nothing was ever measured.
        band: Class, or `unmeasured`.
        capped_by: What lowered the band.
        summary: Parts and counts, JSON.
        digest: Digest of the digits.
        record: Whether a history row is written.
    """

    tenant_id: UUID
    trust_ppb: int | None
    band: str
    capped_by: tuple[str, ...]
    summary: str
    digest: str
    record: bool


async def lock_tick(tx: Connection, *, wait: bool) -> bool:
    """Whether this transaction may tick; with `wait` it waits for that."""
    if wait:
        await tx.fetchval(QUERIES["lock_tick"])
        return True
    locked: bool = await tx.fetchval(QUERIES["try_lock_tick"])
    return locked


async def read_clock(tx: Connection) -> datetime:
    """The database's clock at this moment."""
    now: datetime = await tx.fetchval(QUERIES["read_clock"])
    return now


async def merge_inbox(tx: Connection) -> list[DirtyAgent]:
    """Takes the inbox into `agent_hours`; gives the agents to compute."""
    rows = await tx.fetch(QUERIES["merge_trust_inbox"])
    return [
        DirtyAgent(row["tenant_id"], row["agent_id"], row["facts"], row["told"]) for row in rows
    ]


async def enrol_reporting(tx: Connection, dirty: Sequence[DirtyAgent]) -> int:
    """Makes catalogue entries that reported active, and says so in the audit log."""
    reported = [agent for agent in dirty if agent.facts]
    if not reported:
        return 0
    rows = await tx.fetch(
        QUERIES["enrol_reporting_agents"],
        [agent.tenant_id for agent in reported],
        [agent.agent_id for agent in reported],
    )
    if rows:
        tenants, ids = [row["tenant_id"] for row in rows], [row["id"] for row in rows]
        await tx.execute(QUERIES["audit_reporting_agents"], tenants, ids)
        await changes.record_of_tenants(tx, tenants, "agent", ids, Kind.UPDATED)
    return len(rows)


async def mark_all(tx: Connection) -> None:
    """Puts every agent up for computing."""
    await tx.execute(QUERIES["mark_all_agents"])


async def compute_agents(
    tx: Connection, dirty: Sequence[DirtyAgent], as_of: datetime, baseline_ppb: int
) -> int:
    """Computes these agents and those whose deadline passed; gives their number."""
    count: int = await tx.fetchval(
        QUERIES["compute_agent_trust"],
        [agent.tenant_id for agent in dirty],
        [agent.agent_id for agent in dirty],
        [agent.facts for agent in dirty],
        as_of,
        baseline_ppb,
        [agent.told for agent in dirty],
    )
    return count


async def sum_fleets(tx: Connection) -> dict[UUID, FleetSums]:
    """Sums over the agents that count, by tenant."""
    return {row["tenant_id"]: _sums(row) for row in await tx.fetch(QUERIES["sum_fleets"])}


def _sums(row: Record) -> FleetSums:
    return FleetSums(
        agents=row["agents"],
        measured=row["measured"],
        idle=row["idle"],
        silent=row["silent"],
        success_ppb=int(row["success_ppb"]),
        adherence_ppb=int(row["adherence_ppb"]),
        weighted_level_ppb=int(row["weighted_level_ppb"]),
        weights=int(row["weights"]),
        bands={band: row[band.value] for band in Band},
        critical_agent=row["critical_agent"],
        operations=int(row["operations"]),
        violations=int(row["violations"]),
        cost_nano_usd=int(row["cost_nano_usd"]),
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
        baselines=row["baselines"],
        drifted=row["drifted"],
    )


async def list_worst(tx: Connection, tenants: Collection[UUID]) -> dict[UUID, list[Record]]:
    """The ten agents with the lowest trust, by tenant, lowest first."""
    worst: dict[UUID, list[Record]] = {tenant: [] for tenant in tenants}
    for row in await tx.fetch(QUERIES["list_worst_agents"], list(tenants)):
        worst[row["tenant_id"]].append(row)
    return worst


async def read_heads(tx: Connection) -> dict[UUID, TrustHead]:
    """The last score of each tenant."""
    rows = await tx.fetch(QUERIES["read_trust_heads"])
    return {
        row["tenant_id"]: TrustHead(
            row["tenant_id"],
            row["summary"],
            row["digest"],
            row["recorded_at"],
            row["recorded_digest"],
        )
        for row in rows
    }


async def touch(tx: Connection, as_of: datetime, interval: float, duration: float) -> None:
    """Says that all scores hold for a newer instant."""
    await tx.execute(QUERIES["touch_trust"], as_of, interval, duration)


async def write(
    tx: Connection, rows: Sequence[TrustRow], as_of: datetime, interval: float, duration: float
) -> None:
    """Writes the scores, and their history where a row says so."""
    await tx.execute(
        QUERIES["write_trust"],
        [row.tenant_id for row in rows],
        [row.trust_ppb for row in rows],
        [row.band for row in rows],
        [",".join(row.capped_by) for row in rows],
        [row.summary for row in rows],
        [row.digest for row in rows],
        [row.record for row in rows],
        as_of,
        interval,
        duration,
    )


async def get(connection: Connection, tenant_id: UUID) -> Record | None:
    """A tenant's score, or None before its first tick."""
    return await connection.fetchrow(QUERIES["get_trust"], tenant_id)


async def get_agent(connection: Connection, tenant_id: UUID, agent_id: UUID) -> Record | None:
    """An agent with its trust, or None if there is no such agent."""
    return await connection.fetchrow(QUERIES["get_agent_trust"], tenant_id, agent_id)


async def agent_exists(connection: Connection, tenant_id: UUID, agent_id: UUID) -> bool:
    """Whether there is such an agent."""
    exists: bool = await connection.fetchval(QUERIES["agent_exists"], tenant_id, agent_id)
    return exists


async def list_history(
    connection: Connection,
    tenant_id: UUID,
    agent_id: UUID | None,
    *,
    after: datetime,
    start: datetime,
    end: datetime,
    limit: int,
) -> list[Record]:
    """A page of the history of the fleet or of one agent, oldest first."""
    span = (after, start, end, limit)
    if agent_id is None:
        return list(await connection.fetch(QUERIES["list_fleet_history"], tenant_id, *span))
    return list(await connection.fetch(QUERIES["list_agent_history"], tenant_id, agent_id, *span))


async def count_history(
    connection: Connection, tenant_id: UUID, agent_id: UUID | None, start: datetime, end: datetime
) -> int:
    """How many rows that history has in all."""
    count: int
    if agent_id is None:
        count = await connection.fetchval(QUERIES["count_fleet_history"], tenant_id, start, end)
    else:
        count = await connection.fetchval(
            QUERIES["count_agent_history"], tenant_id, agent_id, start, end
        )
    return count


async def window_days(connection: Connection, tenant_id: UUID) -> list[Record]:
    """Facts of each day of each agent's window."""
    return list(await connection.fetch(QUERIES["sum_window_days"], tenant_id))


async def roll_up(connection: Connection, before: datetime, limit: int) -> int:
    """Moves hours before an instant into days; gives how many it moved."""
    count: int = await connection.fetchval(QUERIES["roll_up_hours"], before, limit)
    return count
