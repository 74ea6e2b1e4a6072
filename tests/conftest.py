"""Fixtures: a real PostgreSQL per session, a migrated database per test, a real Envoy."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings

from tests.servers import (
    VOLATILE,
    GatewayServer,
    PostgresServer,
    running_gateway,
    running_postgres,
)

# A shell starts background jobs with SIGINT ignored; what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest_plugins = ["tests.contract.descriptors", "tests.serving"]

BARE_TEMPLATE, TEMPLATE = "orca_bare_template", "orca_template"

# The same examples in every run, however slow the machine; `--hypothesis-profile=search` looks for
# new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, derandomize=False, max_examples=1_000)
settings.load_profile("same")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL: fast and volatile, so never to be killed."""
    with running_postgres(VOLATILE) as server:
        yield server


@pytest.fixture(scope="session")
def bare_template(postgres: PostgresServer) -> str:
    """The name of a database with all migrations and nothing else, to copy from."""
    from orca_server.store.migrate import migrate

    postgres.sql(f"CREATE DATABASE {BARE_TEMPLATE} OWNER orca TEMPLATE template1")
    asyncio.run(migrate(postgres.url(BARE_TEMPLATE)))
    return BARE_TEMPLATE


@pytest.fixture(scope="session")
def template(postgres: PostgresServer, bare_template: str) -> str:
    """The same with today's partitions, so that a server is ready at once; no rows."""
    postgres.sql(f"CREATE DATABASE {TEMPLATE} OWNER orca TEMPLATE {bare_template}")
    asyncio.run(_make_partitions(postgres.url(TEMPLATE)))
    return TEMPLATE


async def _make_partitions(url: str) -> None:
    from orca_server.runtime.partitions import ensure
    from orca_server.store.database import Database
    from tests.serving import settings_for

    db = Database(url, size=1)
    assert await ensure(db, datetime.now(UTC), settings_for(url).telemetry_retention_days)
    await db.close()


@pytest.fixture
def database_url(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The URL of an empty database of this test's own, as a server leaves it behind."""
    with postgres.database(template) as url:
        yield url


@pytest.fixture
def bare_database_url(postgres: PostgresServer, bare_template: str) -> Iterator[str]:
    """The URL of one that has no partitions yet."""
    with postgres.database(bare_template) as url:
        yield url


@pytest.fixture
def durable_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own that syncs to disk: kill() and start() it at will."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def gateway() -> Iterator[Callable[..., GatewayServer]]:
    """Starts real Envoys: `gateway(server_port)`, see running_gateway; stopped after the test."""
    with ExitStack() as stack:

        def start(upstream_port: int, **settings: Any) -> GatewayServer:
            return stack.enter_context(running_gateway(upstream_port, **settings))

        yield start
