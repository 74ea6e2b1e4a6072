"""SystemService: health and status, which answer also while the database is down."""

import asyncio

import grpc

import orca_server
from orca.v1 import system_service_pb2 as pb
from orca_server.domain.errors import Unavailable
from orca_server.runtime.readiness import Check, Report
from orca_server.services.authentication import current_caller
from orca_server.services.context import ServerContext, StatusPart
from orca_server.store import migrate, trust

RETRY_SECONDS = 1.0
PART_SECONDS = 2.0
"""Deadline for one part of the status; a part that is late is left out."""

Context = grpc.aio.ServicerContext[object, object]


class SystemServicer:
    """Answers from the readiness report and from what each part says of itself."""

    def __init__(self, context: ServerContext) -> None:
        """Keeps the parts."""
        self._context = context

    async def GetHealth(self, request: pb.GetHealthRequest, context: Context) -> pb.Health:
        """SERVING, or NOT_READY with the causes."""
        report = await self._context.readiness.report()
        if not report.ready or self._context.draining.is_set():
            raise self._not_ready(report)
        return pb.Health(status="SERVING", version=orca_server.__version__, checks=_checks(report))

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:
        """The state of each part."""
        report = await self._context.readiness.report()
        role = self._context.settings.anonymous_role
        status = pb.Status(
            version=orca_server.__version__,
            instance=self._context.instance,
            access="closed" if role == "none" else "open",
            anonymous_role=role,
            ready=report.ready and not self._context.draining.is_set(),
            checks=_checks(report),
        )
        status.started_at.FromDatetime(self._context.started_at)
        self._add_database(status)
        self._add_ingest(status)
        parts = (self._add_trust, *self._context.status_parts)
        await asyncio.gather(*(_add_part(part, status) for part in parts))
        return status

    def _add_database(self, status: pb.Status) -> None:
        state, usage = self._context.database_probe.state, self._context.db.usage
        if state is not None:
            status.database.server_version = state.server_version
            status.database.schema_version = state.schema_version
            status.database.schema_version_needed = migrate.needed_version()
            status.database.connections = usage.open
            status.database.connections_in_use = usage.in_use
            status.database.partition_days_ahead = state.partition_days_ahead

    def _add_ingest(self, status: pb.Status) -> None:
        both = (self._context.ingest, self._context.event_ingest)
        for ingest in both:
            status.ingest.queued_records += ingest.queued_records
            status.ingest.queued_bytes += ingest.queued_bytes
            status.ingest.accepted += ingest.counts.accepted
            status.ingest.duplicates += ingest.counts.duplicates
            status.ingest.refused += ingest.counts.refused
            status.ingest.shed += ingest.counts.shed
        commits = [each.counts.last_commit_at for each in both]
        if last := max((at for at in commits if at is not None), default=None):
            status.ingest.last_commit_at.FromMicroseconds(int(last * 1e6))

    async def _add_trust(self, status: pb.Status) -> None:
        state = self._context.tick.state
        status.trust.interval_seconds = state.interval_seconds
        status.trust.duration_seconds = state.duration_seconds
        status.trust.last_error = state.last_error
        async with self._context.db.connection(PART_SECONDS) as connection:
            current = await trust.get(connection, current_caller().tenant_id)
        if current is not None:
            status.trust.as_of.FromDatetime(current["as_of"])
            status.trust.stale = current["stale"]

    def _not_ready(self, report: Report) -> Unavailable:
        causes = {check.name: check.message for check in report.failing}
        if self._context.draining.is_set():
            causes["process"] = "the server is stopping"
        listed = "; ".join(f"{name}: {message}" for name, message in causes.items())
        return Unavailable(
            "NOT_READY", f"Not ready: {listed}", causes, retry_after_seconds=RETRY_SECONDS
        )


async def _add_part(part: StatusPart, status: pb.Status) -> None:
    try:
        async with asyncio.timeout(PART_SECONDS):
            await part(status)
    except (TimeoutError, Unavailable):
        pass  # the checks say why


def _checks(report: Report) -> list[pb.Check]:
    return [_check(check) for check in report.checks]


def _check(check: Check) -> pb.Check:
    return pb.Check(name=check.name, ok=check.ok, message=check.message)
