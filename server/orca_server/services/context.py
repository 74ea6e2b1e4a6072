"""What servicers are made of: built once in orca_server.app, handed to each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from orca.v1 import system_service_pb2 as pb
from orca_server.domain import events, telemetry
from orca_server.runtime.agent_reads import AgentReads
from orca_server.runtime.changes import Changes
from orca_server.runtime.ingest import Ingest
from orca_server.runtime.names import Names
from orca_server.runtime.preparation import Preparation
from orca_server.runtime.readiness import DatabaseProbe, Readiness
from orca_server.runtime.registry_sync import RegistrySync
from orca_server.runtime.revocations import Revocations
from orca_server.runtime.search_index import SearchIndex
from orca_server.runtime.tick import Tick
from orca_server.settings import Settings
from orca_server.store.database import Database

StatusPart = Callable[[pb.Status], Awaitable[None]]
"""Fills one part of Status, such as `ingest`."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The parts that servicers use."""

    settings: Settings
    db: Database
    readiness: Readiness
    database_probe: DatabaseProbe
    preparation: Preparation
    revocations: Revocations
    ingest: Ingest[telemetry.Row]
    event_ingest: Ingest[events.Row]
    agent_names: Names
    workflow_names: Names
    reads: AgentReads
    changes: Changes
    search: SearchIndex
    tick: Tick
    registry: RegistrySync
    instance: str
    """Host and pid of this process."""
    started_at: datetime
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops."""
    status_parts: list[StatusPart] = field(default_factory=list)
    """What GetStatus asks besides what SystemServicer knows itself, such as the registry file."""
