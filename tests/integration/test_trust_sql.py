"""The tick's SQL is the domain, digit by digit, over random histories on the real database."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings

from orca_server.domain.agents import AgentState
from orca_server.domain.fleet_trust import (
    CRITICALITY_WEIGHTS,
    FleetSums,
    TrustSettings,
    score_fleet,
)
from orca_server.domain.numbers import saturated
from orca_server.domain.trust import (
    AgentHour,
    AgentTrust,
    Band,
    Facts,
    Standing,
    TrustState,
    band_of,
    evaluate,
)
from orca_server.store import trust as store
from orca_server.store.database import Connection
from tests.histories import Stage, World, agent, record, staged
from tests.plays import Fleet, Steps, fleets, histories, play
from tests.servers import PostgresServer

FACTS = tuple(f.name for f in fields(Facts))
VALUES = (
    "success_ppb",
    "adherence_ppb",
    "level_ppb",
    "counted_success_ppb",
    "counted_adherence_ppb",
    "counted_level_ppb",
    "health_ppb",
)
MINUTE = timedelta(minutes=1)
Key = tuple[UUID, UUID]


@pytest.fixture(scope="module")
def stage(postgres: PostgresServer, bare_template: str) -> Iterator[Stage]:
    """One database for all examples of this module."""
    with staged(postgres, bare_template) as made:
        yield made


# What is in the database, as values of the domain.


@dataclass(slots=True)
class Seen:
    """One snapshot of the database."""

    agents: dict[Key, Any]
    hours: dict[Key, list[AgentHour]]
    trust: dict[Key, Any]
    current: dict[UUID, Any]
    stored: dict[Key, dict[datetime, AgentHour]]
    waiting: list[Any]
    history: dict[Key, Any]


async def look(world: World) -> Seen:
    """Reads all tables in one snapshot."""
    assert world.connection is not None
    async with world.connection.transaction(isolation="repeatable_read", readonly=True):
        agents = await world.fetch("SELECT * FROM agents WHERE state <> 'CATALOG'")
        hours = await world.fetch("SELECT * FROM agent_hours")
        trust = await world.fetch("SELECT * FROM agent_trust")
        current = await world.fetch("SELECT * FROM trust_current")
        telemetry = await world.fetch("SELECT * FROM telemetry")
        inbox = await world.fetch("SELECT * FROM trust_inbox WHERE hour IS NOT NULL")
        history = await world.fetch("SELECT * FROM agent_trust_history ORDER BY as_of")
    by_agent: dict[Key, list[AgentHour]] = defaultdict(list)
    for row in hours:
        by_agent[row["tenant_id"], row["agent_id"]].append(hour_of(row))
    return Seen(
        agents={(row["tenant_id"], row["id"]): row for row in agents},
        hours=by_agent,
        trust={(row["tenant_id"], row["agent_id"]): row for row in trust},
        current={row["tenant_id"]: row for row in current},
        stored=sum_telemetry(telemetry),
        waiting=inbox,
        history={(row["tenant_id"], row["agent_id"]): row for row in history},
    )


def hour_of(row: Any) -> AgentHour:
    """A row of agent_hours or trust_inbox."""
    facts = Facts(*(row[name] for name in FACTS))
    seen = (row["last_operation_at"], row["last_counted_at"], row["last_seen_at"])
    return AgentHour(row["hour"], facts, *seen)


def latest(*moments: datetime | None) -> datetime | None:
    """The newest of the moments that are there."""
    return max((at for at in moments if at is not None), default=None)


def merge(one: AgentHour, other: AgentHour) -> AgentHour:
    """Two parts of one hour together."""
    total = Facts(
        *(saturated(getattr(one.facts, name) + getattr(other.facts, name)) for name in FACTS)
    )
    return AgentHour(
        one.hour,
        total,
        latest(one.last_operation_at, other.last_operation_at),
        latest(one.last_counted_at, other.last_counted_at),
        latest(one.last_seen_at, other.last_seen_at),
    )


def sum_telemetry(rows: list[Any]) -> dict[Key, dict[datetime, AgentHour]]:
    """Hours as they follow from the records."""
    hours: dict[Key, dict[datetime, AgentHour]] = defaultdict(dict)
    for row in rows:
        at, counted, operations = row["observed_at"], row["counted"], row["operations"]
        timed = row["latency_us"] is not None
        facts = Facts(
            operations=operations,
            errors=row["errors"],
            violations=row["violations"],
            blocked_violations=row["blocked_violations"] or 0,
            latency_us=saturated((row["latency_us"] or 0) * operations),
            latency_operations=operations if timed else 0,
            cost_nano_usd=row["cost_nano_usd"] or 0,
            input_tokens=row["input_tokens"] or 0,
            output_tokens=row["output_tokens"] or 0,
        )
        hour = at.replace(minute=0, second=0, microsecond=0)
        operated_at = at if counted and operations else None
        new = AgentHour(
            hour, facts if counted else Facts(), operated_at, at if counted else None, at
        )
        agent_hours = hours[row["tenant_id"], row["agent_id"]]
        agent_hours[hour] = merge(agent_hours[hour], new) if hour in agent_hours else new
    return hours


# What must be equal.


def check_hours(seen: Seen) -> None:
    """Hours with what still waits for a tick are the sums of the records that count."""
    kept: dict[Key, dict[datetime, AgentHour]] = {
        key: {row.hour: row for row in rows} for key, rows in seen.hours.items()
    }
    for row in seen.waiting:
        new = hour_of(row)
        hours = kept.setdefault((row["tenant_id"], row["agent_id"]), {})
        hours[new.hour] = merge(hours[new.hour], new) if new.hour in hours else new
    assert kept == seen.stored


def expected_trust(seen: Seen, key: Key, as_of: datetime, baseline_ppb: int) -> AgentTrust:
    """The domain's verdict from all hours of an agent."""
    said = seen.agents[key]
    interval = said["heartbeat_interval_seconds"]
    standing = Standing(
        left_at=said["left_at"],
        counted_until=said["counted_until"],
        heartbeat_interval=None if interval is None else timedelta(seconds=interval),
        latency_limit_us=said["latency_limit_us"],
        overdue_at=said["overdue_at"],
    )
    return evaluate(seen.hours.get(key, []), standing, as_of, baseline_ppb)


def check_agent(seen: Seen, key: Key, trust: AgentTrust, as_of: datetime) -> None:
    """A row of agent_trust against the domain's verdict, every column."""
    row, hours = seen.trust[key], seen.hours.get(key, [])
    expected: dict[str, Any] = {name: getattr(trust, name) for name in VALUES}
    expected |= asdict(trust.window)
    expected |= {
        "state": trust.state.value,
        "window_end": trust.window_end,
        "recent_operations": trust.recent.operations,
        "recent_errors": trust.recent.errors,
        "last_operation_at": latest(*(each.last_operation_at for each in hours)),
        "last_counted_at": latest(*(each.last_counted_at for each in hours)),
        "last_seen_at": latest(*(each.last_seen_at for each in hours)),
        "in_fleet": trust.in_fleet,
        "criticality": seen.agents[key]["criticality"],
        "next_deadline_at": next_look(row, trust),
    }
    assert {name: row[name] for name in expected} == expected
    assert row["as_of"] <= as_of
    newest = seen.history[key]
    recorded = (row["recorded_at"], row["recorded_state"], row["recorded_ppb"])
    assert recorded == (newest["as_of"], newest["state"], newest["counted_level_ppb"])


def next_look(row: Any, trust: AgentTrust) -> datetime | None:
    """The deadline, or the instant from which a move that waits may be recorded."""
    moved = row["recorded_state"] != trust.state.value
    was, level = row["recorded_ppb"], trust.counted_level_ppb
    if was is not None and level is not None:
        moved |= abs(was - level) >= 5_000_000 or band_of(was) is not band_of(level)
    if not moved:
        return trust.next_deadline_at
    moments = [trust.next_deadline_at, row["recorded_at"] + MINUTE]
    return min(at for at in moments if at is not None)


def sum_fleet(seen: Seen, verdicts: dict[Key, AgentTrust], tenant: UUID) -> FleetSums:
    """Sums over the agents of a tenant that count."""
    fleet = [(key, one) for key, one in verdicts.items() if key[0] == tenant and one.in_fleet]
    valued = [(seen.agents[key]["criticality"], one) for key, one in fleet if one.window_end]
    levels = [(said, one.counted_level_ppb or 0) for said, one in valued]
    bands = [band_of(level) for _, level in levels]
    states = [one.state for _, one in fleet]
    totals = {
        name: sum(getattr(one.window, name) for _, one in fleet)
        for name in ("operations", "violations", "cost_nano_usd", "input_tokens", "output_tokens")
    }
    return FleetSums(
        agents=len(fleet),
        measured=states.count(TrustState.MEASURED),
        idle=states.count(TrustState.IDLE),
        silent=states.count(TrustState.SILENT),
        success_ppb=sum(one.counted_success_ppb or 0 for _, one in valued),
        adherence_ppb=sum(one.counted_adherence_ppb or 0 for _, one in valued),
        weighted_level_ppb=sum(CRITICALITY_WEIGHTS[said] * level for said, level in levels),
        weights=sum(CRITICALITY_WEIGHTS[said] for said, _ in levels),
        bands={band: bands.count(band) for band in Band} if fleet else {},
        critical_agent=any(
            said == "critical" and band_of(level) is Band.CRITICAL for said, level in levels
        ),
        **totals,
    )


def check_fleet(
    seen: Seen, verdicts: dict[Key, AgentTrust], tenant: UUID, chosen: TrustSettings
) -> None:
    """A tenant's row of trust_current against the domain's score."""
    row = seen.current[tenant]
    summary = json.loads(row["summary"])
    sums = sum_fleet(seen, verdicts, tenant)
    trust = score_fleet(sums, chosen)
    assert row["trust_ppb"] == trust.trust_ppb
    assert row["band"] == ("unmeasured" if trust.band is None else trust.band.value)
    assert tuple(row["capped_by"]) == trust.capped_by
    worst = sorted(
        (one.counted_level_ppb, key[1], one.state.value)
        for key, one in verdicts.items()
        if key[0] == tenant and one.in_fleet and one.counted_level_ppb is not None
    )[:10]
    assert [(each["ppb"], UUID(each["id"]), each["state"]) for each in summary["worst"]] == worst
    expected = {
        "components": {name: asdict(part) for name, part in trust.components.items()},
        "compliance_ppb": trust.compliance_ppb,
        "risk_avoided_nano_usd": trust.risk_avoided_nano_usd,
        "bands": {band.value: count for band, count in sums.bands.items()},
    }
    for name in ("agents", "measured", "idle", "silent"):
        expected[name] = getattr(sums, name)
    for name in ("cost_nano_usd", "input_tokens", "output_tokens"):
        expected[name] = getattr(sums, name)
    assert {name: summary[name] for name in expected} == expected


async def check(world: World) -> None:
    """All that a tick wrote, and all that it left, equals the domain at its instant."""
    seen, as_of = await look(world), world.now
    check_hours(seen)
    assert set(seen.trust) == set(seen.agents)
    if not world.held:  # else the tick leaves an agent alone whose row someone has locked
        assert set(seen.hours) <= set(seen.agents), "it reported and is not part of the fleet"
    verdicts = {
        key: expected_trust(seen, key, as_of, world.settings.baseline_ppb) for key in seen.agents
    }
    for key, verdict in verdicts.items():
        check_agent(seen, key, verdict, as_of)
    for tenant in seen.current:
        check_fleet(seen, verdicts, tenant, world.settings)
        assert seen.current[tenant]["as_of"] == as_of
    assert {key[0] for key in seen.agents} <= set(seen.current)


@settings(max_examples=settings().max_examples * 3 // 10)  # each plays up to 26 steps
@given(fleet=fleets(), history=histories)
def test_sql_and_domain_agree_on_every_digit(stage: Stage, fleet: Fleet, history: Steps) -> None:
    stage.runner.run(play(stage.world, fleet, history, check))


async def test_an_agent_that_reports_while_its_row_is_locked_joins_later(
    bare_database_url: str,
) -> None:
    world = World(bare_database_url)
    await world.prepare()
    await world.open()
    try:
        entry = agent(1, state=AgentState.CATALOG)
        await world.add(entry)
        await world.hold_change(entry.id, "edit", description="imported anew")
        await world.send(record(entry.id, world.now))
        await world.tick()
        await world.release()
        await world.tick()
        rows = await world.fetch("SELECT state FROM agent_trust")
        assert [row["state"] for row in rows] == ["measured"]
        await check(world)
    finally:
        await world.close()


async def test_what_is_told_while_a_tick_begins_has_happened_by_its_instant(
    bare_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(bare_database_url)
    await world.prepare()
    await world.open()
    merge = store.merge_inbox

    async def merge_a_moment_later(tx: Connection) -> list[store.DirtyAgent]:
        (clock,) = await world.fetch("SELECT clock_timestamp() AS now")
        world.now = clock["now"]
        await world.operate(one.id, "suspend")
        return await merge(tx)

    try:
        one = agent(1)
        await world.add(one)
        monkeypatch.setattr(store, "merge_inbox", merge_a_moment_later)
        as_of = await world.replicas[1].tick.tick(wait=True)
        assert as_of is not None
        assert as_of > world.now  # when it left; a deadline between the two would be missed
    finally:
        await world.close()


def test_digits_that_came_too_soon_are_recorded_a_minute_later(stage: Stage) -> None:
    async def play(world: World) -> list[int]:
        await world.close()
        await world.open()
        one = agent(1)
        await world.add(one)
        counts = []
        for span in (0, 10, 10, 70, 10):
            world.pass_time(timedelta(seconds=span))
            if span == 10 and len(counts) == 1:
                await world.send(record(one.id, world.now, 50))
            await world.tick()
            counts.append(len(await world.fetch("SELECT 1 FROM trust_snapshots")))
        return counts

    assert stage.runner.run(play(stage.world)) == [1, 1, 1, 2, 2]
