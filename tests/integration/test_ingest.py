"""The one path by which telemetry becomes rows: counted once, and nobody in another's way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.errors import Overloaded, Unavailable
from orca_server.domain.telemetry import Row
from orca_server.runtime import ingest as module
from orca_server.runtime.ingest import Ingest, Outcome
from orca_server.runtime.telemetry_writer import TelemetryWriter
from orca_server.store.database import Database
from tests.histories import World, agent, heartbeat, record
from tests.servers import free_port

ONE, TWO, RETIRED = agent(1), agent(2), agent(3)
NOBODY = UUID(int=7)
BLOCKED = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
Waiting = list[asyncio.Future[Outcome]]


@pytest.fixture
async def world(bare_database_url: str) -> AsyncIterator[World]:
    """Two replicas, two agents, and one that is retired."""
    world = World(bare_database_url)
    await world.prepare()
    await world.open()
    await world.add(ONE, TWO, RETIRED)
    await world.operate(RETIRED.id, "retire")
    yield world
    await world.close()


def rows_of(world: World, count: int, who: UUID = ONE.id, name: str = "r") -> list[Row]:
    """Different records of an agent, a second apart."""
    return [
        record(who, world.now - timedelta(seconds=n), 2, 1, name=f"{name}{n}") for n in range(count)
    ]


def queue(
    ingest: Ingest[Row], *requests: Sequence[Row], atomic: bool = False, size: int = 100
) -> Waiting:
    """Submits requests without waiting for their answers."""
    return [ingest.submit(DEFAULT_TENANT, rows, size, atomic=atomic) for rows in requests]


@asynccontextmanager
async def flushing(ingest: Ingest[Row]) -> AsyncIterator[None]:
    """Runs it for a while and lets it store what is left."""
    running = asyncio.create_task(ingest.run())
    try:
        yield
    finally:
        ingest.stop()
        await running


def idle_ingest(world: World, **bounds: int) -> Ingest[Row]:
    """An ingest that does not run yet, so that what is submitted becomes one batch."""
    bounds = {"max_records": 10_000, "max_bytes": 10**6, "flushers": 1} | bounds
    return Ingest(world.replicas[0].database, TelemetryWriter(), **bounds)


async def stored(world: World) -> int:
    """Records in the table."""
    return int((await world.fetch("SELECT count(*) FROM telemetry"))[0]["count"])


async def check_sums(world: World) -> None:
    """The inbox adds up to the records, so each was counted once."""
    names = "sum(operations) AS operations, sum(errors) AS errors"
    inbox = await world.fetch(f"SELECT {names} FROM trust_inbox WHERE hour IS NOT NULL")
    records = await world.fetch(f"SELECT {names} FROM telemetry WHERE counted")
    assert dict(inbox[0]) == dict(records[0])


# Counted once.


async def test_duplicates_within_a_request_and_a_batch_are_counted_once(world: World) -> None:
    ingest = idle_ingest(world)
    first, second, third = rows_of(world, 3)
    waiting = queue(ingest, [first, second, first], [third, second], [first, first])
    async with flushing(ingest):
        assert await asyncio.gather(*waiting) == [Outcome(2, 1), Outcome(1, 1), Outcome(0, 2)]
    assert await stored(world) == 3
    await check_sums(world)


async def test_duplicates_of_earlier_batches_are_counted_once(world: World) -> None:
    rows = rows_of(world, 20)
    assert await world.send(*rows[:12]) == 12
    assert await world.send(*rows) == 8
    assert await world.send(*rows) == 0
    await world.restart()
    assert await world.send(*reversed(rows)) == 0
    assert await stored(world) == 20
    await check_sums(world)


async def test_two_replicas_store_the_same_records_once(world: World) -> None:
    rng = Random(5)
    rows = rows_of(world, 150) + rows_of(world, 150, TWO.id)
    requests = []
    for _ in range(4):  # each replica gets all of them twice, in other orders and cuts
        pile = rng.sample(rows, k=len(rows))
        size = rng.choice([20, 50, 100])
        requests += [pile[at : at + size] for at in range(0, len(pile), size)]
    assert await world.deliver(requests) == len(rows)
    assert await stored(world) == len(rows)
    await check_sums(world)


async def test_the_same_id_at_another_time_or_of_another_agent_is_another_record(
    world: World,
) -> None:
    first = record(ONE.id, world.now, name="id")
    later = record(ONE.id, world.now + timedelta(milliseconds=1), name="id")
    assert await world.send(first, later, record(TWO.id, world.now, name="id")) == 3


# All or nothing, or as much as may be stored.


async def test_unknown_and_retired_agents_keep_out_only_what_names_them(world: World) -> None:
    ingest = idle_ingest(world)
    good = rows_of(world, 6)
    unknown, retired = record(NOBODY, world.now), record(RETIRED.id, world.now)
    [fine] = queue(ingest, good[:2], atomic=True)
    [refused] = queue(ingest, [good[2], unknown, good[3], retired], atomic=True)
    [partly] = queue(ingest, [unknown, good[4], retired, good[0], unknown])
    [doomed] = queue(ingest, [retired], atomic=True)
    [twin] = queue(ingest, [good[2], good[5]], atomic=True)  # its first stands in a refused one
    async with flushing(ingest):
        assert await fine == Outcome(2, 0)
        assert await refused == Outcome(0, 0, frozenset({1}), frozenset({3}))
        assert await partly == Outcome(1, 1, frozenset({0, 4}), frozenset({2}))
        assert await doomed == Outcome(0, 0, frozenset(), frozenset({0}))
        assert await twin == Outcome(2, 0)
    assert await stored(world) == 5
    await check_sums(world)


async def test_records_of_a_suspended_agent_are_kept_and_not_counted(world: World) -> None:
    await world.operate(TWO.id, "suspend")
    assert await world.send(*rows_of(world, 3, TWO.id), *rows_of(world, 2)) == 5
    counted = await world.fetch("SELECT counted, count(*) FROM telemetry GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in counted] == [(False, 3), (True, 2)]
    await check_sums(world)


async def test_a_tenant_cannot_report_for_the_agents_of_another(world: World) -> None:
    other = UUID(int=99)
    outcome = await world.replicas[0].ingest.submit(other, rows_of(world, 2), 9, atomic=False)
    assert outcome == Outcome(0, 0, frozenset({0, 1}))
    assert await stored(world) == 0


# Nobody in another's way.


async def test_a_caller_that_gave_up_in_the_queue_is_left_out(world: World) -> None:
    ingest = idle_ingest(world)
    rows = rows_of(world, 3)
    one, gone, other = queue(ingest, rows[:1], rows[1:2], rows[2:])
    gone.cancel()
    async with flushing(ingest):
        assert await asyncio.gather(one, other) == [Outcome(1, 0), Outcome(1, 0)]
    assert await stored(world) == 2
    assert (ingest.queued_records, ingest.queued_bytes) == (0, 0)


async def test_a_caller_that_gives_up_while_its_batch_is_stored_hurts_nobody(world: World) -> None:
    ingest = idle_ingest(world)
    blocker, *rows = rows_of(world, 4)
    await world.hold([blocker])
    one, gone, other = queue(ingest, [blocker, rows[0]], rows[1:2], rows[2:])
    async with flushing(ingest):
        await wait_for_blocked(world, 1)
        gone.cancel()
        await world.release()
        assert await asyncio.gather(one, other) == [Outcome(1, 1), Outcome(1, 0)]
        assert await asyncio.gather(*queue(ingest, rows)) == [Outcome(0, 3)]
    assert await stored(world) == 4


async def wait_for_blocked(world: World, count: int) -> None:
    """Waits until so many statements wait for a lock."""
    while len(await world.fetch(f"SELECT pid {BLOCKED}")) < count:  # noqa: ASYNC110 - of the database
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("column", "value"),
    [(3, 2**31), (8, 2**63), (13, "a\0b")],
    ids=["beyond 32 bits", "beyond 64 bits", "refused by the server"],
)
async def test_a_request_that_the_database_refuses_stands_alone(
    world: World, column: int, value: object
) -> None:
    rows = rows_of(world, 12)
    bad: list[Any] = list(rows[6])
    bad[column] = value
    rows[6] = tuple(bad)
    ingest = idle_ingest(world)
    waiting = queue(ingest, *([row] for row in rows))
    async with flushing(ingest):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers.pop(6), asyncpg.DataError)
    assert answers == [Outcome(1, 0)] * 11
    assert await stored(world) == 11
    await check_sums(world)


async def test_a_fault_of_ours_fails_its_batch_and_the_next_one_is_stored(world: World) -> None:
    rows = rows_of(world, 2)
    await world.execute("REVOKE INSERT ON trust_inbox FROM orca")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await world.send(rows[0])
    await world.execute("GRANT INSERT ON trust_inbox TO orca")
    assert await world.send(*rows) == 2


# Bounds.


async def test_a_full_queue_turns_away_and_stores_nothing_of_it(world: World) -> None:
    ingest = idle_ingest(world, max_records=5)
    rows = rows_of(world, 9)
    [first] = queue(ingest, rows[:4])
    with pytest.raises(Overloaded) as caught:
        queue(ingest, rows[4:6])
    assert caught.value.reason == "INGEST_QUEUE_FULL"
    assert caught.value.retry_after_seconds == 1.0
    [second] = queue(ingest, rows[4:5])
    async with flushing(ingest):
        assert await asyncio.gather(first, second) == [Outcome(4, 0), Outcome(1, 0)]
        assert await queue(ingest, rows)[0] == Outcome(4, 5)  # an empty one takes any request
    assert await stored(world) == 9
    assert ingest.counts.shed == 1


async def test_the_queue_is_bounded_in_bytes_as_well(world: World) -> None:
    ingest = idle_ingest(world, max_bytes=250)
    rows = rows_of(world, 3)
    waiting = queue(ingest, rows[:1], rows[1:2])
    with pytest.raises(Overloaded):
        queue(ingest, rows[2:])
    waiting[0].cancel()
    await asyncio.sleep(0)
    waiting += queue(ingest, rows[2:])  # what was given up makes room
    async with flushing(ingest):
        assert await asyncio.gather(*waiting[1:]) == [Outcome(1, 0), Outcome(1, 0)]


async def test_streams_wait_for_room_first_come_first_served(world: World) -> None:
    ingest = idle_ingest(world, max_records=2)
    rows = rows_of(world, 6)
    order: list[int] = []

    async def stream(number: int) -> None:
        await ingest.wait_for_room(2, 100)
        order.append(number)
        await queue(ingest, rows[2 * number : 2 * number + 2])[0]

    streams = [asyncio.create_task(stream(number)) for number in range(3)]
    await asyncio.sleep(0)
    async with flushing(ingest):
        await asyncio.gather(*streams)
    assert order == [0, 1, 2]
    assert await stored(world) == 6


# The database, away and back.


async def test_while_the_database_is_away_a_caller_is_told_after_a_few_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    nowhere = Database(f"postgresql://orca:x@127.0.0.1:{free_port()}/orcamesh", size=1)
    ingest = Ingest(nowhere, TelemetryWriter(), max_records=100, max_bytes=10**6)
    with capture_logs() as logs:
        waiting = queue(ingest, [record(ONE.id, World("").now)], [record(TWO.id, World("").now)])
        async with flushing(ingest):
            answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    failed = [entry for entry in logs if entry["event"] == "storing failed"]
    assert [entry["attempt"] for entry in failed] == [1, 2, 3]


async def test_a_batch_whose_connection_broke_is_stored_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    blocker, *rows = rows_of(world, 5)
    await world.hold([blocker])
    sending = asyncio.create_task(world.send(*rows, blocker))
    await wait_for_blocked(world, 1)
    await world.execute(f"SELECT pg_terminate_backend(pid) {BLOCKED}")
    await wait_for_blocked(world, 1)
    await world.release()
    assert await sending == 4
    assert await stored(world) == 5
    await world.tick()
    hours = await world.fetch("SELECT sum(operations) FROM agent_hours")
    assert hours[0]["sum"] == 10


async def test_stopping_stores_all_that_was_submitted(world: World) -> None:
    ingest = idle_ingest(world, flushers=2)
    requests = [[row] for row in rows_of(world, 200)]
    waiting = queue(ingest, *requests)
    running = asyncio.create_task(ingest.run())
    await asyncio.sleep(0)
    ingest.stop()
    await running
    assert all(future.done() for future in waiting)
    assert await stored(world) == 200


# What updates cost.


async def test_updates_of_facts_and_trust_stay_on_their_page(world: World) -> None:
    fleet = [agent(100 + n) for n in range(120)]
    await world.add(*fleet)
    await world.send(*(record(one.id, world.now, 2_000, name="long known") for one in fleet))
    rng = Random(3)
    for _ in range(60):
        world.pass_time(timedelta(seconds=20))
        some = rng.sample(fleet, k=60)
        rows = [record(one.id, world.now, 3, name=f"{world.now}") for one in some]
        beats = [heartbeat(one.id, world.now) for one in some[:10]]
        await world.send(*rows, *beats)
        await world.tick()
    await world.restart()  # a connection that ends tells what it counted
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1"
    for table in ("agent_hours", "agent_trust"):
        (found,) = await world.fetch(query, table)
        assert found["n_tup_upd"] > 3_000
        assert found["n_tup_hot_upd"] > 0.95 * found["n_tup_upd"], dict(found)
