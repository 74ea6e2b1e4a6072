"""Large batches go by COPY, single records by a short statement: what is stored is the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.numbers import MAX_SUM
from orca_server.domain.telemetry import Row, violates
from orca_server.domain.telemetry_block import Block, Column
from orca_server.runtime.telemetry_writer import COPY_ROWS
from orca_server.store.batches import ALL_STORED
from orca_server.store.database import Connection
from orca_server.store.telemetry import store_row, store_rows
from orca_server.store.telemetry_copy import copy_blocks
from tests.histories import OTHER_TENANT, World, agent, heartbeat, random_records, record

ONE, TWO = agent(1), agent(2)
GONE, ASIDE, UNKNOWN = agent(3), agent(4), agent(99).id
COLUMNS = (
    "agent_id, key, observed_at, operations, errors, violations, attempts, blocked_violations, "
    "latency_us, latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, rule, "
    "counted"
)
SUMS = """
    SELECT
        agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at,
        last_counted_at, last_seen_at
    FROM trust_inbox WHERE hour IS NOT NULL ORDER BY agent_id, hour
"""
VIOLATIONS = """
    SELECT agent_id, rule, violations, blocked_violations, observed_at
    FROM violation_inbox ORDER BY agent_id, observed_at, violations, blocked_violations
"""


@pytest.fixture
async def world(bare_database_url: str) -> AsyncIterator[World]:
    """Two replicas and agents in every state that matters."""
    world = World(bare_database_url)
    await world.prepare()
    await open_world(world)
    yield world
    await world.close()


async def open_world(world: World) -> None:
    await world.open()
    await world.add(ONE, TWO, GONE, ASIDE)
    await world.operate(GONE.id, "retire")
    await world.operate(ASIDE.id, "suspend")


def many(world: World, count: int = COPY_ROWS) -> list[Row]:
    """Enough records for COPY, of an agent and a few minutes."""
    return [record(ONE.id, world.now - timedelta(seconds=n), 2, name=f"r{n}") for n in range(count)]


def uniform(seed: int, world: World) -> list[Row]:
    """Records with operations on both sides of midnight; each optional column of all or of none."""
    rng = Random(seed)
    rows = [row for row in random_records(rng, [ONE.id, TWO.id], world.now, 300) if row[3]]
    rows = list({row[:2]: row for row in rows}.values())
    there = [rng.random() < 0.7 for _ in range(7)]
    most = (10**9, 10**9, 86_400_000_000, 86_400_000_000, 10**15, 10**9, 10**9)
    if seed % 2:  # sums near those of 64 bits are left to the statement
        most = tuple(value // 10**3 for value in most)
    return [
        (
            *row[:6],
            *(rng.randint(0, top) if has else None for top, has in zip(most, there, strict=True)),
            None,
            None,
        )
        for row in rows
    ]


def block_of(rows: Sequence[Row]) -> Block:
    """The block that holds these rows."""
    columns = list(zip(*rows, strict=True))

    def ids(column: Sequence[UUID]) -> Column:
        return np.frombuffer(b"".join(each.bytes for each in column), ">u8").reshape(-1, 2)

    return Block(
        agents=ids(columns[0]),
        keys=ids(columns[1]),
        observed_us=np.array(columns[2], np.int64),
        counts=tuple(np.array(column, np.int32) for column in columns[3:6]),
        optional=tuple(
            None if column[0] is None else np.array(column, np.int64) for column in columns[6:13]
        ),
        uuid_of=lambda data: UUID(bytes=data),
    )


def varied(seed: int, world: World) -> list[Row]:
    """Records with any column NULL or not, some with attributes, on both sides of midnight."""
    rng = Random(seed)
    rows = random_records(rng, [ONE.id], world.now, 200)
    rows += [heartbeat(TWO.id, world.now - timedelta(minutes=n)) for n in range(50)]
    rows = list({row[:2]: row for row in rows}.values())
    texts = (None, None, '{"a":1}', '{"text":"\\u0000 \\u00e9"}', '{"t":"日本"}')
    return [
        (*row[:9], rng.choice([None, row[8]]), *row[10:13], rng.choice(texts), None) for row in rows
    ]


async def what_is_stored(world: World) -> tuple[list[Any], list[Any], list[Any]]:
    rows = await world.fetch(f"SELECT {COLUMNS} FROM telemetry ORDER BY agent_id, key")
    return rows, await world.fetch(SUMS), await world.fetch(VIOLATIONS)


async def through_copy(world: World, rows: Sequence[Row]) -> bool:
    async with world.replicas[0].database.connection() as connection:
        blocks = [block_of(rows[:99]), block_of(rows[99:])]
        return await copy_blocks(connection, DEFAULT_TENANT, blocks)


@pytest.mark.parametrize("seed", range(8))
async def test_copy_stores_what_the_statement_stores(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orca_server.store.telemetry_copy.LEAST_ROWS_PER_HOUR", 0)
    rows = uniform(seed, world)
    assert any(map(violates, rows))
    async with world.replicas[0].database.connection() as connection:
        stored = await store_rows(connection, [DEFAULT_TENANT] * len(rows), rows, [1] * len(rows))
    assert stored == ALL_STORED
    expected = await what_is_stored(world)
    await world.close()
    await open_world(world)
    if await through_copy(world, rows):
        assert await what_is_stored(world) == expected
    else:
        names = ("latency_us", "cost_nano_usd")
        assert max(sum(row[name] for row in expected[1]) for name in names) >= MAX_SUM // 2
        assert await what_is_stored(world) == ([], [], [])


async def test_a_single_record_is_stored_as_the_statement_stores_it(world: World) -> None:
    rows = [row for row in varied(0, world) if not violates(row)]
    async with world.replicas[0].database.connection() as connection:
        for row in rows:
            await store_rows(connection, [DEFAULT_TENANT], [row], [1])
        rows_then, sums_then, _ = await what_is_stored(world)
        await world.execute("DELETE FROM telemetry")
        await world.execute("DELETE FROM trust_inbox")
        for row in rows:
            assert await store_row(connection, DEFAULT_TENANT, row)
    rows_now, sums_now, _ = await what_is_stored(world)
    assert rows_now == rows_then
    assert sorted(map(repr, sums_now)) == sorted(map(repr, sums_then))


async def test_a_single_record_that_is_unusual_is_left_to_the_statement(world: World) -> None:
    row, *_ = many(world)
    async with world.replicas[0].database.connection() as connection:
        assert await store_row(connection, DEFAULT_TENANT, row)
        violating = record(ONE.id, world.now, violations=1, name="violating")
        for unusual in (
            row,
            violating,
            *(record(who, world.now) for who in (GONE.id, ASIDE.id, UNKNOWN)),
        ):
            assert not await store_row(connection, DEFAULT_TENANT, unusual)
    assert len((await what_is_stored(world))[0]) == 1


@pytest.mark.parametrize("who", [GONE.id, ASIDE.id, UNKNOWN], ids=["retired", "aside", "none"])
async def test_an_agent_that_may_not_count_keeps_all_out(world: World, who: Any) -> None:
    rows = [*many(world), *(record(who, world.now, name=f"x{n}") for n in range(9))]
    assert not await through_copy(world, rows)
    assert await what_is_stored(world) == ([], [], [])


async def test_a_record_that_is_there_keeps_all_out(world: World) -> None:
    rows = many(world)
    assert await world.send(rows[7]) == 1
    before = await what_is_stored(world)
    assert not await through_copy(world, rows)
    assert not await through_copy(world, [*rows[10:], rows[20]])
    assert await what_is_stored(world) == before


async def test_records_of_many_hours_are_left_to_the_statement(world: World) -> None:
    rows = [record(ONE.id, world.now - timedelta(hours=n), name=f"r{n}") for n in range(COPY_ROWS)]
    assert not await through_copy(world, rows)
    assert await world.send(*rows) == len(rows)


async def test_a_large_request_is_counted_once_and_each_row_found_out_about(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[bool] = []

    async def counted(connection: Connection, *arguments: Any) -> bool:
        copied.append(await copy_blocks(connection, *arguments))
        return copied[-1]

    monkeypatch.setattr("orca_server.runtime.telemetry_writer.copy_blocks", counted)
    rows, late = many(world, 400), many(world, 600)
    stray = [record(GONE.id, world.now, name=f"x{n}") for n in range(3)]
    assert await world.deliver([block_of(rows)]) == 400
    assert copied == [True]
    ingest = world.replicas[0].ingest
    outcome = await ingest.submit(DEFAULT_TENANT, block_of([*stray, *late]), 1, atomic=False)
    assert copied == [True, False]
    assert (outcome.accepted, outcome.duplicates, outcome.retired) == (200, 400, {0, 1, 2})
    await world.deliver([block_of(many(world, 700))])
    assert copied == [True, False], "for a while COPY is not tried again"
    assert len((await what_is_stored(world))[0]) == 700


async def test_two_tenants_share_no_copy(world: World) -> None:
    other = agent(1, tenant=OTHER_TENANT)
    await world.add(other, tenant=OTHER_TENANT)
    theirs = [record(other.id, world.now - timedelta(seconds=n), name=f"r{n}") for n in range(300)]
    answers = await asyncio.gather(
        world.deliver([block_of(many(world))]),
        world.deliver([block_of(theirs)], tenant=OTHER_TENANT),
    )
    assert answers == [COPY_ROWS, 300]
    tenants = await world.fetch("SELECT tenant_id, count(*) FROM telemetry GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in tenants] == [(DEFAULT_TENANT, COPY_ROWS), (OTHER_TENANT, 300)]


async def test_two_replicas_that_copy_the_same_records_store_them_once(world: World) -> None:
    rng = Random(11)
    days = [timedelta(days=n % 3, seconds=n) for n in range(900)]
    rows = [record(ONE.id, world.now - ago, 2, name=f"r{n}") for n, ago in enumerate(days)]
    requests = [rng.sample(rows, k=len(rows)) for _ in range(6)]
    assert await world.deliver([block_of(each) for each in requests]) == len(rows)
    assert len((await what_is_stored(world))[0]) == len(rows)
