"""A fleet on a real database and what may happen to it, played by two replicas.

The clock is made up: `World.now` is the instant of operators and ticks.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

from orca_server.domain import agents as domain
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.agents import Agent, AgentState, Content, Criticality, Source
from orca_server.domain.errors import OrcaError
from orca_server.domain.fleet_trust import TrustSettings
from orca_server.domain.telemetry import MAX_COUNT, Row, client_identity, record_key
from orca_server.runtime.ingest import Ingest
from orca_server.runtime.telemetry_writer import TelemetryWriter
from orca_server.runtime.tick import Tick
from orca_server.store import agents as store
from orca_server.store.audit import Author
from orca_server.store.database import Connection, Database, connect
from orca_server.store.telemetry import store_rows
from tests.servers import PostgresServer

START = datetime(2026, 3, 2, 0, 30, tzinfo=UTC)
OTHER_TENANT = UUID("00000000-0000-0000-0000-000000000002")
TENANTS = (DEFAULT_TENANT, OTHER_TENANT)
TABLES = (
    "agents, audit_entries, telemetry, trust_inbox, agent_hours, agent_days, agent_trust, "
    "trust_current, trust_snapshots, agent_trust_history, violation_inbox, policy_violations"
)
ALL_DAYS = """
    CREATE TABLE telemetry_always PARTITION OF telemetry FOR VALUES
    FROM ('00000000-0000-0000-0000-000000000000') TO ('ffffffff-ffff-ffff-ffff-ffffffffffff')
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def agent(number: int, *, tenant: UUID = DEFAULT_TENANT, **said: Any) -> Agent:
    """An agent whose id follows from its number, so that runs can be compared."""
    state = said.pop("state", AgentState.ACTIVE)
    return Agent(
        id=uuid5(tenant, f"agent {number}"),
        type="mcp",
        name=f"agent-{number}",
        state=state,
        source=Source.IMPORT if state is AgentState.CATALOG else Source.API,
        content=Content(**said),
    )


def record(
    agent_id: UUID,
    at: datetime,
    operations: int = 1,
    errors: int = 0,
    violations: int = 0,
    *,
    name: str = "",
    attempts: int | None = None,
    blocked: int | None = None,
    latency_us: int | None = None,
    cost_nano_usd: int | None = None,
    tokens: int | None = None,
) -> Row:
    """One record as a row; records of one name and time are the same record."""
    observed = microseconds(at)
    key = UUID(bytes=record_key(observed, agent_id.bytes, client_identity(name or f"{at}")))
    return (
        agent_id,
        key,
        observed,
        operations,
        errors,
        violations,
        attempts,
        blocked,
        latency_us,
        latency_us,
        cost_nano_usd,
        tokens,
        tokens,
        None,
        None,
    )


def heartbeat(agent_id: UUID, at: datetime) -> Row:
    """A record that only says "alive"."""
    return record(agent_id, at, 0, name=f"beat {at}")


@dataclass(slots=True)
class Replica:
    """One server's way to trust: its connections, its ingest, its tick."""

    database: Database
    ingest: Ingest[Row]
    tick: Tick
    running: asyncio.Task[None]

    @classmethod
    def start(cls, url: str, settings: TrustSettings) -> "Replica":
        """Starts it."""
        database = Database(url, size=4, name="orca-test")
        ingest = Ingest(database, TelemetryWriter(), max_records=100_000, max_bytes=64 * 2**20)
        running = asyncio.create_task(ingest.run())
        return cls(database, ingest, Tick(database, settings), running)

    async def stop(self) -> None:
        """Drains it and closes its connections."""
        self.ingest.stop()
        await self.running
        await self.database.close()


@dataclass(slots=True)
class Held:
    """A transaction of someone else that is still open."""

    connection: Connection
    transaction: Any


@dataclass(slots=True)
class World:
    """A database, its replicas, and the present instant of their made-up clock."""

    url: str
    settings: TrustSettings = field(default_factory=TrustSettings)
    now: datetime = START
    replicas: list[Replica] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    connection: Connection | None = None

    async def prepare(self) -> None:
        """Makes the one partition that takes telemetry of any day."""
        connection = await connect(self.url, name="orca-test")
        await connection.execute(ALL_DAYS)
        await connection.close()

    async def open(self, replicas: int = 2) -> None:
        """Starts the replicas on an empty database."""
        self.connection = await connect(self.url, name="orca-test-view", lock_timeout="5s")
        await self.connection.execute(f"TRUNCATE {TABLES} CASCADE")
        self.replicas = [Replica.start(self.url, self.settings) for _ in range(replicas)]
        self.now = START

    async def close(self) -> None:
        """Ends what is open and stops the replicas."""
        for held in self.held:
            held.connection.terminate()
        self.held = []
        for replica in self.replicas:
            await replica.stop()
        self.replicas = []
        if self.connection is not None:
            self.connection.terminate()
        await asyncio.sleep(0)  # lets the loop close what was ended hard

    async def restart(self, settings: TrustSettings | None = None) -> None:
        """Stops all replicas and starts as many, perhaps with other settings."""
        self.settings = settings or self.settings
        count = len(self.replicas)
        for replica in self.replicas:
            await replica.stop()
        self.replicas = [Replica.start(self.url, self.settings) for _ in range(count)]

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Rows of a query."""
        assert self.connection is not None
        return list(await self.connection.fetch(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """Runs a statement."""
        assert self.connection is not None
        return await self.connection.execute(query, *args)

    # What may happen.

    async def add(self, *agents: Agent, tenant: UUID = DEFAULT_TENANT) -> set[UUID]:
        """Adds agents as the services do; gives the ids of those whose names were free."""
        author = Author(tenant, "test")
        async with self.replicas[0].database.transaction() as tx:
            return await store.add_agents(tx, author, "agents.create", agents)

    async def operate(
        self, agent_id: UUID, change: str, *, tenant: UUID = DEFAULT_TENANT, **said: Any
    ) -> Agent:
        """An operator suspends, resumes, retires, enrols or `edit`s an agent, now."""
        async with self.replicas[0].database.transaction() as tx:
            return await self._operate(tx, agent_id, change, tenant, **said)

    async def _operate(
        self, tx: Connection, agent_id: UUID, change: str, tenant: UUID, **said: Any
    ) -> Agent:
        before, _ = await store.lock_agent(tx, tenant, agent_id)
        match change:
            case "suspend":
                after = domain.suspend(before, self.now)
            case "retire":
                after = domain.retire(before, self.now)
            case "resume":
                after = domain.resume(before)
            case "enrol":
                after = domain.enrol(before)
            case _:
                after = domain.with_content(before, replace(before.content, **said))
        author = Author(tenant, "test")
        await store.save_agents(tx, author, f"agents.{change}", [(before, after)])
        return after

    async def delete(self, agent_id: UUID, *, tenant: UUID = DEFAULT_TENANT) -> bool:
        """Deletes an agent as the services do; False if it ever reported."""
        async with self.replicas[0].database.transaction() as tx:
            found = await store.lock_for_deletion(tx, tenant, agent_id)
            return await store.delete_agent(tx, Author(tenant, "test"), found)

    async def deliver(
        self, requests: Sequence[Sequence[Row]], tenant: UUID = DEFAULT_TENANT
    ) -> int:
        """Sends requests to the replicas in turn, all at once; gives how many were stored."""
        futures = [
            self.replicas[number % len(self.replicas)].ingest.submit(
                tenant, rows, 400 * len(rows), atomic=False
            )
            for number, rows in enumerate(requests)
            if rows
        ]
        return sum(outcome.accepted for outcome in await asyncio.gather(*futures))

    async def send(self, *rows: Row, tenant: UUID = DEFAULT_TENANT) -> int:
        """Sends one request."""
        return await self.deliver([rows], tenant)

    async def tick(self, replica: int = 0) -> datetime:
        """One tick for the present instant."""
        as_of = await self.replicas[replica].tick.tick(wait=True, as_of=self.now)
        assert as_of == self.now
        return as_of

    async def hold(self, rows: Sequence[Row], tenant: UUID = DEFAULT_TENANT) -> None:
        """Stores records in a transaction that stays open."""
        held = await self._begin()
        await store_rows(held.connection, [tenant] * len(rows), rows, [1] * len(rows))

    async def hold_change(
        self, agent_id: UUID, change: str, *, tenant: UUID = DEFAULT_TENANT, **said: Any
    ) -> None:
        """Changes an agent in a transaction that stays open."""
        held = await self._begin()
        try:
            await self._operate(held.connection, agent_id, change, tenant, **said)
        except OrcaError:  # refused: nothing is left open
            self.held.remove(held)
            held.connection.terminate()
            raise

    async def _begin(self) -> Held:
        connection = await connect(self.url, name="orca-test-held", lock_timeout="5s")
        transaction = connection.transaction()
        await transaction.start()
        self.held.append(Held(connection, transaction))
        return self.held[-1]

    async def release(self, *, commit: bool = True) -> None:
        """Ends the transaction that has been open longest."""
        held = self.held.pop(0)
        if commit:
            await held.transaction.commit()
        else:
            await held.transaction.rollback()
        await held.connection.close()

    def pass_time(self, span: timedelta) -> None:
        """Moves the clock on."""
        self.now += span


def random_content(rng: Random) -> dict[str, Any]:
    """What an operator may have said of an agent."""
    return {
        "criticality": rng.choice(list(Criticality)),
        "heartbeat_interval_seconds": rng.choice([None, None, 10, 60, 601, 3_600, 90_000]),
        "latency_limit_us": rng.choice([None, None, 1_000, 250_000, 3_600_000_000]),
    }


SPANS = (
    timedelta(minutes=5),
    timedelta(hours=7),
    timedelta(hours=170),
    timedelta(days=60),
)


def random_records(rng: Random, ids: Sequence[UUID], now: datetime, count: int) -> list[Row]:
    """Records of some agents: heartbeats, usual and huge ones, at borders, late and early."""
    span = rng.choice(SPANS)
    huge = rng.random() < 0.15
    return [_random_record(rng, rng.choice(ids), now, span, huge, n) for n in range(count)]


def _random_record(
    rng: Random, agent_id: UUID, now: datetime, span: timedelta, huge: bool, number: int
) -> Row:
    at = now + timedelta(minutes=5) - rng.random() * span
    if rng.random() < 0.3:  # at, just before or just after the start of an hour
        at = at.replace(minute=0, second=0, microsecond=0)
        at += timedelta(microseconds=rng.choice([-1, 0, 0, 1]))
    if rng.random() < 0.2:
        return heartbeat(agent_id, at)
    top = 10**9 if huge and rng.random() < 0.5 else rng.choice([1, 3, 30])
    operations = rng.randint(1, top)
    bad = rng.random() < 0.3
    return record(
        agent_id,
        at,
        operations,
        rng.randint(0, operations) if bad else 0,
        rng.choice([0, 0, 0, 0, 1, top]) if bad else 0,
        name=f"{number} {rng.random()}",
        attempts=rng.choice([None, operations, min(2 * operations, MAX_COUNT)]),
        blocked=rng.choice([None, None, 0, 1, 7]),
        latency_us=rng.choice([None, 0, 1_000, 999_999, 1_500_001, 86_400_000_000 if huge else 3]),
        cost_nano_usd=rng.choice([None, 0, 123, 10**15 if huge else 10**9]),
        tokens=rng.choice([None, 0, 17, top]),
    )


def random_requests(rng: Random, rows: Sequence[Row], known: Sequence[Row]) -> list[list[Row]]:
    """The rows in any order, some twice, some that were sent before, cut into requests."""
    pile = list(rows)
    pile += rng.choices(rows, k=len(rows) // 4) if rows else []
    pile += rng.sample(list(known), k=min(len(known), 10))
    rng.shuffle(pile)
    requests: list[list[Row]] = []
    while pile:
        size = rng.choice([1, 2, 7, 50])
        requests.append(pile[:size])
        pile = pile[size:]
    return requests


@dataclass(slots=True)
class Stage:
    """A world and the loop in which it lives, for tests that are not async themselves."""

    world: World
    runner: asyncio.Runner


@contextmanager
def staged(postgres: PostgresServer, template: str) -> Iterator[Stage]:
    """One database for many histories; each starts by emptying it."""
    with postgres.database(template) as url, asyncio.Runner() as runner:
        world = World(url)
        runner.run(world.prepare())
        try:
            yield Stage(world, runner)
        finally:
            runner.run(world.close())
