"""Fixtures: a server on a database that syncs to disk, both to be killed at will."""

from collections.abc import Iterator

import pytest

from tests.chaos import batches, event_batches
from tests.chaos.load import wait_until_ready
from tests.servers import PostgresServer, free_port
from tests.serving import ServerProcess, server_process


@pytest.fixture
def target() -> str:
    """Where the server is, before and after each restart."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def server(durable_postgres: PostgresServer, target: str) -> Iterator[ServerProcess]:
    """A ready server on a database that syncs, with the fleet in it."""
    with server_process(durable_postgres.url(), ORCA_GRPC_ADDRESS=target) as child:
        child.start()
        wait_until_ready(target)
        durable_postgres.sql(batches.fleet_sql(), database="orcamesh")
        durable_postgres.sql(event_batches.workflows_sql(), database="orcamesh")
        yield child
