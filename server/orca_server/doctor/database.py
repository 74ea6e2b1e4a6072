"""Checks of the database: reachable, rights, extension, migrations, partitions, clock, load."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from orca_server.doctor.findings import Finding, fail, ok, skipped, warn
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.domain.errors import Unavailable
from orca_server.runtime import partitions
from orca_server.store import doctor as store
from orca_server.store import migrate, system, trust
from orca_server.store.database import Connection, Record, connect
from orca_server.store.doctor import ForeignTables, OpenFindings, OpenTransaction, ServerFacts
from orca_server.store.migrate import MigrationError, MigrationStatus

DEADLINE_SECONDS = 20.0
STATEMENT_MILLISECONDS = "5000"
OLDEST_VERSION = 160_000
COMFORTABLE_DAYS = 7.0
"""The server makes partitions 14 days ahead each hour: with fewer it has not run for a week."""
LARGEST_SKEW = timedelta(seconds=2)
REFUSED_SKEW = timedelta(minutes=5)
"""Records that are further ahead of the database's clock are refused."""
LONG_TRANSACTION_SECONDS = 600.0
BUSY_SHARE = 0.8
_FAILED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, MigrationError)
_Read = TypeVar("_Read")


@dataclass(slots=True)
class DatabaseView:
    """What the database gave; None where it gave nothing, with the reason in `problems`."""

    url: str = ""
    error: Unavailable | None = None
    server: ServerFacts | None = None
    skew: timedelta = timedelta()
    foreign: ForeignTables | None = None
    migrations: MigrationStatus | None = None
    days: set[date] | None = None
    trust: Record | None = None
    open: OpenFindings | None = None
    backlog: int | None = None
    transaction: OpenTransaction | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The database as people name it, without its password."""
        parts = urlsplit(self.url)
        user = f"{parts.username}@" if parts.username else ""
        return f"{user}{parts.hostname or 'local'}:{parts.port or 5432}{parts.path}"


async def ask(url: str) -> DatabaseView:
    """All that is asked of the database, in a constant number of statements."""
    view = DatabaseView(url)
    if not url:
        return view
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            connection = await connect(
                url, name="orca-doctor", statement_timeout=STATEMENT_MILLISECONDS
            )
            try:
                await read(view, connection)
            finally:
                connection.terminate()
    except Unavailable as error:
        view.error = error
    except TimeoutError:
        view.problems.setdefault("server", f"no answer within {DEADLINE_SECONDS:g} s")
    return view


async def read(view: DatabaseView, connection: Connection) -> None:
    """Asks over a connection; what is refused is noted, and the rest asked all the same."""
    before = datetime.now(UTC)
    view.server = await _tried(view, "server", store.read_server, connection)
    after = datetime.now(UTC)
    if view.server is not None:
        view.skew = view.server.clock - (before + (after - before) / 2)
    view.foreign = await _tried(view, "foreign", store.list_foreign_tables, connection)
    view.migrations = await _tried(view, "migrations", migrate.read_status, connection)
    found = await _tried(view, "days", system.list_partitions, connection)
    view.days = None if found is None else system.attached_days(found)
    view.trust = await _tried(view, "trust", trust.get, connection, DEFAULT_TENANT)
    view.open = await _tried(view, "open", store.count_open, connection, DEFAULT_TENANT)
    view.backlog = await _tried(view, "backlog", store.count_backlog, connection, DEFAULT_TENANT)
    view.transaction = await _tried(view, "transaction", store.read_oldest_transaction, connection)


async def _tried(
    view: DatabaseView, name: str, ask_for: Callable[..., Awaitable[_Read]], *arguments: Any
) -> _Read | None:
    try:
        return await ask_for(*arguments)
    except _FAILED as error:
        view.problems[name] = str(error) or type(error).__name__
        return None


def check(view: DatabaseView, *, retention_days: int, pool: int, start: str) -> list[Finding]:
    """All checks of the database.

    Args:
        view: What it gave.
        retention_days: For which telemetry may be sent.
        pool: Connections that a server may open.
        start: The command that starts database and server.
    """
    reach = _reach(view, start)
    facts = view.server
    if facts is None:
        names = ("rights", "extension", "migrations", "partitions", "clock", "connections")
        why = "the database does not answer" if view.url else "no database is known"
        return [reach, *(skipped(name, why) for name in (*names, "transactions"))]
    return [
        reach,
        _rights(view, facts),
        _extension(facts),
        _migrations(view),
        _partitions(view, facts.clock, retention_days, start),
        _clock(view.skew),
        _connections(facts, pool),
        _transactions(view),
    ]


def _reach(view: DatabaseView, start: str) -> Finding:
    facts = view.server
    if not view.url:
        return skipped("database", "DATABASE_URL is not known: see the check settings")
    if facts is None:
        told = view.error.message if view.error else view.problems["server"]
        kind = view.error.metadata.get("cause", "") if view.error else ""
        cause, mend = _advice(kind, view, start)
        return fail("database", f"{view.place}: {told}", cause, mend)
    found = f"PostgreSQL {facts.version_text} at {view.place}"
    if facts.version < OLDEST_VERSION:
        cause = "ORCA AgentMesh needs PostgreSQL 16 or newer"
        return fail("database", found, cause, "pg_upgrade, or DATABASE_URL to a newer one")
    if facts.is_read_only:
        cause = "it is a standby, or was set to refuse writes: DATABASE_URL must name the primary"
        mend = 'psql "$DATABASE_URL" -c "SELECT pg_is_in_recovery()"'
        return fail("database", found, cause, mend)
    return ok("database", found)


def _advice(kind: str, view: DatabaseView, start: str) -> tuple[str, str]:
    """Likely cause and remedy of a connection that failed, by the kind of its exception."""
    try_it = 'psql "$DATABASE_URL" -c "SELECT 1"'
    match kind:
        case "ConnectionRefusedError":
            return "nothing listens there: it does not run, or host or port are wrong", start
        case "gaierror":
            return "DATABASE_URL names a host that is not known here", f"correct it; then: {try_it}"
        case "InvalidPasswordError" | "InvalidAuthorizationSpecificationError":
            role = urlsplit(view.url).username or "ROLE"
            cause = "role or password in DATABASE_URL are wrong, or pg_hba.conf refuses this host"
            return cause, f"as superuser: ALTER ROLE {role} PASSWORD '...'; then: {try_it}"
        case "InvalidCatalogNameError":
            parts = urlsplit(view.url)
            mend = f"createdb -O {parts.username} {parts.path.strip('/')}"
            return "the server is there, the database is not", mend
        case "TooManyConnectionsError":
            cause = "other programs hold all connections"
            return cause, "lower PGMAXCONNECTIONS of the replicas, or raise max_connections"
        case "CannotConnectNowError":
            return "it is starting, or recovering after a crash", "wait, and look at its own log"
        case _:
            return "the network, a firewall, or a host that is overloaded", try_it


def _rights(view: DatabaseView, facts: ServerFacts) -> Finding:
    if facts.schema is None or not facts.may_create:
        schema = facts.schema or "public"
        return fail(
            "rights",
            f"{facts.role} may not make tables in the schema {schema} of {facts.database}",
            "since PostgreSQL 15 only a database's owner may, unless it is granted",
            f'psql -d {facts.database} -c "GRANT USAGE, CREATE ON SCHEMA {schema} TO {facts.role}"',
        )
    foreign = view.foreign
    if foreign is None:
        return skipped("rights", f"cannot be read: {view.problems.get('foreign', '')}")
    if foreign.count:
        return fail(
            "rights",
            f"{foreign.count} tables belong to {foreign.owner}, and {facts.role} may not alter "
            f"them: {', '.join(foreign.names)}",
            "another role restored or migrated this database",
            f'psql -d {facts.database} -c "REASSIGN OWNED BY {foreign.owner} TO {facts.role}"',
        )
    return ok("rights", f"{facts.role} may make tables in {facts.schema}, and owns ours")


def _extension(facts: ServerFacts) -> Finding:
    create = f'psql -d {facts.database} -c "CREATE EXTENSION vector"'
    if facts.vector_version:
        return ok("extension", f"vector {facts.vector_version}")
    if not facts.vector_available:
        cause = "pgvector is not installed where PostgreSQL runs"
        return fail("extension", "vector is missing", cause, f"install pgvector; then: {create}")
    found = f"vector {facts.vector_available} is installed, and not created in {facts.database}"
    if facts.may_create_vector:
        return warn("extension", found, "this database was not migrated yet", "orca db migrate")
    cause = f"only a superuser may create it, and {facts.role} is none"
    return fail("extension", found, cause, f"as superuser: {create}")


def _migrations(view: DatabaseView) -> Finding:
    status = view.migrations
    if status is None:
        told = view.problems.get("migrations", "")
        cause = "this release and the one that migrated differ, or the role may not read the table"
        return fail("migrations", told, cause, "orca db status")
    found = f"version {status.version}, this release needs {status.needed} or more"
    if status.pending:
        cause = "no server of this release has run on this database yet"
        missing = f"{found}; missing {', '.join(status.pending)}"
        return fail("migrations", missing, cause, "orca db migrate")
    return ok("migrations", found)


def _partitions(view: DatabaseView, now: datetime, retention_days: int, start: str) -> Finding:
    if view.days is None:
        told = "their table is not there" if view.migrations else "they cannot be read"
        return skipped("partitions", f"{told}: see the check migrations")
    return judge_partitions(view.days, now, retention_days, start)


def judge_partitions(days: set[date], now: datetime, retention_days: int, start: str) -> Finding:
    """Whether there is a partition for each day of which records may come."""
    ahead = partitions.days_ahead(now, days)
    found = f"they lie ahead for {ahead:.1f} days"
    cause = "the server makes them at start and each hour: none ran, or others hold locks for long"
    mend = f"{start}; its log says partitions_made, or why not"
    if ahead < partitions.LEAST_DAYS_AHEAD:
        return fail("partitions", found, cause, mend)
    wanted = partitions.wanted_days(now, retention_days)
    missing = [day for day in wanted if day < now.date() and day not in days]
    if missing:
        found += f"; {len(missing)} past days have none, the first {missing[0]}"
        return warn("partitions", found, f"{cause}; records of those days wait", mend)
    if ahead < COMFORTABLE_DAYS:
        return warn("partitions", found, cause, mend)
    return ok("partitions", found)


def _clock(skew: timedelta) -> Finding:
    """Whether this machine's clock and the database's agree."""
    seconds = skew.total_seconds()
    found = f"the database's clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    cause = "one of the two machines does not follow a time server"
    mend = "timedatectl set-ntp true, on both machines"
    if abs(skew) > REFUSED_SKEW:
        return fail("clock", f"{found}: records of this machine may be refused", cause, mend)
    return warn("clock", found, cause, mend) if abs(skew) > LARGEST_SKEW else ok("clock", found)


def _connections(facts: ServerFacts, pool: int) -> Finding:
    most, used = facts.most_connections, facts.connections
    found = f"{used} of {most} in use; a server opens up to {pool}"
    if pool >= most or used > BUSY_SHARE * most:
        cause = "many replicas or other programs, or PGMAXCONNECTIONS is too large"
        mend = "lower PGMAXCONNECTIONS (8 are enough for a replica), or raise max_connections"
        return warn("connections", found, cause, mend)
    return ok("connections", found)


def _transactions(view: DatabaseView) -> Finding:
    found = view.transaction
    if found is None or found.seconds < LONG_TRANSACTION_SECONDS:
        return ok("transactions", "none has been open for long")
    who = f"pid {found.pid} ({found.application or 'unnamed'}, {found.state or 'hidden'})"
    return warn(
        "transactions",
        f"{who} has been in one for {found.seconds / 60:.0f} minutes",
        "a dump or a forgotten psql: dead rows cannot be removed meanwhile, and tables grow",
        f'psql "$DATABASE_URL" -c "SELECT pg_terminate_backend({found.pid})"',
    )
