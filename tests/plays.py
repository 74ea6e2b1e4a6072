"""Histories as Hypothesis draws them: a list of steps, each of a few numbers, played on a World."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from orca_server.domain.agents import Agent, AgentState
from orca_server.domain.errors import NotAllowedNow, NotFound
from orca_server.domain.fleet_trust import TrustSettings
from orca_server.domain.telemetry import Row
from tests.histories import (
    TENANTS,
    World,
    agent,
    random_content,
    random_records,
    random_requests,
)

CHANGES = ("suspend", "resume", "retire", "enrol", "edit", "edit", "suspend")
WAITS = (
    timedelta(microseconds=1),
    timedelta(seconds=59),
    timedelta(minutes=1),
    timedelta(minutes=40),
    timedelta(hours=6),
    timedelta(hours=24),
    timedelta(days=6),
    timedelta(days=7),
    timedelta(days=90),
)
SETTINGS = (
    TrustSettings(),
    TrustSettings(baseline_ppb=333_333_333),
    TrustSettings(
        baseline_ppb=1_000_000_000,
        weights_ppb={
            "agent_uptime": 100_000_001,
            "policy_adherence": 333_333_333,
            "sync_freshness": 466_666_665,
            "risk_exposure": 100_000_001,
        },
    ),
)
seeds = st.integers(min_value=0, max_value=2**32)
steps = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from(WAITS)),
    st.tuples(st.just("deadline"), st.sampled_from([-1, 0, 1])),
    st.tuples(st.just("send"), seeds, st.integers(min_value=1, max_value=120)),
    st.tuples(st.just("send"), seeds, st.integers(min_value=1, max_value=120)),
    st.tuples(st.just("race"), seeds, st.integers(min_value=1, max_value=60)),
    st.tuples(st.just("hold"), seeds, st.integers(min_value=1, max_value=20)),
    st.tuples(st.just("hold change"), seeds),
    st.tuples(st.just("release"), st.booleans()),
    st.tuples(st.just("operate"), seeds),
    st.tuples(st.just("operate"), seeds),
    st.tuples(st.just("delete"), seeds),
    st.tuples(st.just("restart"), st.sampled_from([0, 0, 1, 2])),
    st.tuples(st.just("tick"), st.sampled_from([0, 1])),
)
Steps = list[tuple[Any, ...]]
Fleet = list[tuple[UUID, Agent]]
histories = st.lists(steps, min_size=4, max_size=24)


class Play:
    """Plays a history on a world."""

    def __init__(
        self, world: World, agents: Fleet, check: Callable[[World], Awaitable[None]]
    ) -> None:
        self.world = world
        self.agents = agents
        self.check = check
        self.sent: dict[UUID, list[Row]] = defaultdict(list)
        self.made = 0
        self.changing = False  # whether a change of an agent is held open

    async def run(self, history: Steps) -> None:
        """Plays all steps, then ends what is open; checks after each tick."""
        for tenant, one in self.agents:
            await self.world.add(one, tenant=tenant)
        for step in [*history, ("tick", 0)]:
            await self.step(*step)
            self.world.pass_time(timedelta(microseconds=1))
        while self.world.held:
            await self.step("release", True)
        await self.step("tick", 1)

    async def step(self, kind: str, *what: Any) -> None:
        """One step."""
        await getattr(self, kind.replace(" ", "_"))(*what)

    async def wait(self, span: timedelta) -> None:
        self.world.pass_time(span)

    async def deadline(self, off: int) -> None:
        """Moves to the next deadline of any agent, or a microsecond beside it."""
        rows = await self.world.fetch(
            "SELECT min(next_deadline_at) FROM agent_trust WHERE next_deadline_at > $1",
            self.world.now,
        )
        if rows[0]["min"] is not None:
            at = rows[0]["min"] + timedelta(microseconds=off)
            self.world.now = max(self.world.now, at)
            await self.tick(0)

    async def tick(self, replica: int) -> None:
        await self.world.tick(replica)
        await self.check(self.world)

    def random(self, seed: int) -> Random:
        """Differs from step to step, so that no two make the same record by chance."""
        self.made += 1
        return Random(f"{seed} {self.made}")

    def ids(self, tenant: UUID) -> list[UUID]:
        """The tenant's agents, and one that nobody knows."""
        return [one.id for owner, one in self.agents if owner == tenant] + [UUID(int=7)]

    def requests(self, seed: int, count: int) -> tuple[UUID, list[list[Row]]]:
        """New records of one tenant's agents, with some that were sent before."""
        rng = self.random(seed)
        tenant = rng.choice(TENANTS)
        ids = self.ids(tenant)
        rows = random_records(rng, ids, self.world.now, count)
        known = self.sent[tenant]
        requests = random_requests(rng, rows, known)
        known += rows
        return tenant, requests

    async def send(self, seed: int, count: int) -> None:
        tenant, requests = self.requests(seed, count)
        await self.world.deliver(requests, tenant)

    async def race(self, seed: int, count: int) -> None:
        """Records come while both replicas tick."""
        tenant, requests = self.requests(seed, count)
        await asyncio.gather(
            self.world.tick(0), self.world.deliver(requests, tenant), self.world.tick(1)
        )
        await self.check(self.world)

    async def hold(self, seed: int, count: int) -> None:
        rng = self.random(seed)
        tenant = rng.choice(TENANTS)
        await self.world.hold(random_records(rng, self.ids(tenant), self.world.now, count), tenant)

    async def release(self, commit: bool) -> None:
        if self.world.held:
            await self.world.release(commit=commit)
            self.changing = self.changing and bool(self.world.held)

    async def hold_change(self, seed: int) -> None:
        if not self.changing:  # a second one could wait for the first
            self.changing = await self.change(seed, self.world.hold_change)

    async def operate(self, seed: int) -> None:
        if not self.changing:
            await self.change(seed, self.world.operate)

    async def change(self, seed: int, how: Any) -> bool:
        """An operator does something to an agent, unless its state forbids it."""
        rng = Random(seed)
        tenant, one = rng.choice(self.agents)
        try:
            await how(one.id, rng.choice(CHANGES), tenant=tenant, **random_content(rng))
        except (NotAllowedNow, NotFound):
            return False
        return True

    async def delete(self, seed: int) -> None:
        """Deletes an agent, which is refused if it ever reported, or adds one anew."""
        if self.world.held:  # deleting waits for telemetry that is being stored
            return
        tenant, one = Random(seed).choice(self.agents)
        if not await self.world.add(one, tenant=tenant):
            await self.world.delete(one.id, tenant=tenant)

    async def restart(self, number: int) -> None:
        await self.world.restart(SETTINGS[number])


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """One to eight agents of two tenants, some of them in the catalogue only."""
    rng = Random(draw(seeds))
    made = []
    for number in range(draw(st.integers(min_value=1, max_value=8))):
        tenant = TENANTS[number % 3 == 2]
        state = rng.choice([AgentState.ACTIVE, AgentState.ACTIVE, AgentState.CATALOG])
        made.append((tenant, agent(number, tenant=tenant, state=state, **random_content(rng))))
    return made


async def play(
    world: World, fleet: Fleet, history: Steps, check: Callable[[World], Awaitable[None]]
) -> None:
    """Plays one history from an empty database; `check` runs after each tick."""
    world.settings = SETTINGS[0]
    await world.open()
    try:
        await Play(world, fleet, check).run(history)
    finally:
        await world.close()
