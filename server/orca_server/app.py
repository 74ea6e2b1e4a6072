"""The composition root: builds every part, runs them, and drains them in order."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import get_tracer

import orca_server
from orca.v1 import (
    agent_service_pb2,
    report_service_pb2,
    system_service_pb2,
    trust_service_pb2,
    workflow_service_pb2,
)
from orca_server import observability
from orca_server.domain.fleet_trust import TrustSettings
from orca_server.runtime.agent_reads import AgentReads
from orca_server.runtime.changes import Changes
from orca_server.runtime.event_writer import EventWriter
from orca_server.runtime.ingest import Ingest
from orca_server.runtime.names import Names
from orca_server.runtime.preparation import Preparation
from orca_server.runtime.readiness import Check, DatabaseProbe, Readiness
from orca_server.runtime.registry_sync import RegistrySync
from orca_server.runtime.revocations import Revocations
from orca_server.runtime.search_index import SearchIndex
from orca_server.runtime.telemetry_writer import TelemetryWriter
from orca_server.runtime.tick import Tick
from orca_server.runtime.upkeep import Upkeep
from orca_server.services.agents import AgentServicer
from orca_server.services.authentication import Authenticator
from orca_server.services.context import ServerContext
from orca_server.services.docs_site import DocsServicer
from orca_server.services.events import EventsServicer
from orca_server.services.findings import FindingServicer
from orca_server.services.interceptors import guarded_handlers
from orca_server.services.observations import ObservationServicer
from orca_server.services.registry import RegistryServicer
from orca_server.services.reports import ReportServicer
from orca_server.services.runs import RunsServicer
from orca_server.services.search import SearchServicer
from orca_server.services.system import SystemServicer
from orca_server.services.telemetry import TelemetryServicer
from orca_server.services.trust import TrustServicer
from orca_server.services.workflows import WorkflowServicer
from orca_server.settings import Settings, split_address
from orca_server.store.database import Database
from orca_server.store.events import resolve_workflows
from orca_server.store.telemetry import resolve_agents

LARGEST_MESSAGE = 16 * 2**20 + 64 * 2**10
"""What the gateway reads of a body, and room for what it adds from path, query and headers."""
HEALTH_SECONDS = 1.0
"""How often the health of the named services is looked at."""
CANCEL_SECONDS = 0.5
"""Pause before a job that did not end is told once more."""
STUCK_SECONDS = 30.0
"""A record without an answer for so long means that the queue does not move."""

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

Service = tuple[ServiceDescriptor, tuple[object, ...]]
Job = Callable[[], Awaitable[None]]


def services(context: ServerContext) -> Iterator[Service]:
    """Each service with the servicers that share its methods."""
    settings = context.settings
    telemetry = TelemetryServicer(
        context.db,
        context.ingest,
        context.agent_names,
        retention_days=settings.telemetry_retention_days,
    )
    events = EventsServicer(
        context.db,
        context.event_ingest,
        context.workflow_names,
        retention_days=settings.telemetry_retention_days,
    )
    trust = TrustServicer(context.db, context.tick, trust_settings(settings))
    registry = RegistryServicer(context.db, context.registry)
    context.status_parts.append(registry.add_status)
    agents = AgentServicer(context.db, context.reads)
    search = SearchServicer(context.db, context.search)
    observations = ObservationServicer(context.db, now)
    yield (
        _service(agent_service_pb2, "AgentService"),
        (agents, observations, registry, search, telemetry),
    )
    workflows = (WorkflowServicer(context.db), RunsServicer(context.db), events)
    yield _service(workflow_service_pb2, "WorkflowService"), workflows
    yield _service(trust_service_pb2, "TrustService"), (trust, FindingServicer(context.db))
    yield _service(report_service_pb2, "ReportService"), (ReportServicer(context.db, now),)
    yield _service(system_service_pb2, "SystemService"), (SystemServicer(context), DocsServicer())


def jobs(context: ServerContext) -> Mapping[str, Job]:
    """What runs as long as the server does, by name; cancelled at the end of the drain."""
    return {
        "preparation": context.preparation.run,
        "reads": context.reads.run,
        "changes": context.changes.run,
        "search": context.search.run,
        "revocations": context.revocations.run,
        "tick": context.tick.run,
        "registry": context.registry.run,
        "upkeep": Upkeep(context.db, context.settings.telemetry_retention_days, now).run,
    }


def build_context(settings: Settings) -> ServerContext:
    """Every part, none of which runs yet."""
    db = Database(settings.database_url.get_secret_value(), size=settings.max_connections)
    preparation = Preparation(db, settings.telemetry_retention_days, now)
    changes = Changes(db, now)
    bounds = {
        "max_records": settings.ingest_queue_records,
        "max_bytes": settings.ingest_queue_bytes,
    }
    context = ServerContext(
        settings=settings,
        db=db,
        readiness=Readiness(),
        database_probe=DatabaseProbe(db, preparation, now),
        preparation=preparation,
        revocations=Revocations(db),
        ingest=Ingest(db, TelemetryWriter(), **bounds),
        event_ingest=Ingest(db, EventWriter(), **bounds),
        agent_names=Names(db, resolve_agents),
        workflow_names=Names(db, resolve_workflows),
        reads=AgentReads(db),
        changes=changes,
        search=SearchIndex(db, changes),
        tick=Tick(
            db,
            trust_settings(settings),
            seconds=settings.tick_seconds,
            clean_seconds=max(1, round(settings.violation_clean_hours * 3600)),
        ),
        registry=RegistrySync(db, settings.mcp_registry_path),
        instance=f"{socket.gethostname()}:{os.getpid()}",
        started_at=now(),
    )
    _add_probes(context)
    return context


def trust_settings(settings: Settings) -> TrustSettings:
    """What an operator chose about the score."""
    return TrustSettings(
        baseline_ppb=settings.trust_score_baseline_ppb,
        risk_baseline_cost_nano_usd=settings.risk_baseline_cost_nano_usd,
        weights_ppb=settings.trust_weights_ppb,
        freshness_slo_seconds=max(1, round(settings.sync_freshness_slo_hours * 3600)),
    )


def _add_probes(context: ServerContext) -> None:
    """What readiness asks: the database, whether the queue moves, and how trust is doing."""

    async def ingest() -> tuple[Check]:
        both = (context.ingest, context.event_ingest)
        waited = max(each.oldest_wait_seconds() for each in both)
        stuck = waited > STUCK_SECONDS
        found = f"{sum(each.queued_records for each in both)} records wait"
        if stuck:
            found += f", and the oldest has no answer for {waited:.0f} s: is the database slow?"
        return (Check("ingest", not stuck, found),)

    async def trust() -> tuple[Check]:
        error = context.tick.state.last_error
        return (Check("trust", not error, error or "computed by ticks", vital=False),)

    async def registry_file() -> tuple[Check, ...]:
        state = context.registry.state
        found = state.message or f"{state.servers} servers from {state.path}"
        check = Check("registry_file", state.ok, found, vital=False)
        return (check,) if state.path else ()

    context.readiness.add("database", context.database_probe)
    context.readiness.add("ingest", ingest)
    context.readiness.add("trust", trust)
    context.readiness.add("registry_file", registry_file)


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


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


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
    server = _Server(build_context(settings))
    try:
        started(await server.start())
        await server.run(stop)
    finally:
        await server.close()


class _GenericOnly:
    """A server for generated code, which would register each method with it.

    For every registered method grpc.aio keeps a request waiting, and at every call it waits
    anew for all of them: 1 µs per method and call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Registers none; the generic handlers, added before, answer."""


class _Server:
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
        return observability.CallTracer(get_tracer(__name__), ratio)

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


def _service(module: Any, name: str) -> ServiceDescriptor:
    found: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return found
