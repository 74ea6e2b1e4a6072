"""What reports read: everything of one report in one snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from orca_server.domain.reports import Thresholds
from orca_server.store import trust
from orca_server.store.database import Connection, Database, Record
from orca_server.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class SummaryRows:
    """The rows behind an executive summary.

    Attributes:
        trust: The score of the last tick.
        before: Earlier scores, by the instant that was asked for.
        owners: What owners' agents cost, the most expensive first.
        agents: What agents cost, the most expensive first.
        quiet: The first silent and the first unmeasured agents.
        stale: The first stale workflows.
        violations: The newest open violations.
        drift: The newest open drifts.
    """

    trust: Record
    before: dict[datetime, Record]
    owners: list[Record]
    agents: list[Record]
    quiet: list[Record]
    stale: list[Record]
    violations: list[Record]
    drift: list[Record]


@dataclass(frozen=True, slots=True)
class FindingRows:
    """The rows behind findings: agents and workflows, and the instant for which they hold."""

    as_of: datetime
    agents: list[Record]
    workflows: list[Record]


async def read_summary(
    db: Database, tenant_id: UUID, ages: Sequence[timedelta], limit: int
) -> SummaryRows | None:
    """The rows of a summary, in one snapshot; None before the first tick.

    Args:
        db: The database.
        tenant_id: The tenant.
        ages: How long before the last tick earlier scores are looked up.
        limit: Most rows of each list.
    """
    async with db.transaction(isolation="repeatable_read", readonly=True) as tx:
        return await summary_rows(tx, tenant_id, ages, limit)


async def summary_rows(
    tx: Connection, tenant_id: UUID, ages: Sequence[timedelta], limit: int
) -> SummaryRows | None:
    """The same within a transaction of the caller's."""
    current = await trust.get(tx, tenant_id)
    if current is None:
        return None
    instants = [current["as_of"] - age for age in ages]
    before = await tx.fetch(QUERIES["list_trust_before"], tenant_id, instants)
    return SummaryRows(
        trust=current,
        before={row["at"]: row for row in before},
        owners=await tx.fetch(QUERIES["list_owner_costs"], tenant_id, limit),
        agents=await tx.fetch(QUERIES["list_agent_costs"], tenant_id, limit),
        quiet=await tx.fetch(QUERIES["list_quiet_agents"], tenant_id, limit),
        stale=await tx.fetch(QUERIES["list_stale_workflows"], tenant_id, limit),
        violations=await tx.fetch(QUERIES["list_open_violations"], tenant_id, limit),
        drift=await tx.fetch(QUERIES["list_newest_drift"], tenant_id, limit),
    )


async def read_findings(
    db: Database, tenant_id: UUID, thresholds: Thresholds, limit: int
) -> FindingRows | None:
    """The rows of findings, in one snapshot; None before the first tick."""
    async with db.transaction(isolation="repeatable_read", readonly=True) as tx:
        return await finding_rows(tx, tenant_id, thresholds, limit)


async def finding_rows(
    tx: Connection, tenant_id: UUID, thresholds: Thresholds, limit: int
) -> FindingRows | None:
    """The same within a transaction of the caller's; `limit` bounds each kind."""
    current = await trust.get(tx, tenant_id)
    if current is None:
        return None
    agents = await tx.fetch(
        QUERIES["list_agent_findings"],
        tenant_id,
        limit,
        thresholds.least_operations,
        thresholds.errors_ppb,
        thresholds.health_ppb,
    )
    workflows = await tx.fetch(QUERIES["list_workflow_findings"], tenant_id, limit)
    return FindingRows(current["as_of"], agents, workflows)
