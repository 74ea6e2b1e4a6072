"""The log of changes: every write stands in it once, numbered in the order of commits."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.changes import Kind
from orca_server.runtime.changes import number
from orca_server.store import changes as store
from orca_server.store.database import Database
from tests.integration.change_log import SOON, db, gather, ids, log_of, reading, record
from tests.inventory import create, refused, sql
from tests.serving import server_process, wait_until_ready

__all__ = ["db", "sql"]
TENANT = DEFAULT_TENANT


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it is so."""
    async with asyncio.timeout(SOON):
        while not await done():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)


async def test_a_row_whose_last_writer_began_first_keeps_the_order_of_its_writes(
    sql: Any, db: Database, database_url: str
) -> None:
    """By transaction ids, the newer state would come first and be overwritten by the older one."""
    await sql.execute("CREATE TABLE things (id uuid PRIMARY KEY, said text)")
    thing = uuid4()
    await sql.execute("INSERT INTO things VALUES ($1, '')", thing)
    older = await asyncpg.connect(database_url)
    try:
        begun = older.transaction()
        await begun.start()
        first = await older.fetchval("SELECT pg_current_xact_id()::text::bigint")
        async with sql.transaction():  # begins later, writes first
            second = await sql.fetchval("SELECT pg_current_xact_id()::text::bigint")
            await sql.execute("UPDATE things SET said = 'by the younger' WHERE id = $1", thing)
            await record(sql, thing, kind=Kind.CREATED)
        await older.execute("UPDATE things SET said = 'by the older' WHERE id = $1", thing)
        await record(older, thing, kind=Kind.DELETED)
        await begun.commit()
    finally:
        await older.close()
    await number(db)
    assert first < second
    assert [one.kind for one in await store.read(sql, 0, 10)] == [Kind.CREATED, Kind.DELETED]


async def test_a_transaction_that_stays_open_holds_nobody_up(
    sql: Any, db: Database, database_url: str
) -> None:
    held, others = uuid4(), ids(3)
    holder = await asyncpg.connect(database_url)
    try:
        begun = holder.transaction()
        await begun.start()
        await record(holder, held)  # draws the lowest id, and commits last
        async with reading(db) as reader:
            subscription = await reader.subscribe()
            for one in others:
                await record(sql, one)
            assert [c.entity_id for c in await gather(subscription, 3)] == others
            await begun.commit()
            assert [c.entity_id for c in await gather(subscription, 1)] == [held]
    finally:
        await holder.close()
    assert [position for position, _ in await log_of(sql)] == [1, 2, 3, 4]


async def test_what_is_rolled_back_leaves_no_gap(sql: Any, db: Database) -> None:
    undone = sql.transaction()
    await undone.start()
    await record(sql, *ids(5))
    await undone.rollback()
    first = uuid4()
    await record(sql, first)
    await number(db)
    assert await log_of(sql) == [(1, first)]


async def test_several_that_number_at_once_leave_no_gap_and_double_nothing(
    sql: Any, database_url: str
) -> None:
    replicas = [Database(database_url, size=2) for _ in range(4)]
    written = ids(400)

    async def write(chunk: list[UUID]) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            for one in chunk:
                await record(connection, one)
        finally:
            await connection.close()

    async def number_on(replica: Database, done: asyncio.Event) -> None:
        while not done.is_set():
            await number(replica)
        await number(replica)

    done = asyncio.Event()
    numbering = [asyncio.create_task(number_on(replica, done)) for replica in replicas]
    await asyncio.gather(*(write(written[at::4]) for at in range(4)))
    done.set()
    await asyncio.gather(*numbering)
    for replica in replicas:
        await replica.close()
    found = await log_of(sql)
    assert [position for position, _ in found] == list(range(1, 401))
    assert {entity for _, entity in found} == set(written)


async def test_a_process_that_dies_while_it_numbers_leaves_no_gap(
    sql: Any, db: Database, database_url: str
) -> None:
    written = ids(3)
    await record(sql, *written)
    dying = await asyncpg.connect(database_url)
    undone = dying.transaction()
    await undone.start()
    assert await store.number(dying) == 3
    waiting = asyncio.create_task(number(db))  # for the lock that dies with the other
    await sql.execute("SELECT pg_terminate_backend($1, 10000)", dying.get_server_pid())
    await waiting
    dying.terminate()
    assert await log_of(sql) == list(enumerate(written, 1))


async def test_killed_servers_leave_no_gap(sql: Any, database_url: str) -> None:
    """Two servers number at once while agents are created; one is killed again and again."""
    made: list[str] = []
    killed = asyncio.Event()

    async def fill(target: str, name: str, count: int) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            await wait_until_ready(channel)
            stub = AgentServiceStub(channel)
            for at in range(count):
                try:
                    made.append((await create(stub, f"{name}-{at}")).id)
                except grpc.aio.AioRpcError:
                    if killed.is_set():
                        return
                    raise

    async def has_made(count: int) -> bool:
        return len(made) >= count

    with server_process(database_url) as lasting, server_process(database_url) as victim:
        target = (await asyncio.to_thread(lasting.start)).grpc
        steady = asyncio.create_task(fill(target, "steady", 150))
        for life in range(3):
            addresses = await asyncio.to_thread(victim.start)
            killed.clear()
            filling = asyncio.create_task(fill(addresses.grpc, f"life-{life}", 1_000_000))
            before = len(made)
            await until(partial(has_made, before + 20))
            killed.set()
            await asyncio.to_thread(victim.kill)
            await filling
        await steady
        await until(partial(sql.fetchval, "SELECT NOT EXISTS (SELECT FROM change_outbox)"))
    found = await log_of(sql)
    assert [position for position, _ in found] == list(range(1, len(found) + 1))
    told = [str(entity) for _, entity in found]
    assert len(set(told)) == len(told)
    assert set(made) <= set(told)
    stored = await sql.fetch("SELECT id FROM agents")
    assert {str(row["id"]) for row in stored} == set(told)


async def test_every_write_of_an_agent_is_told(
    agents_stub: AgentServiceStub, sql: Any, db: Database
) -> None:
    one = await create(agents_stub, "one")
    await agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=one.id))
    await agents_stub.ResumeAgent(pb.ResumeAgentRequest(id=one.id))
    update = pb.UpdateAgentRequest(agent=agent_pb2.Agent(id=one.id, owner="me"))
    update.update_mask.paths.append("owner")
    await agents_stub.UpdateAgent(update)
    await agents_stub.UpdateAgent(update)  # changes nothing
    await agents_stub.DeleteAgent(pb.DeleteAgentRequest(id=one.id))
    imported = pb.ImportAgentsRequest()
    imported.content.data = b'[{"name": "a", "version": "1"}, {"name": "b", "version": "1"}]'
    await agents_stub.ImportAgents(imported)
    await number(db)
    found = await store.read(sql, 0, 100)
    assert [(c.kind, str(c.entity_id) == one.id) for c in found] == [
        ("created", True),
        ("updated", True),
        ("updated", True),
        ("updated", True),
        ("deleted", True),
        ("created", False),
        ("created", False),
    ]
    assert {(c.tenant_id, c.entity_type) for c in found} == {(TENANT, "agent")}


async def test_a_refused_write_tells_nothing(
    agents_stub: AgentServiceStub, sql: Any, db: Database
) -> None:
    one = await create(agents_stub, "one")
    await refused(create(agents_stub, "one"))
    await refused(agents_stub.SuspendAgent(pb.SuspendAgentRequest(id=one.id, etag="old")))
    await number(db)
    assert len(await log_of(sql)) == 1


async def test_an_entry_that_reports_is_told_as_changed(
    agents_stub: AgentServiceStub, sql: Any, db: Database
) -> None:
    imported = pb.ImportAgentsRequest()
    imported.content.data = b'[{"name": "a", "version": "1"}]'
    await agents_stub.ImportAgents(imported)
    entry = (await agents_stub.ListAgents(pb.ListAgentsRequest(show_catalog=True))).agents[0]
    telemetry = pb.RecordTelemetryRequest()
    telemetry.records.add(agent_id=entry.id, operations=1).observed_at.GetCurrentTime()
    await agents_stub.RecordTelemetry(telemetry)

    async def enrolled() -> bool:
        return bool((await agents_stub.ListAgents(pb.ListAgentsRequest())).agents)

    await until(enrolled)
    await number(db)
    found = await store.read(sql, 0, 100)
    assert [(c.kind, str(c.entity_id)) for c in found] == [
        ("created", entry.id),
        ("updated", entry.id),
    ]
