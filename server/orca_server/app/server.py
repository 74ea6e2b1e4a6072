"""A server that runs: it listens, serves, looks at its health, and drains in order."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import get_tracer

import orca_server
from orca_server import observability
from orca_server.app.parts import Job, jobs, services
from orca_server.services.authentication import Authenticator
from orca_server.services.context import ServerContext
from orca_server.services.interceptors import guarded_handlers
from orca_server.settings import split_address

LARGEST_MESSAGE = 16 * 2**20 + 64 * 2**10
"""What the gateway reads of a body, and room for what it adds from path, query and headers."""
HEALTH_SECONDS = 1.0
"""How often the health of the named services is looked at."""
CANCEL_SECONDS = 0.5
"""Pause before a job that did not end is told once more."""

GRPC_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    ("grpc.max_metadata_size", 65_536),  # a token that names many agents is long
    ("grpc.absolute_max_metadata_size", 131_072),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)

log = structlog.get_logger(__name__)


class CannotStart(Exception):
    """The server cannot start; the message says why."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server answers."""

    grpc: str
    metrics: str


@runtime_checkable
class Drains(Protocol):
    """A servicer with streams, which it ends when the server stops."""

    def drain(self) -> None:
        """Ends them soon, each with what its client needs to go on elsewhere."""


class _GenericOnly:
    """A server for generated code, which would register each method with it.

    For every registered method grpc.aio keeps a request waiting, and at every call it waits
    anew for all of them: 1 µs per method and call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Registers none; the generic handlers, added before, answer."""


class Server:
    """The parts, running."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._settings = context.settings
        self._services = list(services(context))
        self._health = health.aio.HealthServicer()
        self._stops: list[Callable[[], None]] = []  # of what runs in threads
        self._grpc = self._build()

    def _build(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=GRPC_OPTIONS)
        authenticator = Authenticator(
            [secret.get_secret_value() for secret in self._settings.jwt_secrets],
            self._settings.anonymous_role,
            self._context.revocations.ids,
        )
        tracer = self._tracer()
        for service, servicers in self._services:
            handlers = guarded_handlers(service, servicers, authenticator, tracer)
            generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
            server.add_generic_rpc_handlers((generic,))
        generic_only: Any = _GenericOnly(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, generic_only)
        names = [service.full_name for service, _ in self._services]
        known = (*names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(known, generic_only)
        return server

    def _tracer(self) -> observability.CallTracer | None:
        endpoint, ratio = self._settings.otlp_endpoint, self._settings.trace_sample_ratio
        if not endpoint:
            return None
        self._stops.append(observability.set_up_tracing(endpoint, self._context.instance))
        return observability.CallTracer(get_tracer("orca_server.app"), ratio)

    async def start(self) -> Addresses:
        """Answers calls from here on."""
        addresses = self._listen()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._grpc.start()
        role = self._settings.anonymous_role
        log.info(
            "serving",
            grpc=addresses.grpc,
            metrics=f"http://{addresses.metrics}/metrics",
            access="closed" if role == "none" else "open",
            anonymous_role=role,
            version=orca_server.__version__,
            pid=os.getpid(),
        )
        return addresses

    def _listen(self) -> Addresses:
        grpc_host, _ = split_address(self._settings.grpc_address)
        metrics_host, metrics_port = split_address(self._settings.metrics_address)
        # Metrics first: whoever finds the port of gRPC open may take the server for started.
        try:
            metrics_port, stop = observability.serve_metrics(metrics_host, metrics_port)
        except OSError as error:
            address = self._settings.metrics_address
            raise CannotStart(f"ORCA_METRICS_ADDRESS {address} cannot be had: {error}") from error
        self._stops.append(stop)
        try:
            grpc_port = self._grpc.add_insecure_port(self._settings.grpc_address)
        except RuntimeError as error:
            address = self._settings.grpc_address
            raise CannotStart(f"ORCA_GRPC_ADDRESS {address} cannot be had: {error}") from error
        return Addresses(f"{grpc_host}:{grpc_port}", f"{metrics_host}:{metrics_port}")

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the jobs until stop is set or one of them dies; then drains."""
        running = {**jobs(self._context), "health": self._watch_health}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._context.ingest.run(), name="ingest")
            group.create_task(self._context.event_ingest.run(), name="event-ingest")
            tasks = [group.create_task(_run(*job), name=job[0]) for job in running.items()]
            try:
                await stop.wait()
            finally:
                await self._drain()
                for ingest in (self._context.ingest, self._context.event_ingest):
                    ingest.stop()  # ends once all that was taken is stored
                await _end(tasks)

    async def _drain(self) -> None:
        """Stops taking calls, in the order that loses none."""
        log.info("draining")
        self._context.draining.set()
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.unhealthy_after_seconds)  # until the gateway noticed
        for _, servicers in self._services:
            for servicer in servicers:
                if isinstance(servicer, Drains):
                    servicer.drain()
        await self._grpc.stop(self._settings.drain_seconds)

    async def close(self) -> None:
        """Gives everything back."""
        await self._grpc.stop(None)
        await self._context.db.close()
        for stop in self._stops:
            await asyncio.to_thread(stop)
        log.info("stopped")

    async def _watch_health(self) -> None:
        """Tells the named services' health, as long as the server is not draining."""
        states = health_pb2.HealthCheckResponse
        while True:
            ready = (await self._context.readiness.report()).ready
            for service, _ in self._services:
                state = states.SERVING if ready else states.NOT_SERVING
                await self._health.set(service.full_name, state)
            await asyncio.sleep(HEALTH_SECONDS)


async def _run(name: str, job: Job) -> None:
    """Runs a job; its death, which ends the server, is told at once and not after the drain."""
    try:
        await job()
    except Exception:
        log.exception("job_died", job=name)
        raise


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels until all have ended: a driver whose connection breaks just then may swallow one."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)
