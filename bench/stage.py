"""The real parts: PostgreSQL with durable commits, the server as its own process, a collector."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psutil

from bench.child import running_child
from orca_server.local import program as programs
from orca_server.local.postgres import Postgres, PostgresSettings
from orca_server.local.program import Program
from orca_server.runtime import partitions
from orca_server.services.authentication import issue
from orca_server.store import migrate
from orca_server.store.database import Database

SECRET = "a-secret-of-the-bench-0123456789-abcdef"
RETENTION_DAYS = 90
TRACE_SAMPLE_RATIO = 0.05
START_SECONDS = 30.0
POSTGRES_OPTIONS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "60",
    "shared_buffers": f"{psutil.virtual_memory().total // 4 // 2**20}MB",  # as PostgreSQL advises
    "max_wal_size": "4GB",
    "maintenance_work_mem": "512MB",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        target: Where it answers gRPC.
        token: Of a caller who may do everything that is measured.
        process: Its process.
    """

    target: str
    token: str
    process: psutil.Process

    @property
    def resident_bytes(self) -> int:
        """Its resident memory."""
        size: int = self.process.memory_info().rss
        return size


class Stage:
    """Hands out databases and servers, and takes them back."""

    def __init__(self, folder: Path, postgres: Postgres, collector: str) -> None:
        """Keeps what runs; see `set_stage`."""
        self.folder = folder
        self._postgres = postgres
        self._collector = collector

    @contextlib.asynccontextmanager
    async def database(self, template: str = "") -> AsyncIterator[str]:
        """The URL of a new database, migrated and with partitions; or a copy of another."""
        name = f"bench_{uuid4().hex[:12]}"
        source = template.rpartition("/")[2] or "template1"
        self._as_superuser(f"CREATE DATABASE {name} OWNER orca TEMPLATE {source}")
        url = self._postgres.url(name)
        try:
            if not template:
                await _prepare(url)
            yield url
        finally:
            self._as_superuser(f"DROP DATABASE {name} WITH (FORCE)")

    def postgres_version(self) -> str:
        """Its version and what was set."""
        version = self._postgres.run_psql("--command", "SHOW server_version")
        chosen = ", ".join(f"{name} {value}" for name, value in POSTGRES_OPTIONS.items())
        return f"{version}, {chosen}"

    def settle(self) -> None:
        """Writes out what fills left, so that it does not disturb what is measured next."""
        self._as_superuser("CHECKPOINT")

    def _as_superuser(self, statement: str) -> None:
        self._postgres.run_psql("--command", statement)

    @contextlib.asynccontextmanager
    async def server(self, url: str) -> AsyncIterator[Server]:
        """`orca serve` with access checks, metrics and traces; drained at the end."""
        log = self.folder / f"server-{uuid4().hex[:8]}.log"
        program = Program(
            name="server",
            argv=(sys.executable, "-m", "orca_server", "serve"),
            log=log,
            environment=self._environment(url),
        )
        process = programs.spawn(program)
        try:
            target = await _serving(log, process)
            yield Server(target, _token(), psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(programs.stop, program, process)

    def _environment(self, url: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "ORCA_ENV_FILE": os.devnull,
            "DATABASE_URL": url,
            "JWT_SECRET": SECRET,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._collector,
            "ORCA_TRACE_SAMPLE_RATIO": str(TRACE_SAMPLE_RATIO),
            "ORCA_GRPC_ADDRESS": "127.0.0.1:0",
            "ORCA_METRICS_ADDRESS": "127.0.0.1:0",
            "ORCA_TELEMETRY_RETENTION_DAYS": str(RETENTION_DAYS),
            "ORCA_UNHEALTHY_AFTER_SECONDS": "0",
            "ORCA_DRAIN_SECONDS": "2",
        }


@contextlib.asynccontextmanager
async def set_stage() -> AsyncIterator[Stage]:
    """PostgreSQL and a collector, gone afterwards with all data."""
    folder = Path(tempfile.mkdtemp(prefix="orca-bench-"))
    folder.chmod(0o711)  # PostgreSQL's own user must be able to enter
    postgres = Postgres(
        PostgresSettings(
            folder=folder / "postgres",
            log=folder / "postgres.log",
            port=free_port(),
            password="for-the_bench_only",
            options=POSTGRES_OPTIONS,
        )
    )
    try:
        process = postgres.start()
        try:
            postgres.bootstrap()
            async with running_child("sink") as sink:
                yield Stage(folder, postgres, await sink.ask("address"))
        finally:
            programs.stop(postgres.program, process)
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _prepare(url: str) -> None:
    await migrate.migrate(url)
    db = Database(url, size=2)
    try:
        await partitions.ensure(db, datetime.now(UTC), RETENTION_DAYS)
    finally:
        await db.close()


def _token() -> str:
    return issue(
        SECRET,
        role="admin",
        lifetime=timedelta(hours=12),
        now=datetime.now(UTC),
        subject="bench",
    ).token


async def _serving(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that the server's log names, once it takes calls."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            for line in log.read_text(encoding="utf-8").splitlines():
                if '"event": "serving"' in line:
                    address: str = json.loads(line)["grpc"]
                    return address
            if process.poll() is not None:
                raise RuntimeError(f"the server ended: {programs.tail(log)}")
            await asyncio.sleep(0.05)
