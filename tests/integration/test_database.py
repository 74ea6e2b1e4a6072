"""Checkout of connections: fair, clean, and back by itself when the database is."""
# ruff: noqa: PT012 - errors are to pass through the checkout's blocks

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from orca_server.domain.errors import NotFound, Unavailable
from orca_server.store import database
from orca_server.store.database import Connection, Database
from tests.servers import PostgresServer, free_port


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, size=2)
    yield opened
    await opened.close()


async def pid_of(connection: Connection) -> int:
    pid: int = await connection.fetchval("SELECT pg_backend_pid()")
    return pid


async def test_connections_are_handed_out_in_the_order_of_asking(database_url: str) -> None:
    db = Database(database_url, size=1)
    order: list[int] = []

    async def ask(number: int) -> None:
        async with db.connection() as connection:
            order.append(number)
            await connection.fetchval("SELECT 1")

    async with db.connection():
        waiting = []
        for number in range(20):
            waiting.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0)  # it stands in the queue now
    late = asyncio.create_task(ask(20))
    await asyncio.gather(*waiting, late)
    await db.close()
    assert order == list(range(21))


async def test_connections_are_opened_when_needed_and_used_again(db: Database) -> None:
    assert db.usage == database.Usage(size=2, open=0, in_use=0)
    async with db.connection() as first:
        pid = await pid_of(first)
        assert db.usage == database.Usage(size=2, open=1, in_use=1)
    async with db.connection() as again, db.connection() as second:
        assert await pid_of(again) == pid
        assert await pid_of(second) != pid
    assert db.usage == database.Usage(size=2, open=2, in_use=0)


async def test_who_waits_too_long_is_told_and_takes_no_place(db: Database) -> None:
    async with db.connection(), db.connection():
        with pytest.raises(Unavailable, match="all 2 connections were busy") as caught:
            async with db.connection(timeout=0.01):
                pytest.fail("there is no third")
    assert caught.value.retry_after_seconds
    async with db.connection(), db.connection():
        pass


async def test_a_transaction_is_committed_or_leaves_nothing(db: Database) -> None:
    async with db.connection() as connection:
        await connection.execute("CREATE TABLE kept (id integer)")
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO kept VALUES (1)")
    with pytest.raises(NotFound):
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO kept VALUES (2)")
            raise NotFound("AGENT_NOT_FOUND", "as a servicer would")
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO kept VALUES (3)")
            await tx.fetchval("SELECT 1 / 0")
    async with db.connection() as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM kept")] == [1]


async def test_a_refused_statement_costs_no_connection(db: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with db.connection() as connection:
            pid = await pid_of(connection)
            await connection.fetchval("SELECT 1 / 0")
    async with db.connection() as connection:
        assert await pid_of(connection) == pid


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(30)", "SELECT 1"])
async def test_a_cancelled_call_leaves_no_open_transaction(db: Database, statement: str) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with db.transaction() as tx:
            await tx.execute("CREATE TABLE half (id integer)")
            started.set()
            await tx.execute(statement)
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(3):
        async with db.connection() as one, db.connection() as two:
            for connection in (one, two):
                assert not connection.is_in_transaction()
                assert await connection.fetchval("SELECT to_regclass('half')") is None


async def test_many_cancelled_calls_leave_all_places_free(db: Database) -> None:
    async def work() -> None:
        async with db.transaction() as tx:
            await tx.execute("SELECT pg_sleep(30)")

    tasks = [asyncio.create_task(work()) for _ in range(20)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with db.connection(timeout=5), db.connection(timeout=5):
        assert db.usage.in_use == 2


async def test_a_connection_that_the_server_ended_is_replaced(
    db: Database, database_url: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        async with db.connection() as connection:
            pid = await pid_of(connection)
            other = await asyncpg.connect(database_url)
            await other.execute("SELECT pg_terminate_backend($1)", pid)
            await other.close()
            await connection.fetchval("SELECT pg_sleep(10)")
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    async with db.connection() as connection:
        assert await pid_of(connection) != pid


async def test_idle_connections_that_were_ended_go_unnoticed(
    db: Database, postgres: PostgresServer, database_url: str
) -> None:
    async with db.connection(), db.connection():
        pass
    name = database_url.rsplit("/", 1)[1]
    end_all = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname"
    ended = postgres.sql(f"{end_all} = '{name}'")
    assert ended == "2"
    await asyncio.sleep(0.05)  # the sockets' ends arrive
    await db.ping()


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 0.05)
    db = Database(database_url, size=1)
    with pytest.raises(Unavailable, match="statement timeout"):
        async with db.connection() as connection:
            await connection.fetchval("SELECT pg_sleep(30)")
    await db.close()


async def test_a_schema_that_is_not_there_yet_is_no_fault_of_the_caller(db: Database) -> None:
    with pytest.raises(Unavailable, match="schema is older"):
        async with db.connection() as connection:
            await connection.fetch("SELECT * FROM not_yet")


async def test_a_refused_connection_says_so_and_further_calls_fail_at_once() -> None:
    db = Database(f"postgresql://orca:x@127.0.0.1:{free_port()}/orcamesh", size=2)
    with pytest.raises(Unavailable, match="connection refused"):
        await db.ping()
    started = time.monotonic()
    for _ in range(1000):
        with pytest.raises(Unavailable, match="connection refused"):
            await db.ping()
    assert db.usage.in_use == 0
    assert time.monotonic() - started < 30, "none waited for a deadline"
    await db.close()


async def test_a_host_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        db = Database(f"postgresql://orca:x@127.0.0.1:{port}/orcamesh", size=1)
        with pytest.raises(Unavailable, match="no answer in time"):
            await db.ping()
        await db.close()


async def test_a_wrong_password_is_told_as_such(database_url: str) -> None:
    db = Database(database_url.replace(":for-tests_only@", ":wrong@"), size=1)
    with pytest.raises(Unavailable, match="password authentication failed"):
        await db.ping()
    await db.close()


async def test_it_comes_back_after_the_database_was_killed(
    durable_postgres: PostgresServer,
) -> None:
    db = Database(durable_postgres.url(), size=2)
    async with db.connection() as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    durable_postgres.kill()
    with pytest.raises(Unavailable):
        for _ in range(3):  # the sockets' ends may not have arrived yet
            await db.ping()
            await asyncio.sleep(0.05)
    durable_postgres.start()
    await asyncio.sleep(database.REFUSAL_SECONDS)
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT value FROM kept") == 42
    await db.close()


async def test_closing_waits_for_what_is_in_use_and_lets_nobody_in(db: Database) -> None:
    release = asyncio.Event()

    async def work() -> int:
        async with db.connection() as connection:
            await release.wait()
            value: int = await connection.fetchval("SELECT 7")
            return value

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    closing = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="stopping"):
        await db.ping()
    release.set()
    assert await task == 7
    await closing
    assert db.usage.open == 0
