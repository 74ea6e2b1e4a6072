"""The composition root: builds every part, runs them, and drains them in order."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import orca_server
from orca.v1 import system_service_pb2
from orca_server import observability
from orca_server.runtime.preparation import Preparation
from orca_server.runtime.readiness import DatabaseProbe, Readiness
from orca_server.runtime.revocations import Revocations
from orca_server.services.authentication import Authenticator
from orca_server.services.context import ServerContext
from orca_server.services.interceptors import guarded_handlers
from orca_server.services.system import SystemServicer
from orca_server.settings import Settings, split_address
from orca_server.store.database import Database

LARGEST_MESSAGE = 16 * 2**20
HEALTH_SECONDS = 1.0
"""How often the health of the named services is looked at."""

GRPC_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
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
    """Where the server answers, once it does."""

    grpc: str
    metrics: str


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def servicers(context: ServerContext) -> Iterable[tuple[ServiceDescriptor, object]]:
    """Each service with what answers for it: the line to add a service."""
    yield _service(system_service_pb2, "SystemService"), SystemServicer(context)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    started: Callable[[Addresses], None] = lambda addresses: None,
) -> None:
    """Serves until stop is set, then drains.

    Args:
        settings: As loaded.
        stop: Ends it.
        started: Called once calls are answered.

    Raises:
        CannotStart: If an address cannot be had.
        ExceptionGroup: If a job died; the server was drained then, too.
    """
    context = _context(settings)
    parts = _Parts(context)
    try:
        addresses = await parts.start()
        started(addresses)
        await parts.run(stop)
    finally:
        await parts.close()


def _context(settings: Settings) -> ServerContext:
    db = Database(settings.database_url.get_secret_value(), size=settings.max_connections)
    readiness = Readiness()
    preparation = Preparation(db, settings.telemetry_retention_days, now)
    probe = DatabaseProbe(db, preparation, now)
    readiness.add("database", probe)
    return ServerContext(
        settings=settings,
        db=db,
        readiness=readiness,
        preparation=preparation,
        database_probe=probe,
        revocations=Revocations(db),
        instance=f"{socket.gethostname()}:{os.getpid()}",
        started_at=now(),
        draining=asyncio.Event(),
    )


class _Parts:
    """Everything that runs."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._settings = context.settings
        self._health = health.aio.HealthServicer()
        self._names: list[str] = []
        self._stop_tracing: Callable[[], None] | None = None
        self._stop_metrics: Callable[[], None] | None = None
        self._server = self._build()

    def _build(self) -> grpc.aio.Server:
        settings, interceptors = self._settings, []
        if settings.otlp_endpoint:
            self._stop_tracing = observability.set_up_tracing(
                settings.otlp_endpoint, settings.trace_sample_ratio, self._context.instance
            )
            interceptors.append(observability.tracing_interceptor())
        server = grpc.aio.server(interceptors=interceptors, options=GRPC_OPTIONS)
        authenticator = Authenticator(
            [secret.get_secret_value() for secret in settings.jwt_secrets],
            settings.anonymous_role,
            self._context.revocations.ids,
        )
        for service, servicer in servicers(self._context):
            name, handlers = guarded_handlers(service, servicer, authenticator)
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
            server.add_registered_method_handlers(name, handlers)
            self._names.append(name)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        known = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(known, server)
        return server

    async def start(self) -> Addresses:
        """Answers calls from here on."""
        grpc_host, _ = split_address(self._settings.grpc_address)
        metrics_host, metrics_port = split_address(self._settings.metrics_address)
        try:
            port = self._server.add_insecure_port(self._settings.grpc_address)
        except RuntimeError as error:
            raise CannotStart(
                f"ORCA_GRPC_ADDRESS {self._settings.grpc_address}: {error}"
            ) from error
        try:
            metrics_port, self._stop_metrics = observability.serve_metrics(
                metrics_host, metrics_port
            )
        except OSError as error:
            raise CannotStart(
                f"ORCA_METRICS_ADDRESS {self._settings.metrics_address}: {error}"
            ) from error
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        addresses = Addresses(f"{grpc_host}:{port}", f"{metrics_host}:{metrics_port}")
        log.info(
            "serving",
            grpc=addresses.grpc,
            metrics=f"http://{addresses.metrics}/metrics",
            access="closed" if self._settings.anonymous_role == "none" else "open",
            anonymous_role=self._settings.anonymous_role,
            version=orca_server.__version__,
            pid=os.getpid(),
        )
        return addresses

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the jobs until stop is set or one of them dies; then drains."""
        jobs = {
            "preparation": self._context.preparation.run,
            "revocations": self._context.revocations.run,
            "health": self._watch_health,
        }
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job(), name=name) for name, job in jobs.items()]
            try:
                await stop.wait()
            finally:
                await self._drain()
                for task in tasks:
                    task.cancel()

    async def _drain(self) -> None:
        """Stops taking calls, in the order that loses none."""
        log.info("draining")
        self._context.draining.set()
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.unhealthy_after_seconds)  # until the gateway noticed
        await self._server.stop(self._settings.drain_seconds)

    async def close(self) -> None:
        """Gives everything back."""
        await self._server.stop(None)
        await self._context.db.close()
        for stop in (self._stop_metrics, self._stop_tracing):
            if stop is not None:
                await asyncio.to_thread(stop)
        log.info("stopped")

    async def _watch_health(self) -> None:
        """Tells the named services' health, as long as the server is not draining."""
        while True:
            ready = (await self._context.readiness.report()).ready
            states = health_pb2.HealthCheckResponse
            for name in self._names:
                await self._health.set(name, states.SERVING if ready else states.NOT_SERVING)
            await asyncio.sleep(HEALTH_SECONDS)


def _service(module: Any, name: str) -> ServiceDescriptor:
    found: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return found
