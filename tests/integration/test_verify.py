"""`orca trust verify`: agrees with what ticks write, also meanwhile, and finds each corruption."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.runtime import verification
from orca_server.runtime.verification import Verification
from orca_server.store import verify as store
from tests.exercise import NOW, Exercise
from tests.histories import World, agent, random_records, record

ORCA = Path(sys.executable).with_name("orca")
ONE = agent(0)  # of the exercise: 5,000 good operations in one record


@pytest.fixture
async def world(bare_database_url: str) -> AsyncIterator[World]:
    """The history that touches every rule, played to its end."""
    world = World(bare_database_url)
    await world.prepare()
    await world.open()
    await Exercise().play(world)
    yield world
    await world.close()


async def verify(world: World, tenant: UUID = DEFAULT_TENANT) -> Verification:
    """What a verification finds."""
    database = world.replicas[0].database
    return await verification.verify(database, tenant, retention_days=90, now=world.now)


def told(found: Verification) -> list[tuple[str, str, str]]:
    """Check, place and number of each difference."""
    return [(each.check, each.where, each.field) for each in found.first]


async def test_it_agrees_with_what_the_ticks_wrote(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "AGENTS_AT_A_TIME", 7)  # so that the cursor is read in many pieces
    found = await verify(world)
    assert told(found) == []
    assert found.as_of == NOW
    (rows,) = await world.fetch(
        "SELECT (SELECT count(*) FROM agent_trust) AS agents, count(*) AS hours FROM agent_hours"
    )
    assert (found.agents, found.agents_waiting) == (rows["agents"], 0)
    assert (found.hours, found.hours_expired) == (rows["hours"], 0)
    assert not found.fleet_waiting


async def test_it_agrees_while_records_come_and_ticks_run(world: World) -> None:
    rng = Random(1)
    ids = [agent(number).id for number in range(40)]
    done = False

    async def live() -> None:
        while not done:
            await world.send(*random_records(rng, ids, world.now, 30))
            world.pass_time(timedelta(minutes=5))
            await world.tick()
            await world.operate(rng.choice(ids[:9]), rng.choice(["suspend", "resume"]))

    living = asyncio.create_task(live())
    reading = World(world.url)
    reading.replicas = [world.replicas[1]]
    for _ in range(6):
        reading.now = world.now
        assert told(await verify(reading)) == []
    done = True
    await living


async def test_what_came_since_the_tick_is_no_difference(world: World) -> None:
    await world.send(record(ONE.id, world.now, 9, 9))
    await world.operate(agent(1).id, "suspend")
    await world.operate(agent(2).id, "edit", latency_limit_us=1_000)
    await world.add(agent(800))
    found = await verify(world)
    assert (told(found), found.agents_waiting, found.fleet_waiting) == ([], 3, False)
    await world.delete(agent(800).id)
    assert (await verify(world)).fleet_waiting
    await world.tick()
    found = await verify(world)
    assert (told(found), found.agents_waiting, found.fleet_waiting) == ([], 0, False)


async def test_before_the_first_tick_there_is_nothing_to_verify(bare_database_url: str) -> None:
    world = World(bare_database_url)
    await world.prepare()
    await world.open()
    try:
        await world.add(ONE)
        found = await verify(world)
        assert (found.as_of, found.agents_waiting, told(found)) == (None, 1, [])
    finally:
        await world.close()


async def test_a_tenant_is_verified_by_itself(world: World) -> None:
    await world.execute("UPDATE agent_trust SET health_ppb = 0")
    assert (await verify(world, UUID(int=5))).differences == 0


OF_ONE = f"WHERE agent_id = '{ONE.id}'"
SUMMARY = "UPDATE trust_current SET summary = jsonb_set(summary, '{%s}', '%s')"
CORRUPTIONS = {
    "an hour that was changed": (
        f"UPDATE agent_hours SET errors = errors + 1 {OF_ONE}",
        {("hours", "mcp/agent-0", "errors"), ("agents", "mcp/agent-0", "success_ppb")},
    ),
    "an hour that was removed": (
        f"DELETE FROM agent_hours {OF_ONE}",
        {("hours", "mcp/agent-0", "operations"), ("agents", "mcp/agent-0", "state")},
    ),
    "an hour outside of the window": (
        "UPDATE agent_hours AS h SET operations = h.operations - 1 FROM agent_trust AS t"
        " WHERE t.agent_id = h.agent_id AND h.hour < t.window_end - interval '7 days'",
        {("hours", "mcp/agent-25", "operations")},
    ),
    "when it was seen last": (
        f"UPDATE agent_hours SET last_seen_at = last_seen_at - interval '1 s' {OF_ONE}",
        {("hours", "mcp/agent-0", "last_seen_at"), ("agents", "mcp/agent-0", "last_seen_at")},
    ),
    "a record that was altered": (
        f"UPDATE telemetry SET errors = 1 {OF_ONE}",
        {("hours", "mcp/agent-0", "errors")},
    ),
    "a record that was hidden": (
        f"UPDATE telemetry SET counted = false {OF_ONE}",
        {("hours", "mcp/agent-0", "operations"), ("hours", "mcp/agent-0", "last_counted_at")},
    ),
    "a record that was taken from an hour": (
        "DELETE FROM telemetry WHERE operations = 30 AND latency_us = 1900000",
        {("hours", "mcp/agent-50", "latency_us")},
    ),
    "a violation that was forgotten": (
        "DELETE FROM policy_violations WHERE violations > 0",
        {("violations", "mcp/agent-32", "violations of reported")},
    ),
    "a violation that nobody reported": (
        "INSERT INTO policy_violations (tenant_id, id, entity_type, entity_id, rule, violations,"
        " blocked_violations, first_seen_at, last_seen_at, created_at) SELECT tenant_id,"
        " new_uuid7(now()), 'agent', agent_id, 'made up', 1, 0, as_of, as_of, as_of"
        f" FROM agent_trust {OF_ONE}",
        {("violations", "mcp/agent-0", "violations of made up")},
    ),
    "a drift that nobody observed": (
        f"UPDATE agent_trust SET drifted = true {OF_ONE}",
        {("agents", "mcp/agent-0", "drifted"), ("fleet", "fleet", "drift_ppb")},
    ),
    "a rate of drift": (SUMMARY % ("drift_ppb", "1"), {("fleet", "fleet", "drift_ppb")}),
    "a level": (
        "UPDATE agent_trust SET level_ppb = level_ppb - 1,"
        f" counted_level_ppb = counted_level_ppb - 1 {OF_ONE}",
        {("agents", "mcp/agent-0", "level_ppb"), ("agents", "mcp/agent-0", "counted_level_ppb")},
    ),
    "a state": (
        f"UPDATE agent_trust SET state = 'idle' {OF_ONE}",
        {("agents", "mcp/agent-0", "state"), ("fleet", "fleet", "idle")},
    ),
    "a place in the fleet": (
        f"UPDATE agent_trust SET in_fleet = false {OF_ONE}",
        {("agents", "mcp/agent-0", "in_fleet"), ("fleet", "fleet", "agents")},
    ),
    "a deadline that nobody will look at": (
        f"UPDATE agent_trust SET next_deadline_at = NULL {OF_ONE}",
        {("agents", "mcp/agent-0", "next_deadline_at")},
    ),
    "a score that is gone": (
        f"DELETE FROM agent_trust {OF_ONE}",
        {("agents", "mcp/agent-0", "state"), ("fleet", "fleet", "agents")},
    ),
    "an agent changed behind the tick's back": (
        f"UPDATE agents SET criticality = 'low' WHERE id = '{ONE.id}'",
        {("agents", "mcp/agent-0", "criticality")},
    ),
    "an agent put back into the catalogue": (
        f"UPDATE agents SET state = 'CATALOG' WHERE id = '{ONE.id}'",
        {("agents", "mcp/agent-0", "state")},
    ),
    "the fleet's score": (
        "UPDATE trust_current SET trust_ppb = trust_ppb + 1",
        {("fleet", "fleet", "trust_ppb"), ("fleet", "fleet", "sum of contribution_ppb")},
    ),
    "the fleet's band": (
        "UPDATE trust_current SET band = 'excellent', capped_by = '{}'",
        {("fleet", "fleet", "band"), ("fleet", "fleet", "capped_by")},
    ),
    "a contribution": (
        SUMMARY % ("components,agent_uptime,contribution_ppb", "1"),
        {("fleet", "fleet", "components"), ("fleet", "fleet", "sum of contribution_ppb")},
    ),
    "a weight": (
        SUMMARY % ("components,agent_uptime,weight_ppb", "1"),
        {("fleet", "fleet", "components")},
    ),
    "a total": (SUMMARY % ("cost_nano_usd", "1"), {("fleet", "fleet", "cost_nano_usd")}),
    "the worst agents": (SUMMARY % ("worst", "[]"), {("fleet", "fleet", "worst")}),
}


async def test_each_corruption_is_found(world: World) -> None:
    missed = {}
    for name, (statement, expected) in CORRUPTIONS.items():
        transaction = world.connection.transaction()
        await transaction.start()
        assert not (await world.execute(statement)).endswith(" 0"), name
        found = Verification()
        await verification.check_snapshot(
            world.connection, DEFAULT_TENANT, NOW - timedelta(days=89), found
        )
        await transaction.rollback()
        if not expected <= set(told(found)):
            missed[name] = told(found)
    assert missed == {}


async def test_differences_are_counted_and_the_first_are_shown(world: World) -> None:
    await world.execute("UPDATE agent_hours SET errors = errors + 1, violations = violations + 1")
    found = await verify(world)
    assert found.differences == sum(found.by_check.values()) > 200
    assert len(found.first) == verification.SHOWN
    first = found.first[0]
    assert (first.check, first.field) == ("hours", "errors")
    assert first.stored == first.expected + 1


async def test_records_that_retention_took_are_told_as_expired(world: World) -> None:
    await world.execute(f"DELETE FROM telemetry {OF_ONE}")
    found = await verify(world)
    assert (told(found), found.hours_expired) == ([], 1)
    world.now = NOW + timedelta(days=90)  # what is left of an hour is less than it was
    await world.execute("DELETE FROM telemetry WHERE latency_us = 1900000")
    found = await verify(world)
    assert (told(found), found.hours_expired) == ([], 2)
    await world.execute("UPDATE telemetry SET operations = 11 WHERE latency_us = 9000000")
    found = await verify(world)  # more than it was is no work of retention
    assert {each.field for each in found.first} == {
        "operations",
        "latency_us",
        "latency_operations",
    }


def orca(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url,
        "ORCA_ANONYMOUS_ROLE": "viewer",
        "ORCA_ENV_FILE": os.devnull,
    }
    return subprocess.run(
        [ORCA, "trust", "verify", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_the_command_says_what_it_found(bare_database_url: str) -> None:
    world = World(bare_database_url)
    await world.prepare()
    await world.open()
    try:
        world.now = datetime.now(UTC)
        await world.add(ONE, agent(1))
        await world.send(record(ONE.id, world.now, 10))
        await world.tick()
        agrees = await asyncio.to_thread(orca, bare_database_url)
        assert (agrees.returncode, agrees.stderr) == (0, "")
        assert "agrees with the rows" in agrees.stdout
        await world.execute("UPDATE agent_trust SET success_ppb = 1 WHERE success_ppb IS NOT NULL")
        differs = await asyncio.to_thread(orca, bare_database_url, "--output", "json")
        assert differs.returncode == 1
        document = json.loads(differs.stdout)
        assert (document["agrees"], document["differences"]) == (False, 1)
        assert document["first"] == [
            {
                "check": "agents",
                "where": "mcp/agent-0",
                "hour": None,
                "field": "success_ppb",
                "stored": 1,
                "expected": 900_000_000,
            }
        ]
    finally:
        await world.close()


def test_the_command_says_when_the_database_is_away() -> None:
    away = orca("postgresql://orca:x@127.0.0.1:1/orcamesh")
    assert away.returncode == 1
    assert away.stderr == "orca: The database does not answer: connection refused.\n"
