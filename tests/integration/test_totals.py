"""Totals of lists: counted once while nothing changes, and right after every write and tick."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.store import totals
from orca_server.store.totals import Totals
from tests.inventory import create, sql

__all__ = ["sql"]

COUNT = "SELECT count(*) FROM agents WHERE tenant_id = $1 AND name <> $2"
TENANT = UUID(int=5)


class Counting:
    """A connection that counts how often rows were counted."""

    def __init__(self, connection: Any) -> None:
        self.fetchrow = connection.fetchrow
        self._connection = connection
        self.counts = 0

    async def fetchval(self, *args: Any) -> Any:
        self.counts += 1
        return await self._connection.fetchval(*args)


async def total(db: Any, known: Totals, name: str = "", *, ticks: bool = False) -> int:
    return await known.of(db, TENANT, COUNT, [TENANT, name], ticks=ticks)


async def insert(sql: Any, name: str, *, told: bool) -> None:
    """An agent, with its change in the log or, as nobody but hands may, without."""
    await sql.execute(
        "INSERT INTO agents (tenant_id, id, type, name, state, source)"
        " VALUES ($1, gen_random_uuid(), 'mcp', $2, 'ACTIVE', 'api')",
        TENANT,
        name,
    )
    if told:
        await sql.execute(
            "INSERT INTO change_outbox (tenant_id, entity_type, entity_id, kind)"
            " VALUES ($1, 'agent', gen_random_uuid(), 'created')",
            TENANT,
        )


async def number(sql: Any) -> None:
    """Gives positions to what waits."""
    async with sql.transaction():
        await sql.fetch(totals.QUERIES["number_changes"], 1_000)


async def test_what_nobody_changed_is_counted_once(sql: Any) -> None:
    db, known = Counting(sql), Totals()
    assert [await total(db, known) for _ in range(3)] == [0, 0, 0]
    assert db.counts == 1
    assert await total(db, known, "other") == 0  # another filter is another total
    assert db.counts == 2


async def test_a_change_is_seen_before_and_after_it_has_a_position(sql: Any) -> None:
    db, known = Counting(sql), Totals()
    seen = [await total(db, known)]
    for name in ("a", "b"):
        await insert(sql, name, told=True)
        seen.append(await total(db, known))
        await number(sql)
        seen.append(await total(db, known))
    assert seen == [0, 1, 1, 2, 2]
    counted = db.counts
    assert await total(db, known) == 2
    assert db.counts == counted


async def test_a_tick_counts_for_those_who_read_what_it_writes(sql: Any) -> None:
    db, known = Counting(sql), Totals()
    for _ in range(2):
        await total(db, known)
        await total(db, known, ticks=True)
        await sql.execute(
            "INSERT INTO trust_current (tenant_id, as_of, interval_seconds, duration_seconds, band,"
            " capped_by, summary, digest, recorded_digest)"
            " VALUES ($1, clock_timestamp(), 1, 0, '', '{}', '{}', '', '')"
            " ON CONFLICT (tenant_id) DO UPDATE SET as_of = excluded.as_of",
            TENANT,
        )
        await total(db, known)
    counted = db.counts
    await total(db, known)
    assert db.counts == counted
    await total(db, known, ticks=True)
    assert db.counts == counted + 1


async def test_what_was_written_by_hand_is_counted_after_a_while(
    sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Totals()
    assert await total(sql, known) == 0
    await insert(sql, "by-hand", told=False)
    assert await total(sql, known) == 0
    monkeypatch.setattr(totals.time, "monotonic", lambda: 1e12)
    assert await total(sql, known) == 1


async def test_totals_that_are_kept_are_bounded(sql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "KEPT", 2)
    db, known = Counting(sql), Totals()
    for name in ("a", "b", "a", "c", "a"):  # c displaces b, which was asked for before a
        await total(db, known, name)
    assert db.counts == 3
    await total(db, known, "b")
    assert db.counts == 4


async def test_a_list_shows_the_total_after_every_acknowledged_write(
    agents_stub: AgentServiceStub, sql: Any
) -> None:
    async def listed() -> int:
        request = pb.ListAgentsRequest(page_size=1, filter='name = "a*"')
        return (await agents_stub.ListAgents(request)).total_size

    for count in range(1, 6):
        made = await create(agents_stub, f"a{count}")
        assert [await listed() for _ in range(3)] == [count] * 3
        if count % 2:
            await asyncio.sleep(0.05)  # numbered by now, as a rule
    await agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=made.id))
    assert await listed() == 4
    assert await sql.fetchval("SELECT count(*) FROM agents WHERE tenant_id = $1", DEFAULT_TENANT)
