"""One history made to touch every rule of trust, each by an agent that is there for it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from orca_server.domain.agents import Agent, AgentState, Criticality
from orca_server.domain.telemetry import Row
from tests.histories import START, World, agent, heartbeat, record

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = START + timedelta(days=100)  # half past an hour
GOOD_AGENTS = 20


class Exercise:
    """Builds agents and their records, relative to `NOW`, and plays them."""

    def __init__(self) -> None:
        self.agents: list[Agent] = []
        self.rows: list[Row] = []
        self.early: list[Row] = []
        self.late: list[Row] = []

    def add(self, **said: Any) -> UUID:
        """One more agent."""
        made = agent(len(self.agents), **said)
        self.agents.append(made)
        return made.id

    def tell(
        self, who: UUID, ago: timedelta, operations: int, errors: int = 0, **more: Any
    ) -> None:
        """One record of an agent."""
        name = f"record {len(self.rows)}"
        self.rows.append(record(who, NOW - ago, operations, errors, name=name, **more))

    def build(self) -> None:
        """All agents but those that leave, and all records that are there from the start."""
        for _ in range(GOOD_AGENTS):
            self.tell(self.add(), HOUR, 5_000)
        self.tell(self.add(), HOUR, 3)
        self._successes()
        self._violations()
        self._states()
        self._latencies()
        self._windows()
        self._deadlines()
        self.edited = self.add()  # its promise was changed long after it was broken, an hour ago
        self.tell(self.edited, 5 * HOUR, 10)
        catalog = self.add(state=AgentState.CATALOG)
        self.tell(catalog, HOUR, 40, 1)
        self.add(state=AgentState.CATALOG)
        self.add()  # never reports

    def _successes(self) -> None:
        for bad in (19, 18):  # with one good one now: 20 and 19 in the last six hours
            who = self.add()
            self.tell(who, 100 * HOUR, 500)
            self.tell(who, 5 * HOUR, bad, bad)
            self.tell(who, timedelta(), 1)
        who = self.add()  # good last hours after bad days
        self.tell(who, 50 * HOUR, 60, 60)
        self.tell(who, 2 * HOUR, 60)
        for age in (167, 168):  # the oldest hour of the window, and the one before
            who = self.add()
            self.tell(who, age * HOUR, 50, 50)
            self.tell(who, timedelta(), 10)
        self.tell(self.add(), 3 * HOUR, 1_004, 20)  # 977,539,062.5
        who = self.add()  # a heartbeat after the last operation does not move the window
        self.tell(who, 170 * HOUR, 30, 30)
        self.tell(who, 9 * HOUR, 30)
        self.rows.append(heartbeat(who, NOW))
        who = self.add(criticality=Criticality.LOW)  # records of an hour that was merged before
        self.early.append(record(who, NOW - 30 * HOUR, 10, 2))
        self.late.append(record(who, NOW - 30 * HOUR + timedelta(minutes=9), 7, 7))

    def _violations(self) -> None:
        self.tell(self.add(), HOUR, 500, blocked=1)  # .996666666...
        for _ in range(10):  # below 0, and enough of them to lower the mean
            self.tell(self.add(), HOUR, 100, violations=50)
        self.tell(self.add(), HOUR, 900, violations=3, blocked=5)
        critical = self.add(criticality=Criticality.CRITICAL)
        self.tell(critical, HOUR, 100, 100, violations=20)
        self.tell(self.add(), HOUR, 8, 4)  # 850,000,000 exactly

    def _states(self) -> None:
        self.tell(self.add(), DAY, 10)  # idle at this very instant
        self.tell(self.add(), 90 * DAY, 10)  # silent at this very instant
        beat = timedelta(seconds=3_600)
        self.tell(self.add(heartbeat_interval_seconds=3_600), beat * 1.1, 10)
        self.tell(self.add(heartbeat_interval_seconds=60), timedelta(minutes=2), 10)
        who = self.add(heartbeat_interval_seconds=3_600)  # alive by its heartbeats, idle
        self.tell(who, 30 * HOUR, 10)
        self.rows.append(heartbeat(who, NOW - timedelta(minutes=10)))
        who = self.add(heartbeat_interval_seconds=600)  # silent, and worse than half already
        self.tell(who, 9 * HOUR, 100, 90, violations=4)
        self.rows.append(heartbeat(self.add(), NOW))  # alive, never measured

    def _latencies(self) -> None:
        who = self.add()
        self.tell(who, HOUR, 30, latency_us=1_900_000)
        self.tell(who, HOUR, 10, latency_us=300_001)
        self.tell(who, HOUR, 500)
        self.tell(self.add(), HOUR, 10, latency_us=1_500_000)  # .94 x .666666667 = .62666666698
        self.tell(self.add(), HOUR, 10, latency_us=9_000_000, cost_nano_usd=5)
        self.tell(self.add(latency_limit_us=250_000), HOUR, 10, latency_us=400_000)
        huge = {"latency_us": 86_400_000_000, "cost_nano_usd": 10**15, "tokens": 10**9}
        who = self.add(latency_limit_us=3_600_000_000)
        for n in range(3):
            self.tell(who, (n + 1) * HOUR, 10**9, 7, blocked=10**9, **huge)
        self.tell(self.add(latency_limit_us=3_600_000_000), HOUR, 10**9, **huge)

    def _windows(self) -> None:
        """Windows whose sums an earlier tick made, and which then move or gain."""
        moved = self.add()  # one hour leaves, one of the rest gains, so does the one that leaves
        self._first(moved, (200, 40, 40), (100, 500, 90))
        self._then(moved, (180, 30, 30), (90, 7, 2), (0, 10, 1))
        jumped = self.add()  # as far as that an hour is passed over
        self._first(jumped, (400, 50, 20))
        self._then(jumped, (200, 60, 60), (0, 20, 1))
        late = self.add()  # a record from before the window
        self._first(late, (10, 50, 1))
        self._then(late, (300, 40, 40))
        full = self.add(
            latency_limit_us=3_600_000_000
        )  # two hours at the limit, one of them leaves
        for age in (200, 150):
            at = NOW - age * HOUR
            self.early.append(record(full, at, 10**9, latency_us=86_400_000_000))
        self._then(full, (0, 5, 0))

    def _first(self, who: UUID, *said: tuple[int, int, int]) -> None:
        """Hours ago, operations and errors of records that come before the last tick but one."""
        self.early += [record(who, NOW - age * HOUR, *counts) for age, *counts in said]

    def _then(self, who: UUID, *said: tuple[int, int, int]) -> None:
        """The same of records that come after it."""
        self.late += [record(who, NOW - age * HOUR, *counts) for age, *counts in said]

    def _deadlines(self) -> None:
        """Deadlines that pass half an hour ago, without a new record since the tick before."""
        half = timedelta(minutes=30)
        beating = self.add(heartbeat_interval_seconds=3_600)
        self.early.append(record(beating, NOW - half - timedelta(minutes=66), 10))
        for span in (DAY, 90 * DAY):
            self.early.append(record(self.add(), NOW - half - span, 10))
        who = self.add()  # a heartbeat later in the hour of its last operation
        self.tell(who, timedelta(minutes=20), 10)
        self.rows.append(heartbeat(who, NOW))

    async def play(self, world: World) -> None:
        """Plays it all, with three ticks, the last at `NOW`."""
        self.build()
        leaving = [agent(900 + n, heartbeat_interval_seconds=7_200) for n in range(5)]
        world.now = NOW - 15 * DAY
        await world.add(*self.agents, *leaving)
        await world.tick()
        await self._leave(world, leaving)
        world.now = NOW - HOUR
        await world.deliver([self.early, self.rows[::2], self.rows[::3]])
        await world.tick()
        await world.deliver([self.rows, self.late])
        world.now = NOW
        await world.operate(self.edited, "edit", latency_limit_us=1_000)
        change = "UPDATE agents SET overdue_at = $2 WHERE id = $1"
        await world.execute(change, self.edited, NOW - HOUR)
        await world.tick()

    async def _leave(self, world: World, leaving: list[Agent]) -> None:
        """Some are set aside: a week ago to the microsecond, later, from silence, and back."""
        gone, staying, silent, retired, back = (one.id for one in leaving)
        for who in (gone, staying, retired, back):
            self.rows.append(record(who, NOW - 15 * DAY, 30, 15, name="before leaving"))
        self.rows.append(record(silent, NOW - 15 * DAY - 9 * HOUR, 30, name="before silence"))
        await world.send(*self.rows[-5:])
        await world.operate(back, "suspend")
        await world.send(record(back, world.now + HOUR, 500, 500))
        await world.operate(retired, "suspend")
        world.now = NOW - 14 * DAY
        await world.operate(retired, "retire")
        world.now = NOW - 7 * DAY
        alive = [heartbeat(who, world.now) for who in (gone, staying)]
        await world.send(*alive)
        await world.operate(gone, "suspend")
        world.now += timedelta(hours=2)
        await world.operate(staying, "suspend")
        await world.operate(silent, "suspend")
        world.now = NOW - 2 * DAY
        await world.operate(back, "resume")
