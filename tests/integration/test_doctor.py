"""The doctor's look at a real database: in order, old, without rights, away."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import asyncpg
import pytest

from orca_server.doctor import database
from orca_server.doctor.database import DatabaseView
from orca_server.doctor.findings import Finding, Status
from orca_server.runtime import partitions
from orca_server.store.database import Database, connect
from orca_server.store.migrate import migrate, own_migrations
from orca_server.store.queries import QUERIES
from tests.servers import PostgresServer, free_port

OF_TABLES = {"migrations", "partitions"}


def judged(view: DatabaseView) -> dict[str, Finding]:
    found = database.check(view, retention_days=90, pool=8, start="orca up")
    return {each.name: each for each in found}


def examine(url: str) -> dict[str, Finding]:
    """What is found of a database."""
    return judged(asyncio.run(database.ask(url)))


def not_ok(found: dict[str, Finding]) -> set[str]:
    return {name for name, each in found.items() if each.status is not Status.OK}


async def make_partitions(url: str) -> None:
    db = Database(url, size=1)
    try:
        assert await partitions.ensure(db, datetime.now(UTC), 90)
    finally:
        await db.close()


@contextmanager
def role(postgres: PostgresServer, name: str) -> Iterator[str]:
    """The password of a role that owns nothing and was granted nothing."""
    postgres.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'its_own'")
    try:
        yield "its_own"
    finally:
        postgres.sql(f"DROP ROLE {name}")


def as_role(url: str, name: str, password: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}").geturl()


def test_a_database_in_order(database_url: str) -> None:
    asyncio.run(make_partitions(database_url))
    found = examine(database_url)
    assert not_ok(found) == set()
    assert "they lie ahead for 14" in found["partitions"].found
    assert found["extension"].found.startswith("vector ")


def test_a_database_that_no_server_has_seen(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        found = examine(url)
    assert not_ok(found) == OF_TABLES
    assert found["migrations"].mend == "orca db migrate"
    assert found["partitions"].status is Status.SKIPPED


def test_an_old_schema_names_what_is_missing(postgres: PostgresServer) -> None:
    every = own_migrations()
    with postgres.database() as url:
        asyncio.run(migrate(url, migrations=every[:3]))
        found = examine(url)
    assert not_ok(found) == OF_TABLES
    assert f"version 3, this release needs {len(every)} or more" in found["migrations"].found
    assert every[-1].label in found["migrations"].found


def test_an_edited_migration_is_told(database_url: str) -> None:
    async def edit() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE schema_migrations SET checksum = 'x' WHERE version = 2")
        await connection.close()

    asyncio.run(edit())
    found = examine(database_url)["migrations"]
    assert found.status is Status.FAIL
    assert "applied in another form" in found.found


def test_missing_partitions_fail(bare_database_url: str) -> None:
    found = examine(bare_database_url)
    assert not_ok(found) == {"partitions"}
    assert found["partitions"].status is Status.FAIL
    assert "0.0 days" in found["partitions"].found


def test_a_role_without_rights_is_told_what_to_grant(
    postgres: PostgresServer, database_url: str
) -> None:
    with role(postgres, "doctor_guest") as password:
        found = examine(as_role(database_url, "doctor_guest", password))
        name = urlsplit(database_url).path[1:]
        assert found["rights"].status is Status.FAIL
        command = f'psql -d {name} -c "GRANT USAGE, CREATE ON SCHEMA public TO doctor_guest"'
        assert found["rights"].mend == command
        assert "permission denied" in found["migrations"].found
        postgres.sql("GRANT USAGE, CREATE ON SCHEMA public TO doctor_guest", name)
        found = examine(as_role(database_url, "doctor_guest", password))
        assert "tables belong to orca" in found["rights"].found
        assert found["rights"].mend.endswith('"REASSIGN OWNED BY orca TO doctor_guest"')
        postgres.sql("REVOKE ALL ON SCHEMA public FROM doctor_guest", name)


def test_a_missing_extension_is_told_to_a_superuser(postgres: PostgresServer) -> None:
    with postgres.database("template0") as url:
        found = examine(url)["extension"]
        assert found.status is Status.FAIL
        assert (
            found.mend
            == f'as superuser: psql -d {urlsplit(url).path[1:]} -c "CREATE EXTENSION vector"'
        )


def test_a_transaction_that_stays_open_is_found(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LONG_TRANSACTION_SECONDS", 0.0)

    async def look() -> Finding:
        other = await connect(database_url, name="forgotten-psql")
        await other.execute("BEGIN")
        try:
            return judged(await database.ask(database_url))["transactions"]
        finally:
            other.terminate()

    found = asyncio.run(look())
    assert found.status is Status.WARN
    assert "forgotten-psql, idle in transaction" in found.found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"role": "nobody_here"}, "password authentication failed"),
        ({"path": "/nowhere"}, "does not exist"),
        ({"port": "closed"}, "connection refused"),
        ({"host": "nowhere.invalid"}, "host name is unknown"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_database_that_cannot_be_reached(
    postgres: PostgresServer, change: dict[str, str], words: str
) -> None:
    parts = urlsplit(postgres.url("postgres"))
    user, password = change.get("role", "orca"), change.get("password", parts.password)
    host = change.get("host", parts.hostname)
    port = free_port() if "port" in change else parts.port
    netloc = f"{user}:{password}@{host}:{port}"
    found = examine(parts._replace(netloc=netloc, path=change.get("path", parts.path)).geturl())
    assert found["database"].status is Status.FAIL
    assert words in found["database"].found
    assert found["database"].cause
    assert found["database"].mend
    assert {each.status for name, each in found.items() if name != "database"} == {Status.SKIPPED}


async def test_it_takes_as_many_statements_for_a_large_fleet(database_url: str) -> None:
    await make_partitions(database_url)
    connection = await asyncpg.connect(database_url)
    statements: list[str] = []

    async def count() -> int:
        view = DatabaseView(database_url)
        statements.clear()
        connection.add_query_logger(log)
        await database.read(view, connection)
        await asyncio.sleep(0)  # the driver tells loggers in the next turn
        connection.remove_query_logger(log)
        assert view.problems == {}
        return len(statements)

    def log(record: asyncpg.connection.LoggedQuery) -> None:
        statements.append(record.query)

    try:
        few = await count()
        await connection.execute(
            "INSERT INTO agents (tenant_id, id, type, name, state, source)"
            " SELECT '00000000-0000-0000-0000-000000000001', gen_random_uuid(), 'bot', n::text,"
            " 'ACTIVE', 'api' FROM generate_series(1, 2000) AS n"
        )
        assert 5 < await count() == few < 12
    finally:
        await connection.close()


async def test_no_large_table_is_read_whole(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    tenant = "'00000000-0000-0000-0000-000000000001'"
    try:
        await connection.execute(
            "INSERT INTO trust_inbox (tenant_id, agent_id)"
            f" SELECT {tenant}, gen_random_uuid() FROM generate_series(1, 150000)"
        )
        await connection.execute("ANALYZE")
        for name in ("doctor_count_backlog", "get_trust"):
            statement = QUERIES[name].replace("$1", tenant)
            rows = await connection.fetch(f"EXPLAIN {statement}")
            plan = "\n".join(row[0] for row in rows)
            assert "trust_inbox_pkey" in plan or "trust_current" in plan
            assert "Seq Scan on trust_inbox" not in plan
        view = DatabaseView(database_url)
        await database.read(view, connection)
        assert view.backlog == 100_000
    finally:
        await connection.close()
