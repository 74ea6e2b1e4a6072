"""Verifies trust from the rows: records give hours, hours give scores, scores give the fleet's.

It takes one snapshot, so it may run while servers write. What has come since the last tick is no
difference: records wait in the inbox, and an agent that an operator changed waits for its tick.
"""

import heapq
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from orca_server.domain import trust as domain
from orca_server.domain.fleet_trust import (
    CRITICALITY_WEIGHTS,
    FleetSums,
    FleetTrust,
    TrustSettings,
    WorkflowSums,
    score_fleet,
)
from orca_server.domain.trust import AgentHour, AgentTrust, Band, Standing, TrustState, band_of
from orca_server.store import runs
from orca_server.store import verify as store
from orca_server.store.database import Connection, Database, Record

SHOWN = 20
CHECKS = ("hours", "violations", "agents", "fleet")
WORST = 10
FUTURE = timedelta(minutes=5)  # a record may be observed this long after it was stored
VALUES = (
    "success_ppb",
    "adherence_ppb",
    "level_ppb",
    "counted_success_ppb",
    "counted_adherence_ppb",
    "counted_level_ppb",
    "health_ppb",
    "window_end",
    "in_fleet",
)
VIOLATIONS = ("violations", "blocked_violations")
TOTALS = ("operations", "violations", "cost_nano_usd", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Difference:
    """One number that is not what it should be.

    Attributes:
        check: `hours`, `violations`, `agents` or `fleet`.
        where: The agent as type/name, or the fleet.
        hour: Start of the hour, for `hours`.
        field: The number.
        stored: What is stored.
        expected: What it should be.
    """

    check: str
    where: str
    hour: datetime | None
    field: str
    stored: object
    expected: object


@dataclass(slots=True)
class Verification:
    """What was checked and what was found.

    Attributes:
        as_of: Instant of the tick that was checked; None if there was none yet.
        hours: Hours of agents, all that were looked at.
        hours_expired: Those whose records are gone, wholly or in part: nothing to check against.
        violations: Rules that agents broke, counted per agent.
        violations_expired: Those of them whose records may be gone.
        agents: Agents whose scores were computed anew.
        agents_waiting: Agents that an operator changed since the tick.
        fleet_waiting: Whether an agent was deleted since the tick.
        differences: How many numbers differ.
        first: The first of them.
    """

    as_of: datetime | None = None
    hours: int = 0
    hours_expired: int = 0
    violations: int = 0
    violations_expired: int = 0
    agents: int = 0
    agents_waiting: int = 0
    fleet_waiting: bool = False
    differences: int = 0
    first: list[Difference] = field(default_factory=list)
    by_check: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))

    def add(self, difference: Difference) -> None:
        """Counts a difference, and keeps it if it is one of the first."""
        self.differences += 1
        self.by_check[difference.check] += 1
        if len(self.first) < SHOWN:
            self.first.append(difference)


async def verify(
    db: Database,
    tenant_id: UUID,
    *,
    retention_days: int,
    now: datetime,
    advance: Callable[[int], None] = lambda agents: None,
) -> Verification:
    """Verifies one tenant's trust in one snapshot.

    Args:
        db: Any database that holds the rows; a standby will do.
        tenant_id: Whose trust.
        retention_days: How long telemetry is kept; older hours may have lost records.
        now: Present instant, from which retention counts.
        advance: Told each time how many more agents are done.

    Raises:
        Unavailable: If the database does not answer.
    """
    expired_before = now - timedelta(days=retention_days) + FUTURE
    found = Verification()
    async with db.transaction(isolation="repeatable_read", readonly=True) as tx:
        await check_snapshot(tx, tenant_id, expired_before, found, advance)
    return found


async def check_snapshot(
    tx: Connection,
    tenant_id: UUID,
    expired_before: datetime,
    found: Verification,
    advance: Callable[[int], None] = lambda agents: None,
) -> None:
    """Adds to `found` what one transaction sees; hours before `expired_before` may lack records."""
    await store.lift_limit(tx)
    fleet, totals = await store.get_fleet(tx, tenant_id), _Totals()
    chosen = TrustSettings() if fleet is None else _settings_of(fleet)
    found.as_of = None if fleet is None else fleet["as_of"]
    async for agents in store.stream_agents(tx, tenant_id):
        await _check_hours(tx, tenant_id, agents, expired_before, found)
        await _check_violations(tx, tenant_id, agents, expired_before, found)
        await _check_agents(tx, tenant_id, agents, chosen, found)
        for row in agents:
            totals.add(row)
        advance(len(agents))
    if fleet is not None:
        workflows = (await runs.sum_workflows(tx)).get(tenant_id, WorkflowSums())
        _check_fleet(fleet, totals.sums(workflows), totals, chosen, found)


def _settings_of(fleet: Record) -> TrustSettings:
    """What an operator had chosen when the tick ran."""
    return TrustSettings(**json.loads(fleet["summary"])["settings"])


def _name(row: Record) -> str:
    return f"{row['type']}/{row['name']}"


async def _check_hours(
    tx: Connection,
    tenant_id: UUID,
    agents: list[Record],
    expired_before: datetime,
    found: Verification,
) -> None:
    names = {row["id"]: _name(row) for row in agents}
    compared = await store.compare_hours(tx, tenant_id, list(names), expired_before)
    for agent_id, hours in compared.items():
        found.hours += hours.hours
        found.hours_expired += hours.expired
        for side in hours.differing:
            where = names[agent_id]
            found.add(Difference("hours", where, side.hour, side.field, side.kept, side.told))


async def _check_violations(
    tx: Connection,
    tenant_id: UUID,
    agents: list[Record],
    expired_before: datetime,
    found: Verification,
) -> None:
    names = {row["id"]: _name(row) for row in agents}
    for row in await store.compare_violations(tx, tenant_id, list(names), expired_before):
        found.violations += 1
        found.violations_expired += row["expired"]
        for name, kept, told in zip(VIOLATIONS, row["kept"], row["told"], strict=True):
            if kept != told and not row["expired"]:
                where, what = names[row["agent_id"]], f"{name} of {row['rule']}"
                found.add(Difference("violations", where, None, what, int(kept), int(told)))


async def _check_agents(
    tx: Connection,
    tenant_id: UUID,
    agents: list[Record],
    chosen: TrustSettings,
    found: Verification,
) -> None:
    facts = await store.list_facts(tx, tenant_id, [row["id"] for row in agents])
    for row in agents:
        hours = facts.get(row["id"], [])
        if row["state"] is None or row["agent_state"] == "CATALOG":
            _check_absence(row, hours, found)
        elif row["changed"]:
            found.agents_waiting += 1
        elif found.as_of is not None:
            found.agents += 1
            trust = domain.evaluate(hours, _standing(row), found.as_of, chosen.baseline_ppb)
            _check_agent(row, hours, trust, found)


def _check_absence(row: Record, hours: list[AgentHour], found: Verification) -> None:
    """An agent without a score is in the catalogue and never reported, or waits for its tick."""
    if row["waiting"]:
        found.agents_waiting += 1
    elif row["agent_state"] != "CATALOG" or hours:
        found.add(Difference("agents", _name(row), None, "state", row["state"], "a score"))


def _standing(row: Record) -> Standing:
    seconds = row["heartbeat_interval_seconds"]
    return Standing(
        left_at=row["left_at"],
        counted_until=row["counted_until"],
        heartbeat_interval=None if seconds is None else timedelta(seconds=seconds),
        latency_limit_us=row["said_latency_limit_us"],
        overdue_at=row["overdue_at"],
    )


def _check_agent(
    row: Record, hours: list[AgentHour], trust: AgentTrust, found: Verification
) -> None:
    expected: dict[str, Any] = {"state": trust.state.value, **asdict(trust.window)}
    expected |= {name: getattr(trust, name) for name in VALUES}
    expected["recent_operations"] = trust.recent.operations
    expected["recent_errors"] = trust.recent.errors
    expected["criticality"] = row["said_criticality"]
    if not row["drift_waiting"]:
        expected["drifted"] = row["said_drifted"]
    for name in store.NEWEST:
        moments = (getattr(each, name) for each in hours)
        expected[name] = max((at for at in moments if at is not None), default=None)
    for name, value in expected.items():
        if row[name] != value:
            found.add(Difference("agents", _name(row), None, name, row[name], value))
    looked_at, deadline = row["next_deadline_at"], trust.next_deadline_at
    if deadline is not None and (looked_at is None or looked_at > deadline):
        where = _name(row)
        found.add(Difference("agents", where, None, "next_deadline_at", looked_at, deadline))


@dataclass(slots=True)
class _Totals:
    """Sums over the agents that count, as their rows are stored."""

    states: dict[str, int] = field(default_factory=dict)
    bands: dict[Band, int] = field(default_factory=lambda: dict.fromkeys(Band, 0))
    values: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("success", "adherence", "level", "weights"), 0)
    )
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOTALS, 0))
    critical_agent: bool = False
    baselines: int = 0
    drifted: int = 0
    levels: list[tuple[int, UUID]] = field(default_factory=list)

    def add(self, row: Record) -> None:
        """Takes an agent in, if it counts."""
        if not row["in_fleet"]:
            return
        self.states[row["state"]] = self.states.get(row["state"], 0) + 1
        for name in TOTALS:
            self.totals[name] += row[name]
        self.baselines += row["drifted"] is not None
        self.drifted += row["drifted"] is True
        level = row["counted_level_ppb"]
        if level is None:
            return
        band, weight = band_of(level), CRITICALITY_WEIGHTS[row["criticality"]]
        self.bands[band] += 1
        self.values["success"] += row["counted_success_ppb"]
        self.values["adherence"] += row["counted_adherence_ppb"]
        self.values["level"] += weight * level
        self.values["weights"] += weight
        self.critical_agent |= row["criticality"] == "critical" and band is Band.CRITICAL
        self.levels.append((level, row["id"]))

    def sums(self, workflows: WorkflowSums) -> FleetSums:
        """The same as the domain takes it, with the workflows beside them."""
        return FleetSums(
            workflows=workflows,
            agents=sum(self.states.values()),
            measured=self.states.get(TrustState.MEASURED.value, 0),
            idle=self.states.get(TrustState.IDLE.value, 0),
            silent=self.states.get(TrustState.SILENT.value, 0),
            success_ppb=self.values["success"],
            adherence_ppb=self.values["adherence"],
            weighted_level_ppb=self.values["level"],
            weights=self.values["weights"],
            bands=self.bands,
            critical_agent=self.critical_agent,
            baselines=self.baselines,
            drifted=self.drifted,
            **self.totals,
        )


def _check_fleet(
    fleet: Record, sums: FleetSums, totals: _Totals, chosen: TrustSettings, found: Verification
) -> None:
    if fleet["changed"]:
        found.fleet_waiting = True
        return
    summary = json.loads(fleet["summary"])
    stored = {"trust_ppb": fleet["trust_ppb"], "band": fleet["band"]}
    stored |= {"capped_by": list(fleet["capped_by"])}
    expected = _expected_fleet(sums, score_fleet(sums, chosen))
    worst = heapq.nsmallest(WORST, totals.levels)
    expected["worst"] = [[ppb, str(agent_id)] for ppb, agent_id in worst]
    stored["worst"] = [[each["ppb"], each["id"]] for each in summary["worst"]]
    stored["bands"] = {band.value: summary["bands"].get(band.value, 0) for band in Band}
    stored |= {name: summary.get(name) for name in expected if name not in stored}
    for name, value in expected.items():
        if stored[name] != value:
            found.add(Difference("fleet", "fleet", None, name, stored[name], value))
    parts = [part["contribution_ppb"] for part in summary["components"].values()]
    added = sum(part for part in parts if part is not None)
    if fleet["trust_ppb"] is not None and added != fleet["trust_ppb"]:
        name = "sum of contribution_ppb"
        found.add(Difference("fleet", "fleet", None, name, added, fleet["trust_ppb"]))


def _expected_fleet(sums: FleetSums, trust: FleetTrust) -> dict[str, Any]:
    return {
        "trust_ppb": trust.trust_ppb,
        "band": "unmeasured" if trust.band is None else trust.band.value,
        "capped_by": list(trust.capped_by),
        "components": {name: asdict(part) for name, part in trust.components.items()},
        "compliance_ppb": trust.compliance_ppb,
        "risk_avoided_nano_usd": trust.risk_avoided_nano_usd,
        "drift_ppb": trust.drift_ppb,
        "drift": {"baselines": sums.baselines, "drifted": sums.drifted},
        "bands": {band.value: count for band, count in sums.bands.items()},
        "agents": sums.agents,
        "measured": sums.measured,
        "idle": sums.idle,
        "silent": sums.silent,
        "workflows": asdict(sums.workflows),
        "cost_nano_usd": sums.cost_nano_usd,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
    }
