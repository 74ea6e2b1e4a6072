"""The event methods of WorkflowService."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc.aio import ServicerContext

from orca.v1 import workflow_pb2 as pb
from orca.v1 import workflow_service_pb2 as service_pb
from orca_server.domain.access import Caller
from orca_server.domain.events import Row
from orca_server.domain.telemetry import DAY_US, FUTURE_TOLERANCE_US, Refusal
from orca_server.runtime.ingest import Ingest, Outcome
from orca_server.runtime.names import Names
from orca_server.services.authentication import current_caller
from orca_server.services.event_records import from_row, names_in, to_columns
from orca_server.services.intake import Batch, Intake, Kind
from orca_server.services.key_pages import List, read_page
from orca_server.services.receipt_stream import ReceiptStreams
from orca_server.services.requests import check_unbound
from orca_server.store.database import Database
from orca_server.store.workflows import require_workflow

Context = ServicerContext[Any, Any]

_KIND = Kind("events", "workflow", "EVENTS_INVALID")
_LIST = List("events", "workflow_id", "occurred_at", require_workflow, from_row)


class EventsServicer:
    """RecordEvents, StreamEvents and ListEvents."""

    def __init__(
        self, db: Database, ingest: Ingest[Row], names: Names, *, retention_days: int
    ) -> None:
        """Keeps what it needs.

        Args:
            db: For reads.
            ingest: The one path by which events become rows.
            names: Ids of workflows by provider and name.
            retention_days: Age at which events are refused.
        """
        self._db = db
        self._intake = Intake(_KIND, ingest, names)
        self._streams = ReceiptStreams(self._intake, self._decode, _receipt, _unbound_caller)
        self._retention_us = retention_days * DAY_US

    def drain(self) -> None:
        """Reads no more of any stream; each ends once what was read is answered."""
        self._streams.drain()

    async def RecordEvents(
        self, request: service_pb.RecordEventsRequest, context: Context
    ) -> service_pb.RecordEventsResponse:
        """Stores all events or none."""
        caller = _unbound_caller()
        self._intake.check_size(len(request.events))
        batch = await self._decode(caller, request.events)
        outcome = await self._intake.store_all(caller, batch)
        return service_pb.RecordEventsResponse(
            accepted=outcome.accepted, duplicates=outcome.duplicates
        )

    async def StreamEvents(
        self, requests: AsyncIterator[service_pb.StreamEventsRequest], context: Context
    ) -> None:
        """Stores batches as they come and sends their receipts in order."""
        await self._streams.serve(requests, context)

    async def ListEvents(
        self, request: service_pb.ListEventsRequest, context: Context
    ) -> service_pb.ListEventsResponse:
        """A page of a workflow's events by time."""
        page = await read_page(self._db, _LIST, request)
        return service_pb.ListEventsResponse(
            events=page.resources, next_page_token=page.next_token, total_size=page.total
        )

    async def _decode(self, caller: Caller, events: Sequence[pb.WorkflowEvent]) -> Batch[Row]:
        named = await self._intake.resolve(caller, names_in(events))
        now_us = time.time_ns() // 1000
        columns = to_columns(
            events,
            named=named,
            oldest_us=now_us - self._retention_us,
            newest_us=now_us + FUTURE_TOLERANCE_US,
        )
        return Batch(columns, named)


def _unbound_caller() -> Caller:
    """The caller, whose token may be bound to no agents."""
    caller = current_caller()
    check_unbound(caller)
    return caller


def _receipt(
    batch_id: str, outcome: Outcome, refusals: Sequence[Refusal]
) -> service_pb.StreamEventsResponse:
    return service_pb.StreamEventsResponse(
        batch_id=batch_id,
        accepted=outcome.accepted,
        duplicates=outcome.duplicates,
        refused=[
            pb.RefusedEvent(index=r.index, field=r.field, reason=r.reason, message=r.message)
            for r in refusals
        ],
    )
