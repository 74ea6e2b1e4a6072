"""The registry's methods of AgentService: the operator's file, and public registries' entries."""

import asyncio
from collections.abc import Sequence
from typing import Any

from grpc.aio import ServicerContext

from orca.v1 import agent_service_pb2 as pb
from orca.v1 import system_service_pb2
from orca_server.domain.checks import Violations, check_reason
from orca_server.domain.errors import NotAllowedNow
from orca_server.domain.inventory import Plan, plan_import
from orca_server.domain.registry_entries import Refused, parse
from orca_server.domain.registry_file import AGENT_TYPE
from orca_server.runtime.new_ids import new_id
from orca_server.runtime.registry_sync import RegistrySync, write_plan
from orca_server.services.authentication import current_caller
from orca_server.services.requests import author_of
from orca_server.store import agents as store
from orca_server.store.database import Database

ACTION = "registry.import"

Context = ServicerContext[Any, Any]


class RegistryServicer:
    """Answers SyncRegistry and ImportAgents."""

    def __init__(self, db: Database, sync: RegistrySync) -> None:
        """Keeps what it needs."""
        self._db = db
        self._sync = sync

    async def SyncRegistry(
        self, request: pb.SyncRegistryRequest, context: Context
    ) -> pb.SyncRegistryResponse:
        """Takes the registry file over now."""
        _check(request.reason)
        caller = current_caller()
        if caller.tenant_id != self._sync.tenant_id:
            raise NotAllowedNow(
                "REGISTRY_FILE_MISSING",
                "The registry file belongs to another tenant; there is none for yours.",
                {"tenant_id": str(caller.tenant_id)},
            )
        author = author_of(caller, request.reason)
        plan = await self._sync.sync(author, validate_only=request.validate_only)
        return pb.SyncRegistryResponse(
            created=len(plan.new),
            updated=len(plan.updated),
            unchanged=plan.unchanged,
            retired=len(plan.retired),
            refused=_refused(plan.refused),
            path=self._sync.state.path,
            validate_only=request.validate_only,
        )

    async def ImportAgents(
        self, request: pb.ImportAgentsRequest, context: Context
    ) -> pb.ImportAgentsResponse:
        """Takes a document's entries into the catalogue."""
        _check(request.reason)
        author = author_of(current_caller(), request.reason)
        document = request.content
        # Up to 8 MiB: not on the event loop.
        entries = await asyncio.to_thread(parse, document.data, document.content_type)
        names = [entry.name for entry in entries.taken]
        async with self._db.transaction() as tx:
            await store.lock_inventory(tx, author.tenant_id)
            current = await store.lock_named_agents(tx, author.tenant_id, AGENT_TYPE, names)
            plan = plan_import(entries, current, new_id)
            if not request.validate_only:
                await write_plan(tx, author, ACTION, plan)
        return _import_response(plan, validate_only=request.validate_only)

    async def add_status(self, status: system_service_pb2.Status) -> None:
        """Tells GetStatus how the registry file is doing."""
        state = self._sync.state
        status.registry.path = state.path
        status.registry.ok = state.ok
        status.registry.message = state.message
        status.registry.servers = state.servers
        if state.synced_at is not None:
            status.registry.synced_at.FromDatetime(state.synced_at)


def _check(reason: str) -> None:
    violations = Violations()
    check_reason(violations, reason)
    violations.refuse()


def _import_response(plan: Plan, *, validate_only: bool) -> pb.ImportAgentsResponse:
    return pb.ImportAgentsResponse(
        created=len(plan.new),
        updated=len(plan.updated),
        unchanged=plan.unchanged,
        refused=_refused(plan.refused),
        validate_only=validate_only,
    )


def _refused(found: Sequence[Refused]) -> list[pb.RefusedEntry]:
    return [
        pb.RefusedEntry(index=one.index, name=one.name, reason=one.reason, message=one.message)
        for one in found
    ]
