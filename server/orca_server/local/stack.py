"""What `orca up` runs: PostgreSQL, then the server, then Envoy; and the end of it, in order."""

import asyncio
import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from orca_server.local import account as accounts
from orca_server.local import envoy, ports, postgres
from orca_server.local.datadir import DATABASE_PASSWORD, JWT_SECRET, DataFolder
from orca_server.local.envoy import Gateway, GatewaySettings
from orca_server.local.postgres import Postgres, PostgresSettings
from orca_server.local.program import Program
from orca_server.local.settings import StackSettings, default_registry
from orca_server.local.supervisor import POLL_SECONDS, Service, Supervised

SERVER_PORT = 50151
METRICS_PORT = 9464
"""Taken if free, else others: both are internal."""
READY_SECONDS = 60.0
SETTLE_SECONDS = 1.0
"""How long calls in flight may take at the end before the server is told to stop."""
LEFTOVER_SECONDS = 60.0
POSTGRES_TOOLS = ("psql", "pg_dump", "pg_restore")

Say = Callable[[str], None]


class Stack:
    """The three programs on one data folder, which is locked by the caller."""

    def __init__(self, settings: StackSettings, data: DataFolder, say: Say) -> None:
        """Nothing is started or written yet."""
        self._settings = settings
        self._data = data
        self._say = say
        self._running: list[Supervised] = []
        self._gateway: Gateway | None = None

    async def start(self) -> None:
        """Starts all, and returns when they answer.

        Raises:
            LocalError: If one cannot be started, with what to do.
        """
        await self._wait_for_leftovers()
        ports.demand_free(self._settings.ports)
        self._data.rotate_logs()
        database = self._set_up_database()
        await self._run(_database_service(database))
        database.bootstrap()
        server_port = ports.free_port(SERVER_PORT)
        await self._run(self._server_service(database.url(), server_port))
        self._gateway = self._set_up_gateway(server_port)
        await self._run(_gateway_service(self._gateway))
        await self._wait_until_ready()

    async def stop(self) -> None:
        """Stops all: no new calls, then the server drains, the gateway ends, the database last."""
        by_name = {each.service.program.name: each for each in self._running}
        await self._drain_gateway()
        for name in ("server", "gateway", "PostgreSQL"):
            if name in by_name:
                await by_name[name].stop()

    def kill(self) -> None:
        """Ends all at once; what was acknowledged is safe in the database all the same."""
        for each in reversed(self._running):
            each.kill()

    async def _run(self, service: Service) -> None:
        supervised = Supervised(service, self._say, self._remember)
        self._running.append(supervised)
        await supervised.start()

    def _remember(self) -> None:
        settings = self._settings
        self._data.write_state(
            {
                "rest_port": settings.rest_port,
                "grpc_port": settings.grpc_port,
                "database_port": settings.database_port,
                **{f"pid {each.service.program.name}": each.pid for each in self._running},
            }
        )

    async def _wait_for_leftovers(self) -> None:
        """Lets programs of a run that was killed finish: the kernel told them to stop."""
        names = {"pid PostgreSQL": "postgres", "pid server": "python", "pid gateway": "envoy"}
        state = self._data.state()
        pids = {key: pid for key, pid in state.items() if key in names and pid}
        deadline = time.monotonic() + LEFTOVER_SECONDS
        told = False
        for key, pid in pids.items():
            while _is_running(pid, names[key]) and time.monotonic() < deadline:
                if not told:
                    self._say("Waiting for the programs of the run before to end.")
                    told = True
                await asyncio.sleep(0.1)

    def _set_up_database(self) -> Postgres:
        folder = self._settings.database_folder or self._data.database_folder()
        if not (folder / "data").exists():
            self._say(f"Making a database in {folder}; this happens once.")
        database = Postgres(
            PostgresSettings(
                folder=folder,
                log=self._data.logs / "postgres.log",
                port=self._settings.database_port,
                password=self._data.secret(DATABASE_PASSWORD),
            )
        )
        self._data.programs.mkdir(mode=0o700, exist_ok=True)
        for tool in POSTGRES_TOOLS:
            link = self._data.programs / tool
            link.unlink(missing_ok=True)
            link.symlink_to(database.binaries.path(tool))
        return database

    def _server_service(self, database_url: str, port: int) -> Service:
        # -P: a folder called orca where the user stands is not the client.
        argv = (sys.executable, "-P", "-m", "orca_server", "serve")
        program = Program(
            name="server",
            argv=argv,
            log=self._data.logs / "server.log",
            environment=self._server_environment(database_url, port),
            folder=Path.cwd(),  # .env and relative paths in settings are meant from here
            stop_seconds=60.0,
        )
        return Service(program, ready=lambda _pid: ports.answers(port))

    def _server_environment(self, database_url: str, port: int) -> dict[str, str]:
        """Ours where the user said nothing.

        DATABASE_URL is always ours: `orca env` exports it, so it says nothing about a wish.
        """
        given = self._settings.given
        unless_given = {
            "ORCA_ANONYMOUS_ROLE": "operator",  # all ports are open to this machine alone
            "ORCA_METRICS_ADDRESS": f"{ports.ADDRESS}:{ports.free_port(METRICS_PORT)}",
            "ORCA_UNHEALTHY_AFTER_SECONDS": "0",  # the gateway is drained first, so knows
            "JWT_SECRET": self._data.secret(JWT_SECRET),
        }
        if registry := default_registry():
            unless_given["MCP_REGISTRY_PATH"] = str(registry)
        missing = {name: value for name, value in unless_given.items() if name not in given}
        ours = {"DATABASE_URL": database_url, "ORCA_GRPC_ADDRESS": f"{ports.ADDRESS}:{port}"}
        return {**os.environ, **missing, **ours}

    def _set_up_gateway(self, server_port: int) -> Gateway:
        settings = GatewaySettings(
            rest_port=self._settings.rest_port,
            grpc_port=self._settings.grpc_port,
            upstream_port=server_port,
            allowed_hosts=self._settings.allowed_hosts,
        )
        sockets = postgres.socket_folder(self._data.gateway, accounts.current())
        return envoy.prepare(settings, self._data.gateway, sockets, self._data.logs / "gateway.log")

    async def _wait_until_ready(self) -> None:
        """Returns when /health says so, or says what it says instead after a while."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            status, body = await asyncio.to_thread(_health, self._settings.rest_port)
            if status == 200:
                return
            if time.monotonic() > deadline:
                self._say(f"Running, but not ready after {READY_SECONDS:.0f} s: {body}")
                return
            await asyncio.sleep(0.1)

    async def _drain_gateway(self) -> None:
        if self._gateway is None:
            return
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may be dead
            self._gateway.stop_listening()
            for _ in range(int(SETTLE_SECONDS / POLL_SECONDS)):
                if not self._gateway.active_requests():
                    break
                await asyncio.sleep(POLL_SECONDS)


def _database_service(database: Postgres) -> Service:
    return Service(
        program=database.program,
        ready=database.ready,
        start_seconds=postgres.START_SECONDS,
        before_start=database.clear_stale_pid,
        transient=postgres.transient,
    )


def _gateway_service(gateway: Gateway) -> Service:
    return Service(gateway.program, ready=lambda _pid: gateway.upstream_is_healthy())


def _is_running(pid: int, name: str) -> bool:
    try:
        return name in psutil.Process(pid).name()
    except psutil.Error:
        return False


def _health(port: int) -> tuple[int, str]:
    """Status and message of GET /health; 0 while nothing answers."""
    connection = http.client.HTTPConnection(ports.ADDRESS, port, timeout=5)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            reply = connection.getresponse()
            body = json.loads(reply.read())
            return reply.status, str(body.get("message", body))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, str(error)
