"""What `orca doctor` asks of the database: rights, connections, what waits."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orca_server.store.database import Connection
from orca_server.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The database server, and what our role may do there.

    Attributes:
        version: As in server_version_num, such as 180004.
        version_text: The same for people.
        clock: Its clock.
        role: Whom we are connected as.
        database: The database.
        schema: Where tables would be made; None if the role may use no schema.
        may_create: Whether the role may make tables there.
        is_read_only: Whether it is a standby, or refuses writes.
        vector_version: Of the extension in this database; None if it is not created.
        vector_available: Version that could be created; None if pgvector is not installed.
        may_create_vector: Whether the role may create it.
        most_connections: How many ordinary roles may open.
        connections: How many are open.
    """

    version: int
    version_text: str
    clock: datetime
    role: str
    database: str
    schema: str | None
    may_create: bool
    is_read_only: bool
    vector_version: str | None
    vector_available: str | None
    may_create_vector: bool
    most_connections: int
    connections: int


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that is open, and for how long."""

    pid: int
    application: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ForeignTables:
    """Tables of ours that belong to somebody else: the first five, their owner, and how many."""

    names: tuple[str, ...]
    owner: str
    count: int


@dataclass(frozen=True, slots=True)
class OpenFindings:
    """How many violations and drifts are not resolved: one per agent and rule."""

    violations: int
    drifts: int


async def read_server(connection: Connection) -> ServerFacts:
    """Version, clock, rights, extension and connections."""
    row = await connection.fetchrow(QUERIES["doctor_read_server"])
    assert row is not None  # noqa: S101 - it selects one row from nothing
    return ServerFacts(**dict(row))


async def read_oldest_transaction(connection: Connection) -> OpenTransaction | None:
    """The other session's transaction that has been open for longest; None if there is none."""
    row = await connection.fetchrow(QUERIES["doctor_read_oldest_transaction"])
    return None if row is None else OpenTransaction(**dict(row))


async def list_foreign_tables(connection: Connection) -> ForeignTables:
    """Tables that our role may not use; none at all on an empty schema."""
    rows = await connection.fetch(QUERIES["doctor_list_foreign_tables"])
    if not rows:
        return ForeignTables((), "", 0)
    names = tuple(row["name"] for row in rows)
    return ForeignTables(names, rows[0]["owner"], rows[0]["tables"])


async def count_open(connection: Connection, tenant_id: UUID) -> OpenFindings:
    """What is open of violations and drift."""
    row = await connection.fetchrow(QUERIES["doctor_count_open"], tenant_id)
    assert row is not None  # noqa: S101 - it selects one row from nothing
    return OpenFindings(**dict(row))


async def count_backlog(connection: Connection, tenant_id: UUID) -> int:
    """Sums that wait for the tick, counted up to 100,000."""
    count: int = await connection.fetchval(QUERIES["doctor_count_backlog"], tenant_id)
    return count
