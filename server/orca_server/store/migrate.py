"""Applies sql/migrations, in order, once, also when several servers start at the same time.

Who holds the advisory lock migrates; the others poll for it (waiting inside the lock would
deadlock with CREATE INDEX CONCURRENTLY, which waits for every transaction) and then find nothing
left to do. A migration is one transaction that first inserts its own row. One whose first line is
`-- orca: no-transaction` holds CREATE INDEX CONCURRENTLY only; an INVALID index that a failed try
left is dropped first.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import asyncpg

from orca_server.store.database import Connection, connect, unavailable
from orca_server.store.queries import sql_folder

LOCK = 0x6F726361_0001
"""Advisory lock of the runner; the high half spells orca."""
DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.05
LOCK_TIMEOUT = "5s"
NO_TRANSACTION = "-- orca: no-transaction"

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_INDEX = re.compile(r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(\w+)\s+ON\s", re.IGNORECASE)
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
)
"""


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of sql/migrations."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def label(self) -> str:
        """The file's name without suffix."""
        return f"{self.version:04d}_{self.name}"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """What is applied and what is not."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    version: int
    """Highest version that is applied; 0: none."""
    needed: int
    """Highest version that this release brings; a higher `version` is fine."""


def read_migrations(folder: Path | None = None) -> tuple[Migration, ...]:
    """The migrations of this release, in order.

    Raises:
        MigrationError: If a file has no well-formed name, or a number is missing or taken twice.
    """
    found = []
    for path in sorted((folder or sql_folder() / "migrations").glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named NNNN_what_it_does.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError("migrations are not numbered 0001, 0002, … without gaps")
    return tuple(found)


@cache
def own_migrations() -> tuple[Migration, ...]:
    """The migrations of the code that runs, read once: as its queries were.

    A checkout that is updated under a running server must not change the schema beneath it.
    """
    return read_migrations()


def needed_version() -> int:
    """The schema version that this release needs at least."""
    return len(own_migrations())


async def migrate(
    database_url: str,
    *,
    migrations: Sequence[Migration] | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> list[str]:
    """Brings the schema up to date.

    Args:
        database_url: postgresql://…
        migrations: Those of this release unless given.
        deadline_seconds: How long to wait for another runner, and for locks.

    Returns:
        Labels of the migrations that this call applied.

    Raises:
        MigrationError: If that is impossible.
        Unavailable: If the database does not answer.
    """
    wanted = own_migrations() if migrations is None else tuple(migrations)
    deadline = asyncio.get_running_loop().time() + deadline_seconds
    async with _runner(database_url, deadline) as connection:
        await connection.execute(_TABLE)
        done = await _applied(connection)
        _refuse_changed(wanted, done)
        pending = [migration for migration in wanted if migration.version not in done]
        if pending:
            await _ensure_vector(connection)
        for migration in pending:
            await _apply(connection, migration, deadline)
    return [migration.label for migration in pending]


async def migration_status(database_url: str) -> MigrationStatus:
    """What is applied and what is not; changes nothing.

    Raises:
        MigrationError: If an applied migration is not the one of this release.
        Unavailable: If the database does not answer.
    """
    async with _connected(database_url) as connection:
        return await read_status(connection)


async def read_status(connection: Connection) -> MigrationStatus:
    """The same on a connection that is there already; two statements.

    Raises:
        MigrationError: If an applied migration is not the one of this release.
    """
    wanted = read_migrations()
    exists = await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL")
    done = await _applied(connection) if exists else {}
    _refuse_changed(wanted, done)
    pending = tuple(each.label for each in wanted if each.version not in done)
    labels = tuple(f"{version:04d}_{name}" for version, (name, _) in sorted(done.items()))
    return MigrationStatus(labels, pending, max(done, default=0), len(wanted))


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[Connection]:
    """A connection of one's own; what the driver says of a lost one becomes Unavailable."""
    connection = await connect(database_url, name="orca-migrate", lock_timeout=LOCK_TIMEOUT)
    try:
        yield connection
        await connection.close()
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError) as error:
        raise unavailable(error) from error
    finally:
        connection.terminate()  # nothing, after close()


@asynccontextmanager
async def _runner(database_url: str, deadline: float) -> AsyncIterator[Connection]:
    """A connection that holds the advisory lock; it goes with the connection."""
    async with _connected(database_url) as connection:
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            if asyncio.get_running_loop().time() > deadline:
                raise MigrationError(
                    "another migration has been running for too long: see pg_locks "
                    f"(advisory lock {LOCK}) for the process that holds it"
                )
            await asyncio.sleep(POLL_SECONDS)
        yield connection


async def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    """Name and checksum of each applied migration, by version."""
    rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations")
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


def _refuse_changed(wanted: Sequence[Migration], done: dict[int, tuple[str, str]]) -> None:
    for migration in wanted:
        name, checksum = done.get(migration.version, (migration.name, migration.checksum))
        if (name, checksum) != (migration.name, migration.checksum):
            raise MigrationError(
                f"migration {migration.label} was applied in another form "
                f"({migration.version:04d}_{name}, {checksum[:12]}): released migrations are "
                "never edited; restore the file, or use the release that wrote this database"
            )


async def _ensure_vector(connection: Connection) -> None:
    if await connection.fetchval("SELECT true FROM pg_extension WHERE extname = 'vector'"):
        return
    database = await connection.fetchval("SELECT current_database()")
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except (
        asyncpg.InsufficientPrivilegeError,
        asyncpg.FeatureNotSupportedError,
        asyncpg.UndefinedFileError,
    ) as error:
        raise MigrationError(
            f"the extension vector is missing ({error}): install pgvector, then let a superuser "
            f'run: psql -d {database} -c "CREATE EXTENSION vector"'
        ) from error


async def _apply(connection: Connection, migration: Migration, deadline: float) -> None:
    """Applies one, again while other sessions hold its locks."""
    concurrently = migration.sql.startswith(NO_TRANSACTION)
    apply = _apply_concurrently if concurrently else _apply_in_transaction
    while True:
        try:
            return await apply(connection, migration)
        except asyncpg.LockNotAvailableError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise MigrationError(f"migration {migration.label}: {error}") from error
            await asyncio.sleep(POLL_SECONDS)
        except asyncpg.PostgresError as error:
            if isinstance(error, asyncpg.OperatorInterventionError):
                raise
            raise MigrationError(f"migration {migration.label}: {error}") from error


async def _apply_in_transaction(connection: Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await _record(connection, migration)
        await connection.execute(migration.sql)


async def _apply_concurrently(connection: Connection, migration: Migration) -> None:
    statements = [each.strip() for each in migration.sql.split(";\n")]
    for statement in filter(None, statements):
        match = _INDEX.search(statement)
        if match is None:
            raise MigrationError(
                f"migration {migration.label}: without a transaction there may be nothing but "
                "CREATE INDEX CONCURRENTLY name ON …"
            )
        if await _drop_invalid(connection, match[1]):
            await connection.execute(statement)
    await _record(connection, migration)


async def _drop_invalid(connection: Connection, index: str) -> bool:
    """Drops an index that a failed try left; false if a valid one is there."""
    valid = await connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", index
    )
    if valid is False:
        await connection.execute(f"DROP INDEX CONCURRENTLY {index}")
    return valid is not True


async def _record(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )
