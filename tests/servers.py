"""Real servers that tests start, kill and start again."""

import contextlib
import http.client
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from orca_server.local import envoy
from orca_server.local import program as programs
from orca_server.local.postgres import DATABASE, Postgres, PostgresSettings

PASSWORD = "for-tests_only"
VERSION = int(os.environ.get("ORCA_TEST_POSTGRES", "18"))
VOLATILE = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}
"""For tests that kill nothing: commits cost no disk."""
DURABLE = {"fsync": "on", "max_connections": "100"}
"""For tests that kill things."""
MEMORY_BYTES = 4 * 2**30
"""More than a volatile PostgreSQL needs, its log of a gibibyte included."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has; it comes again only after all others did."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _ports() -> Iterator[int]:
    """Round and round, from another one in each process.

    They lie below those that the kernel gives to whoever connects or binds port 0.
    """
    all_ = range(10_000, 32_000)
    start = os.getpid() * 100 % len(all_)
    return itertools.cycle((*all_[start:], *all_[:start]))


_PORTS = _ports()


@contextmanager
def reachable_folder(parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder that PostgreSQL's own user can enter; pytest's cannot be when root."""
    folder = Path(tempfile.mkdtemp(prefix="orca-test-", dir=parent))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class PostgresServer:
    """One real PostgreSQL, on a folder of its own."""

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, str],
        version: int = VERSION,
        password: str = PASSWORD,
    ) -> None:
        """Sets it up; start() runs it."""
        settings = PostgresSettings(
            folder=folder / "postgres",
            log=folder / "postgres.log",
            port=free_port(),
            password=password,
            version=version,
            options=options,
        )
        self.postgres = Postgres(settings)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, also after kill(), with the data that were there."""
        self.process = self.postgres.start()
        self.postgres.bootstrap()

    def kill(self) -> None:
        """Kills the postmaster with -9; its backends notice and end by themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stops it clean, if it runs."""
        if self.process is not None:
            programs.stop(self.postgres.program, self.process)

    def url(self, database: str = DATABASE) -> str:
        """The URL of one of its databases, as the role orca."""
        return self.postgres.url(database)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for the statement, run as the superuser."""
        return self.postgres.run_psql("--command", statement, database=database)

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, a copy of the template; gone afterwards."""
        name = f"test_{uuid4().hex}"
        # By files: there are many, most of them empty, and nothing is to be logged.
        self.sql(f"CREATE DATABASE {name} OWNER orca TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield self.url(name)
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running_postgres(
    options: Mapping[str, str] = DURABLE, version: int = VERSION
) -> Iterator[PostgresServer]:
    """A PostgreSQL of one's own, started; stopped and removed afterwards."""
    with reachable_folder(_memory() if options is VOLATILE else None) as folder:
        server = PostgresServer(folder, options, version)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _memory() -> Path | None:
    """A folder in memory, where each of many databases is copied in a moment; None without room."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < MEMORY_BYTES:
        return None
    return memory


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """One real Envoy."""

    gateway: envoy.Gateway
    process: subprocess.Popen[bytes]
    settings: envoy.GatewaySettings

    @property
    def rest_url(self) -> str:
        """Where REST (and gRPC) is."""
        return f"http://127.0.0.1:{self.settings.rest_port}"

    @property
    def grpc_target(self) -> str:
        """Where gRPC passes through."""
        return f"127.0.0.1:{self.settings.grpc_port}"

    def wait(self, *, healthy: bool = True) -> None:
        """Waits until Envoy has (or no longer has) a server to ask; the test's limit ends it.

        Its threads learn that one after the other, hence several requests.
        """
        agreeing = 0
        while agreeing < 8:
            assert self.process.poll() is None, self.gateway.program.log.read_text()
            agreeing = agreeing + 1 if self._has_upstream() is healthy else 0
            time.sleep(0 if agreeing else 0.02)

    def _has_upstream(self) -> bool:
        if not self.gateway.upstream_is_healthy():
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.rest_port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            return b"SERVER_UNAVAILABLE" not in connection.getresponse().read()


@contextmanager
def running_gateway(
    upstream_port: int,
    *,
    allowed_hosts: tuple[str, ...] = (),
    unary_timeout_seconds: int = 30,
    wait: bool = True,
) -> Iterator[GatewayServer]:
    """An Envoy in front of the server on that port of this machine."""
    settings = envoy.GatewaySettings(
        rest_port=free_port(),
        grpc_port=free_port(),
        upstream_port=upstream_port,
        allowed_hosts=allowed_hosts,
        unary_timeout_seconds=unary_timeout_seconds,
    )
    with reachable_folder() as folder:
        gateway = envoy.prepare(settings, folder, folder, folder / "gateway.log")
        server = GatewayServer(gateway, programs.spawn(gateway.program), settings)
        try:
            if wait:
                server.wait()
            yield server
        finally:
            programs.stop(gateway.program, server.process)
