"""Connections to PostgreSQL: a few, handed out in the order of asking, opened when needed.

asyncpg's own pool is unfair under load and resets each connection on release, so this is ours: a
FIFO semaphore over a fixed number of places, and the connection that was used last goes first.
While the database is away every checkout fails at once with the cause, and the first one after it
came back connects. Inside a checkout nothing but SQL may be awaited: what fails there as the
driver fails is answered as the database's failure.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg

from orca_server.domain.errors import Unavailable

Record = Mapping[str, Any]
"""A row, by column name."""


class Transaction(Protocol):
    """asyncpg's transaction, or savepoint when one is open already."""

    async def start(self) -> None: ...
    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *exception: object) -> None: ...


class Connection(Protocol):
    """What a checkout gives: asyncpg's connection, which publishes no types."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str: ...
    async def executemany(
        self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None
    ) -> None: ...
    async def fetch(
        self, query: str, *args: object, timeout: float | None = None
    ) -> list[Record]: ...
    async def fetchrow(
        self, query: str, *args: object, timeout: float | None = None
    ) -> Record | None: ...
    async def fetchval(self, query: str, *args: object, timeout: float | None = None) -> Any: ...
    def cursor(
        self, query: str, *args: object, prefetch: int | None = None, timeout: float | None = None
    ) -> Any: ...
    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False
    ) -> Transaction: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def terminate(self) -> None: ...
    async def close(self, *, timeout: float | None = None) -> None: ...


CONNECT_SECONDS = 5.0
"""Deadline of one attempt to connect."""
CHECKOUT_SECONDS = 10.0
"""How long a call waits for a free connection unless it says otherwise."""
STATEMENT_SECONDS = 30.0
"""Deadline of one statement, kept by the server."""
IDLE_SECONDS = 60.0
"""A transaction that says nothing for so long is ended by the server: its locks block others."""
REFUSAL_SECONDS = 0.25
"""After a failed attempt to connect, further ones fail at once for this long."""
RETRY_SECONDS = 1.0
"""When a caller may try again."""

_AWAY = (
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.OperatorInterventionError,  # class 57: shut down, starting up, cancelled by deadline
    asyncpg.InsufficientResourcesError,  # class 53: too many connections, disk full
    asyncpg.TransactionRollbackError,  # class 40: the same call may succeed
    asyncpg.ReadOnlySQLTransactionError,  # a standby after a failover: connect again
    asyncpg.InvalidCachedStatementError,  # the schema moved under a prepared statement
    asyncpg.UndefinedTableError,  # the schema is not there yet: the server is migrating
    asyncpg.UndefinedColumnError,  # nor is this part of it
    OSError,
    TimeoutError,
)
_CANNOT_CONNECT = (
    *_AWAY,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def unavailable(error: BaseException) -> Unavailable:
    """The domain's error for a failure of the driver or the database."""
    return Unavailable(
        "DATABASE_UNAVAILABLE",
        f"The database does not answer: {_cause(error)}.",
        {"cause": type(error).__name__},
        retry_after_seconds=RETRY_SECONDS,
    )


def _cause(error: BaseException) -> str:
    """The cause for people, without addresses: anyone may ask for health."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case socket.gaierror():
            return "its host name is unknown"
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return "its schema is older than this server, which migrates it"
        case TimeoutError():
            return str(error) or "no answer in time"
        case asyncpg.PostgresError() | ConnectionError():
            return (str(error) or type(error).__name__).rstrip(".")
        case asyncpg.InterfaceError():
            return "the connection was lost"
        case _:
            return type(error).__name__


@dataclass(frozen=True, slots=True)
class Usage:
    """How many connections there may be, are open, and are in use."""

    size: int
    open: int
    in_use: int


async def connect(url: str, *, name: str, **options: Any) -> Connection:
    """Opens a connection of one's own; the caller closes it.

    Args:
        url: postgresql://…
        name: application_name, as operators see it in pg_stat_activity.
        options: Server settings, such as statement_timeout.

    Raises:
        Unavailable: If the database cannot be reached or refuses.
    """
    settings = {
        "application_name": name,
        "timezone": "UTC",
        "jit": "off",
        # Of pgvector: how far a search by meaning looks, and that it goes on while a filter takes.
        "hnsw.ef_search": "100",
        "hnsw.iterative_scan": "relaxed_order",
        **options,
    }
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection: Connection = await asyncpg.connect(
                url,
                timeout=CONNECT_SECONDS,
                server_settings=settings,
                command_timeout=STATEMENT_SECONDS + 5,  # for a host that went silent
                max_cached_statement_lifetime=0,
                statement_cache_size=512,
            )
            return connection
    except _CANNOT_CONNECT as error:
        raise unavailable(error) from error


class Database:
    """The server's connections to one database."""

    def __init__(self, url: str, *, size: int, name: str = "orca-server") -> None:
        """Opens nothing yet.

        Args:
            url: postgresql://…
            size: Connections at most.
            name: application_name of its connections.
        """
        self._url = url
        self._size = size
        self._name = name
        self._places = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._refused: tuple[float, Unavailable] | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """Where it connects to, password included: never log it."""
        return self._url

    @property
    def usage(self) -> Usage:
        """Connections now."""
        busy = len(self._in_use)
        return Usage(self._size, busy + len(self._idle), busy)

    @asynccontextmanager
    async def connection(self, timeout: float = CHECKOUT_SECONDS) -> AsyncIterator[Connection]:
        """A connection, first come first served; each statement is a transaction of its own.

        Args:
            timeout: Seconds to wait for a free one.

        Raises:
            Unavailable: If the database does not answer, or no connection becomes free.
        """
        connection = await self._check_out(timeout)
        try:
            yield connection
        except _AWAY as error:
            connection.terminate()
            raise unavailable(error) from error
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise unavailable(
                error
            ) from error  # not migrated yet; every query is tested to prepare
        except Exception as error:
            if connection.is_closed():
                raise unavailable(error) from error
            raise
        except BaseException:  # cancelled: a statement may be under way
            connection.terminate()
            raise
        finally:
            self._check_in(connection)

    @asynccontextmanager
    async def transaction(
        self,
        timeout: float = CHECKOUT_SECONDS,
        *,
        isolation: str | None = None,
        readonly: bool = False,
    ) -> AsyncIterator[Connection]:
        """A connection in a transaction: committed at the end, rolled back by an exception.

        Args:
            timeout: Seconds to wait for a free connection.
            isolation: `read_committed` (default), `repeatable_read` or `serializable`.
            readonly: Refuses writes.

        Raises:
            Unavailable: As connection(); also if the commit's outcome is unknown.
        """
        async with self.connection(timeout) as connection:
            transaction = connection.transaction(isolation=isolation, readonly=readonly)
            await transaction.start()
            try:
                yield connection
            except _AWAY:
                raise  # the connection ends, and the transaction with it
            except Exception:
                if not connection.is_closed():
                    await transaction.rollback()
                raise
            await transaction.commit()

    async def ping(self, timeout: float = 2.0) -> None:
        """Returns once the database has answered.

        Raises:
            Unavailable: If it does not in time.
        """
        try:
            async with asyncio.timeout(timeout), self.connection(timeout) as connection:
                await connection.execute("SELECT 1")
        except TimeoutError as error:
            raise unavailable(error) from error

    async def close(self, timeout: float = 5.0) -> None:
        """Waits for the connections in use, then closes all; further checkouts are refused."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(timeout):
                for _ in range(self._size):
                    await self._places.acquire()
                while self._idle:
                    await self._idle.pop().close()
        except (TimeoutError, *_CANNOT_CONNECT):
            pass  # ended hard, below
        for connection in (*self._idle, *self._in_use):
            connection.terminate()
        self._idle.clear()

    async def _check_out(self, timeout: float) -> Connection:
        if self._closed:
            raise unavailable(ConnectionError("this server is stopping"))
        if self._places.locked():
            await self._wait_for_place(timeout)
        else:
            await self._places.acquire()  # does not wait
        try:
            connection = await self._open()
        except BaseException:
            self._places.release()
            raise
        self._in_use.add(connection)
        return connection

    async def _wait_for_place(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._places.acquire()
        except TimeoutError:
            busy = f"all {self._size} connections were busy for {timeout:g} s"
            raise unavailable(TimeoutError(busy)) from None

    async def _open(self) -> Connection:
        """An idle connection that lives, else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        if self._refused is not None and time.monotonic() < self._refused[0]:
            raise unavailable_again(self._refused[1])
        try:
            connection = await connect(
                self._url,
                name=self._name,
                statement_timeout=_milliseconds(STATEMENT_SECONDS),
                idle_in_transaction_session_timeout=_milliseconds(IDLE_SECONDS),
            )
        except Unavailable as error:
            self._refused = (time.monotonic() + REFUSAL_SECONDS, error)
            raise
        self._refused = None
        return connection

    def _check_in(self, connection: Connection) -> None:
        self._in_use.discard(connection)
        if not connection.is_closed() and (self._closed or connection.is_in_transaction()):
            connection.terminate()
        if not connection.is_closed():
            self._idle.append(connection)
        self._places.release()


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


def unavailable_again(error: Unavailable) -> Unavailable:
    """A fresh copy of an error, so that tracebacks do not pile up on one object."""
    return Unavailable(
        error.reason, error.message, error.metadata, retry_after_seconds=error.retry_after_seconds
    )
