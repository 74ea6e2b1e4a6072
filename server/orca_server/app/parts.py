"""Every part of a server, wired: what servicers use, which they are, and the jobs beside them."""

import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from orca.v1 import (
    agent_service_pb2,
    report_service_pb2,
    system_service_pb2,
    trust_service_pb2,
    workflow_service_pb2,
)
from orca_server.app.probes import add_probes
from orca_server.domain.fleet_trust import TrustSettings
from orca_server.runtime.agent_reads import AgentReads
from orca_server.runtime.changes import Changes
from orca_server.runtime.event_writer import EventWriter
from orca_server.runtime.ingest import Ingest
from orca_server.runtime.names import Names
from orca_server.runtime.preparation import Preparation
from orca_server.runtime.readiness import DatabaseProbe, Readiness
from orca_server.runtime.registry_sync import RegistrySync
from orca_server.runtime.revocations import Revocations
from orca_server.runtime.search_index import SearchIndex
from orca_server.runtime.telemetry_writer import TelemetryWriter
from orca_server.runtime.tick import Tick
from orca_server.runtime.upkeep import Upkeep
from orca_server.services.agents import AgentServicer
from orca_server.services.context import ServerContext
from orca_server.services.docs_site import DocsServicer
from orca_server.services.events import EventsServicer
from orca_server.services.findings import FindingServicer
from orca_server.services.observations import ObservationServicer
from orca_server.services.registry import RegistryServicer
from orca_server.services.reports import ReportServicer
from orca_server.services.runs import RunsServicer
from orca_server.services.search import SearchServicer
from orca_server.services.system import SystemServicer
from orca_server.services.telemetry import TelemetryServicer
from orca_server.services.trust import TrustServicer
from orca_server.services.workflows import WorkflowServicer
from orca_server.settings import Settings
from orca_server.store.database import Database
from orca_server.store.events import resolve_workflows
from orca_server.store.telemetry import resolve_agents

Service = tuple[ServiceDescriptor, tuple[object, ...]]
Job = Callable[[], Awaitable[None]]


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


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
    add_probes(context)
    return context


def trust_settings(settings: Settings) -> TrustSettings:
    """What an operator chose about the score."""
    return TrustSettings(
        baseline_ppb=settings.trust_score_baseline_ppb,
        risk_baseline_cost_nano_usd=settings.risk_baseline_cost_nano_usd,
        weights_ppb=settings.trust_weights_ppb,
        freshness_slo_seconds=max(1, round(settings.sync_freshness_slo_hours * 3600)),
    )


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
    parts = (agents, ObservationServicer(context.db, now), registry, search, telemetry)
    yield _service(agent_service_pb2, "AgentService"), parts
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


def _service(module: Any, name: str) -> ServiceDescriptor:
    found: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return found
