"""The migration runner against a real database: once, in order, also by several at a time."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from orca_server.domain.errors import Unavailable
from orca_server.store import migrate as runner
from orca_server.store.migrate import Migration, MigrationError, migrate, migration_status
from tests.servers import PostgresServer, free_port

ALL = [migration.label for migration in runner.read_migrations()]


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    """A database with the extension and nothing else."""
    with postgres.database() as url:
        yield url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def applied(url: str) -> list[str]:
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT name FROM schema_migrations ORDER BY version")
    return [row["name"] for row in rows]


async def test_an_empty_database_gets_all_and_a_second_run_nothing(empty_url: str) -> None:
    assert await migrate(empty_url) == ALL
    assert await migrate(empty_url) == []
    status = await migration_status(empty_url)
    assert (list(status.applied), status.pending) == (ALL, ())
    assert status.version == status.needed == len(ALL)


async def test_the_status_of_an_empty_database_changes_nothing(empty_url: str) -> None:
    status = await migration_status(empty_url)
    assert (status.applied, status.version, list(status.pending)) == ((), 0, ALL)
    async with connected(empty_url) as connection:
        assert await connection.fetchval("SELECT to_regclass('schema_migrations')") is None


def test_of_three_processes_that_start_together_one_migrates(empty_url: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": empty_url,
        "ORCA_ANONYMOUS_ROLE": "viewer",
        "ORCA_ENV_FILE": os.devnull,
    }
    command = [sys.executable, "-m", "orca_server", "db", "migrate"]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = sorted(process.communicate(timeout=60)[0].splitlines() for process in started)
    assert [process.returncode for process in started] == [0, 0, 0]
    everything = [f"applied {label}" for label in ALL]
    assert outputs == sorted([everything, ["nothing to apply"], ["nothing to apply"]])


async def test_a_released_migration_that_changed_is_refused(empty_url: str) -> None:
    first = Migration(1, "first", "CREATE TABLE first (id integer)")
    await migrate(empty_url, migrations=[first])
    edited = Migration(1, "first", "CREATE TABLE first (id bigint)")
    with pytest.raises(MigrationError, match="0001_first was applied in another form"):
        await migrate(empty_url, migrations=[edited])


async def test_a_database_of_a_newer_release_is_left_alone(empty_url: str) -> None:
    first = Migration(1, "first", "CREATE TABLE first (id integer)")
    second = Migration(2, "second", "CREATE TABLE second (id integer)")
    await migrate(empty_url, migrations=[first, second])
    assert await migrate(empty_url, migrations=[first]) == []


async def test_a_failing_migration_leaves_nothing_of_itself(empty_url: str) -> None:
    good = Migration(1, "good", "CREATE TABLE good (id integer)")
    bad = Migration(2, "bad", "CREATE TABLE half (id integer); SELECT 1 / 0")
    with pytest.raises(MigrationError, match="0002_bad: division by zero"):
        await migrate(empty_url, migrations=[good, bad])
    assert await applied(empty_url) == ["good"]
    async with connected(empty_url) as connection:
        assert await connection.fetchval("SELECT to_regclass('half')") is None


async def test_it_waits_for_a_lock_that_others_hold(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_TIMEOUT", "50ms")
    first = Migration(1, "first", "CREATE TABLE first (id integer)")
    second = Migration(2, "second", "ALTER TABLE first ADD COLUMN name text")
    await migrate(empty_url, migrations=[first])
    async with connected(empty_url) as reader:
        transaction = reader.transaction()
        await transaction.start()
        await reader.execute("SELECT * FROM first")
        with pytest.raises(MigrationError, match="lock timeout"):
            await migrate(empty_url, migrations=[first, second], deadline_seconds=0)
        waiting = asyncio.create_task(migrate(empty_url, migrations=[first, second]))
        async with connected(empty_url) as watcher:
            blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
            while not await watcher.fetchval(blocked, "first"):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.01)
        await transaction.rollback()
        assert await waiting == ["0002_second"]


async def test_an_invalid_index_of_a_failed_try_is_made_anew(empty_url: str) -> None:
    table = Migration(1, "table", "CREATE TABLE numbers (value integer)")
    index = Migration(
        2,
        "index",
        f"{runner.NO_TRANSACTION}\n"
        "CREATE UNIQUE INDEX CONCURRENTLY numbers_value_idx ON numbers (value);\n",
    )
    await migrate(empty_url, migrations=[table])
    async with connected(empty_url) as connection:
        await connection.execute("INSERT INTO numbers VALUES (1), (1)")
        with pytest.raises(MigrationError, match="could not create unique index"):
            await migrate(empty_url, migrations=[table, index])
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'numbers_value_idx'::regclass"
        assert await connection.fetchval(valid) is False
        await connection.execute("DELETE FROM numbers")
        assert await migrate(empty_url, migrations=[table, index]) == ["0002_index"]
        assert await connection.fetchval(valid) is True


async def test_nothing_but_an_index_may_run_without_a_transaction(empty_url: str) -> None:
    loose = Migration(1, "loose", f"{runner.NO_TRANSACTION}\nCREATE TABLE loose (id integer);\n")
    with pytest.raises(MigrationError, match="CREATE INDEX CONCURRENTLY"):
        await migrate(empty_url, migrations=[loose])
    assert await applied(empty_url) == []


async def test_a_missing_extension_names_the_command_for_a_superuser(
    postgres: PostgresServer,
) -> None:
    with postgres.database("template0") as url:
        name = url.rsplit("/", 1)[1]
        with pytest.raises(MigrationError, match=rf'psql -d {name} -c "CREATE EXTENSION vector"'):
            await migrate(url)
        postgres.sql("CREATE EXTENSION vector", name)
        assert await migrate(url) == ALL


async def test_a_held_runner_lock_ends_in_an_error_that_says_so(empty_url: str) -> None:
    async with connected(empty_url) as holder:
        await holder.execute("SELECT pg_advisory_lock($1::bigint)", runner.LOCK)
        with pytest.raises(MigrationError, match=f"advisory lock {runner.LOCK}"):
            await migrate(empty_url, deadline_seconds=0)


async def test_a_database_that_is_away_is_said_to_be_unavailable() -> None:
    with pytest.raises(Unavailable, match="connection refused"):
        await migrate(f"postgresql://orca:x@127.0.0.1:{free_port()}/orcamesh")


def test_files_are_named_and_numbered(tmp_path: Any) -> None:
    (tmp_path / "0001_one.sql").write_text("SELECT 1")
    (tmp_path / "0003_three.sql").write_text("SELECT 3")
    with pytest.raises(MigrationError, match="without gaps"):
        runner.read_migrations(tmp_path)
    (tmp_path / "0002-two.sql").write_text("SELECT 2")
    with pytest.raises(MigrationError, match="not named"):
        runner.read_migrations(tmp_path)
