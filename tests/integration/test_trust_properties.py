"""What nobody can gain by: silence, leaving, retries, heartbeats, deleted or rolled-up rows."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orca_server.domain.agents import Agent
from orca_server.domain.numbers import PPB
from orca_server.domain.telemetry import MAX_COUNT, Row
from orca_server.store import trust as store
from orca_server.store.queries import QUERIES
from tests.histories import (
    Stage,
    World,
    agent,
    heartbeat,
    random_content,
    random_records,
    random_requests,
    record,
    staged,
)
from tests.servers import PostgresServer

# The operations guide's own words.
GUIDE_DELETE = "DELETE FROM telemetry WHERE created_at < NOW() - INTERVAL '90 days';"
INSTANT = timedelta(microseconds=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
SCORES = ("counted_success_ppb", "counted_adherence_ppb", "counted_level_ppb", "health_ppb")
seeds = st.integers(min_value=0, max_value=2**32)
few = settings(max_examples=settings().max_examples // 12)
Edit = Callable[[Row], Row]


@pytest.fixture(scope="module")
def stage(postgres: PostgresServer, bare_template: str) -> Iterator[Stage]:
    """One database for all tests of this module."""
    with staged(postgres, bare_template) as made:
        yield made
        made.runner.run(made.world.close())


def same(row: Row) -> Row:
    """The record as it is."""
    return row


async def grow(
    world: World,
    seed: int,
    *,
    edit: Edit = same,
    beating: bool = True,
    roll_up: bool = False,
) -> list[Agent]:
    """A few agents and weeks of their records, from an empty database; ends with a tick."""
    rng = Random(seed)
    await world.close()
    await world.open()
    agents = [agent(number, **random_content(rng)) for number in range(rng.randint(2, 7))]
    if not beating:
        agents = [
            replace(one, content=replace(one.content, heartbeat_interval_seconds=None))
            for one in agents
        ]
    await world.add(*agents)
    known: list[Row] = []
    for _ in range(3):
        rows = random_records(rng, [one.id for one in agents[:-1]], world.now, rng.randint(5, 90))
        requests = random_requests(rng, rows, known)
        known += rows
        await world.deliver([[edit(row) for row in request] for request in requests])
        await world.tick()
        if roll_up:
            await roll_up_all(world)
        world.pass_time(rng.choice([timedelta(minutes=7), timedelta(hours=20), 9 * DAY]))
    await world.tick()
    return agents


@dataclass(frozen=True, slots=True)
class Digits:
    """All that the last tick says."""

    agents: dict[Any, dict[str, Any]]
    summary: dict[str, Any]
    trust_ppb: int | None
    band: str

    def scores(self) -> dict[Any, int]:
        """Every score: of each agent, each component, and the fleet."""
        found: dict[Any, int] = {
            (key, name): row[name] for key, row in self.agents.items() for name in SCORES
        }
        found |= {name: part["ppb"] for name, part in self.summary["components"].items()}
        found["compliance"] = self.summary["compliance_ppb"]
        found["risk avoided"] = self.summary["risk_avoided_nano_usd"]
        found["fleet"] = self.trust_ppb
        return {name: value for name, value in found.items() if value is not None}


async def digits(world: World) -> Digits:
    """What the last tick wrote."""
    agents = await world.fetch("SELECT * FROM agent_trust")
    (current,) = await world.fetch("SELECT * FROM trust_current")
    return Digits(
        {row["agent_id"]: dict(row) for row in agents},
        json.loads(current["summary"]),
        current["trust_ppb"],
        current["band"],
    )


async def computed_anew(world: World) -> Digits:
    """What a tick writes that computes every agent once more."""
    await world.execute(QUERIES["mark_all_agents"])
    await world.tick()
    return await digits(world)


def check_never_above(later: Digits, earlier: Digits) -> None:
    """No score is higher than before, and none came or went."""
    before, after = earlier.scores(), later.scores()
    assert before.keys() == after.keys()
    raised = {name: (before[name], after[name]) for name in after if after[name] > before[name]}
    assert raised == {}
    bands = ["excellent", "good", "moderate", "critical", "unmeasured"]
    assert bands.index(later.band) >= bands.index(earlier.band)


def check_parts(found: Digits) -> None:
    """Contributions add up to the score, weights to one."""
    parts = found.summary["components"].values()
    if found.trust_ppb is None:
        assert all(part["contribution_ppb"] is None for part in parts)
        return
    assert sum(part["contribution_ppb"] or 0 for part in parts) == found.trust_ppb
    assert sum(part["weight_ppb"] for part in parts) == PPB


async def wait_until_next_deadline(world: World, rng: Random) -> None:
    """Moves to just before, at or after the next deadline, or by some span."""
    (row,) = await world.fetch(
        "SELECT min(next_deadline_at) AS at FROM agent_trust WHERE next_deadline_at > $1", world.now
    )
    if row["at"] is not None and rng.random() < 0.8:
        world.now = max(world.now, row["at"] + rng.choice([-INSTANT, timedelta(), INSTANT]))
    else:
        world.pass_time(rng.choice([timedelta(seconds=61), timedelta(hours=25), 30 * DAY]))


@few
@given(seed=seeds)
def test_going_quiet_never_raises_a_score(stage: Stage, seed: int) -> None:
    async def play(world: World) -> None:
        rng = Random(seed)
        await grow(world, seed)
        before = await digits(world)
        for _ in range(12):
            await wait_until_next_deadline(world, rng)
            await world.tick()
            now = await digits(world)
            check_never_above(now, before)
            check_parts(now)
            before = now

    stage.runner.run(play(stage.world))


LEAVING = (
    ("suspend",),
    ("retire",),
    ("suspend", "retire"),
    ("suspend", "resume", "suspend"),
    ("suspend", "resume", "retire"),
)


@few
@given(seed=seeds, steps=st.sampled_from(LEAVING), silent=st.booleans())
def test_leaving_never_raises_a_score_for_a_week(
    stage: Stage, seed: int, steps: Sequence[str], silent: bool
) -> None:
    async def play(world: World) -> None:
        rng = Random(seed)
        agents = await grow(world, seed)
        if silent:
            world.pass_time(91 * DAY)
            await world.tick()
        before = await digits(world)
        leaver = rng.choice(agents)
        for step in steps:
            await world.operate(leaver.id, step)
            assert await world.add(leaver) == set()  # its name is taken: no new beginning
            end = world.now + (WEEK if step == steps[-1] else rng.random() * WEEK) - INSTANT
            for moment in sorted({world.now, world.now + rng.random() * (end - world.now), end}):
                world.now = moment
                await world.tick()
                now = await digits(world)
                check_never_above(now, before)
                before = now

    stage.runner.run(play(stage.world))


def retried(row: Row) -> Row:
    """The same record, in which each operation took three attempts."""
    return (*row[:6], min(3 * row[3], MAX_COUNT), *row[7:])  # type: ignore[return-value]


def untold(row: Row) -> Row:
    """The same record, which says nothing of attempts."""
    return (*row[:6], None, *row[7:])  # type: ignore[return-value]


@few
@given(seed=seeds)
def test_retries_told_as_attempts_change_nothing(stage: Stage, seed: int) -> None:
    async def play(world: World) -> list[Digits]:
        found = []
        for edit in (untold, retried):
            await grow(world, seed, edit=edit)
            found.append(await digits(world))
        return found

    without, with_retries = stage.runner.run(play(stage.world))
    assert without == with_retries


@few
@given(seed=seeds)
def test_heartbeats_change_nothing_but_when_an_agent_was_seen(stage: Stage, seed: int) -> None:
    async def play(world: World) -> None:
        rng = Random(seed)
        agents = await grow(world, seed, beating=False)
        before = await computed_anew(world)
        beats = [
            heartbeat(rng.choice(agents).id, world.now - rng.random() * 3 * DAY) for _ in range(40)
        ]
        await world.send(*beats)
        after = await computed_anew(world)
        for row in (*before.agents.values(), *after.agents.values()):
            row.update(last_seen_at=None, last_counted_at=None, cause=None)
        assert after == before

    stage.runner.run(play(stage.world))


@pytest.mark.parametrize(("idle_days", "state"), [(0, "measured"), (2, "idle"), (91, "silent")])
def test_a_heartbeat_ends_the_silence_of_a_missed_heartbeat_only(
    stage: Stage, idle_days: int, state: str
) -> None:
    async def play(world: World) -> list[Any]:
        await world.close()
        await world.open()
        one = agent(1, heartbeat_interval_seconds=3_600)
        await world.add(one)
        await world.send(record(one.id, world.now, 50))
        world.pass_time(idle_days * DAY + timedelta(minutes=66))
        states = []
        for sent in ([], [heartbeat(one.id, world.now)]):
            await world.deliver([sent])
            await world.tick()
            states.append((await digits(world)).agents[one.id])
        return states

    missed, alive = stage.runner.run(play(stage.world))
    assert (missed["state"], missed["counted_level_ppb"]) == ("silent", 500_000_000)
    assert alive["state"] == state
    expected = 500_000_000 if state == "silent" else alive["level_ppb"]
    assert alive["counted_level_ppb"] == expected


@few
@given(seed=seeds, share=st.sampled_from([0.3, 1.0]))
def test_deleting_old_telemetry_changes_nothing(stage: Stage, seed: int, share: float) -> None:
    async def play(world: World) -> None:
        await grow(world, seed)
        before = await computed_anew(world)
        await world.execute(
            "UPDATE telemetry SET created_at = now() - interval '91 days'"
            " WHERE ('x' || left(md5(key::text), 8))::bit(32)::bigint < $1 * 4294967296",
            share,
        )
        deleted = await world.execute(GUIDE_DELETE)
        assert share < 1 or (await world.fetch("SELECT 1 FROM telemetry") == []), deleted
        assert await computed_anew(world) == before
        await world.restart()
        assert await computed_anew(world) == before

    stage.runner.run(play(stage.world))


async def roll_up_all(world: World) -> None:
    """Rolls up every hour that no score needs, a few at a time."""
    async with world.replicas[0].database.connection() as connection:
        while await store.roll_up(connection, world.now, 7):
            pass


TOTALS = "sum(operations), sum(errors), sum(violations), sum(cost_nano_usd), sum(input_tokens)"
KEPT = f"""
    SELECT {TOTALS}
    FROM (
        SELECT operations, errors, violations, cost_nano_usd, input_tokens FROM agent_days
        UNION ALL
        SELECT operations, errors, violations, cost_nano_usd, input_tokens FROM agent_hours
    ) AS kept
"""


def test_rolling_up_old_hours_changes_no_score(stage: Stage) -> None:
    moved = []

    async def play(world: World, seed: int) -> None:
        await grow(world, seed)
        before, totals = await computed_anew(world), await world.fetch(KEPT)
        await grow(world, seed, roll_up=True)
        assert await computed_anew(world) == before
        assert await world.fetch(KEPT) == totals
        moved.append((await world.fetch("SELECT count(*) FROM agent_days"))[0]["count"])

    for seed in range(8):
        stage.runner.run(play(stage.world, seed))
    assert sum(moved) > 100  # else this test would say nothing
