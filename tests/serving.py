"""A real ORCA server for tests: in this process, or as a child that can be killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from orca.v1 import agent_service_pb2_grpc, system_service_pb2_grpc, trust_service_pb2_grpc
from orca_server.app import Addresses, serve
from orca_server.services.authentication import issue
from orca_server.settings import Settings

SECRET = "a-secret-of-the-tests-0123456789-abcdef"
START_SECONDS = 30.0


def settings_for(database_url: str, **changes: Any) -> Settings:
    """Settings of a test's server: free ports, open to operators, a quick drain."""
    chosen: dict[str, Any] = {
        "database_url": database_url,
        "anonymous_role": "operator",
        "jwt_secrets": (SECRET,),
        "grpc_address": "127.0.0.1:0",
        "metrics_address": "127.0.0.1:0",
        "unhealthy_after_seconds": 0.0,
        "drain_seconds": 5.0,
        **changes,
    }
    return Settings(**chosen)


def token_for(role: str, *, agents: tuple[str, ...] = (), secret: str = SECRET) -> str:
    """A token that a test's server takes, valid for ten minutes."""
    issued = issue(
        secret,
        role=role,
        lifetime=timedelta(minutes=10),
        now=datetime.now(UTC),
        subject=f"{role} of the tests",
        agents=agents,
    )
    return issued.token


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[Addresses]:
    """A server in this process; at the end it is drained, and must have had no dead job."""
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, stop, started.set_result), name="server")
    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield started.result()
    finally:
        stop.set()
        await task


async def wait_until_ready(channel: grpc.aio.Channel) -> None:
    """Returns once GetHealth says SERVING."""
    from orca.v1 import system_service_pb2

    stub = system_service_pb2_grpc.SystemServiceStub(channel)
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                await stub.GetHealth(system_service_pb2.GetHealthRequest(), wait_for_ready=True)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.05)


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Addresses]:
    """A ready server in this process, on a database of its own, open to operators."""
    async with running_server(settings_for(database_url)) as addresses:
        async with grpc.aio.insecure_channel(addresses.grpc) as channel:
            await wait_until_ready(channel)
        yield addresses


@pytest.fixture
async def channel(server: Addresses) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the server."""
    async with grpc.aio.insecure_channel(server.grpc) as opened:
        yield opened


@pytest.fixture
def agents_stub(channel: grpc.aio.Channel) -> "agent_service_pb2_grpc.AgentServiceAsyncStub":
    """AgentService."""
    return agent_service_pb2_grpc.AgentServiceStub(channel)


@pytest.fixture
def trust_stub(channel: grpc.aio.Channel) -> "trust_service_pb2_grpc.TrustServiceAsyncStub":
    """TrustService."""
    return trust_service_pb2_grpc.TrustServiceStub(channel)


@pytest.fixture
def system_stub(channel: grpc.aio.Channel) -> "system_service_pb2_grpc.SystemServiceAsyncStub":
    """SystemService."""
    return system_service_pb2_grpc.SystemServiceStub(channel)


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status of an error."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error}"
    return status


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of an error."""
    return detail_of(error, error_details_pb2.ErrorInfo)


def reason_of(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """Status and reason of an error."""
    info = info_of(error)
    assert info.domain == "orca"
    return error.code(), info.reason


def violations_of(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    """Field and reason of each field violation."""
    bad = detail_of(error, error_details_pb2.BadRequest)
    return [(each.field, each.reason) for each in bad.field_violations]


def detail_of(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """The one detail of a kind."""
    found = [each for each in details_of(error).details if each.Is(kind.DESCRIPTOR)]
    assert len(found) == 1, f"{kind.__name__}: {details_of(error)}"
    detail = kind()
    found[0].Unpack(detail)
    return detail


@dataclass
class ServerProcess:
    """`python -m orca_server serve` as a child; its log lines are kept."""

    environment: Mapping[str, str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    _serving: threading.Event = field(default_factory=threading.Event)
    _reader: threading.Thread | None = None

    def start(self) -> Addresses:
        """Starts it, also after kill(); returns once it takes calls (it may not be ready yet)."""
        self._serving.clear()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orca_server", "serve"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "ORCA_ENV_FILE": os.devnull, **self.environment},
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._serving.wait(START_SECONDS), f"does not serve: {self.other[-20:]}"
        line = self.events("serving")[-1] if self.events("serving") else None
        assert line is not None, f"ended: {self.other[-20:]}"
        metrics = line["metrics"].removeprefix("http://").removesuffix("/metrics")
        return Addresses(line["grpc"], metrics)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        return [line for line in self.lines if line.get("event") == name]

    def kill(self) -> None:
        """Kills it with -9."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ends it with TERM; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process is not None
        assert self._reader is not None
        code = self.process.wait(timeout=60)
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for text in stream:
                try:
                    line = json.loads(text)
                except ValueError:
                    self.other.append(text.rstrip())
                    continue
                self.lines.append(line)
                if line.get("event") == "serving":
                    self._serving.set()
        self._serving.set()


@contextmanager
def server_process(database_url: str, **environment: str) -> Iterator[ServerProcess]:
    """A child, not started yet: start(), kill(), start() it at will; gone afterwards."""
    child = ServerProcess(
        {
            "DATABASE_URL": database_url,
            "ORCA_ANONYMOUS_ROLE": "operator",
            "JWT_SECRET": SECRET,
            "ORCA_GRPC_ADDRESS": "127.0.0.1:0",
            "ORCA_METRICS_ADDRESS": "127.0.0.1:0",
            "ORCA_UNHEALTHY_AFTER_SECONDS": "0",
            **environment,
        }
    )
    try:
        yield child
    finally:
        if child.process is not None and child.process.poll() is None:
            child.kill()
