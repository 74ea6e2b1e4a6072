"""Events: what happened to the runs of workflows."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from datetime import datetime

from orca.calls import Calls
from orca.paging import Pages
from orca.stream import StreamSettings, stream_batches
from orca.times import timestamp
from orca.v1 import workflow_pb2, workflow_service_pb2
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub

Batch = Sequence[workflow_pb2.WorkflowEvent]


class Events:
    """Sends and lists events. An event that is sent again is counted once."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = WorkflowServiceStub(calls.channel)

    async def record(
        self, events: Batch, *, timeout: float | None = None
    ) -> workflow_service_pb2.RecordEventsResponse:
        """How many of 1 to 1,000 events were new; all are committed, or none.

        Raises:
            InvalidRequest: If one is refused (`EVENTS_INVALID`); `violations` says which.
            Overloaded: If there is no room now; send the same events again.
        """
        request = workflow_service_pb2.RecordEventsRequest(events=events)
        return await self._calls.unary(self._stub.RecordEvents, request, timeout)

    def stream(
        self,
        batches: Iterable[Batch] | AsyncIterable[Batch],
        settings: StreamSettings | None = None,
    ) -> AsyncIterator[workflow_service_pb2.StreamEventsResponse]:
        """A receipt for each batch, in order: what is not refused in it is committed.

        Several batches are on their way at a time. After a break the unanswered ones are
        sent again on a new stream, so each is counted once.

        Args:
            batches: Lists of 1 to 1,000 events.
            settings: How many are on their way, and how long to try.

        Raises:
            OrcaError: If it cannot go on; batches without a receipt may be stored or not.
        """
        return stream_batches(self._stub.StreamEvents, _request, self._calls, batches, settings)

    def list(
        self,
        workflow_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        order_by: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[workflow_pb2.StoredEvent, workflow_service_pb2.ListEventsResponse]:
        """A workflow's events by time.

        Args:
            workflow_id: The workflow.
            start: Events that occurred at or after this.
            end: Events that occurred before this.
            order_by: `occurred_at`, or `occurred_at desc`.
            page_size: Events per call; 0: as the server likes.
            timeout: Of each page, in seconds.
        """

        async def fetch(token: str) -> workflow_service_pb2.ListEventsResponse:
            request = workflow_service_pb2.ListEventsRequest(
                workflow_id=workflow_id,
                start_time=timestamp(start),
                end_time=timestamp(end),
                order_by=order_by,
                page_size=page_size,
                page_token=token,
            )
            return await self._calls.unary(self._stub.ListEvents, request, timeout)

        return Pages(fetch, lambda page: page.events)


def _request(events: Batch, batch_id: str) -> workflow_service_pb2.StreamEventsRequest:
    return workflow_service_pb2.StreamEventsRequest(events=events, batch_id=batch_id)
