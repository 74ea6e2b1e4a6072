"""Telemetry: what agents did."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from datetime import datetime

from orca.calls import Calls
from orca.paging import Pages
from orca.stream import StreamSettings, stream_batches
from orca.times import timestamp
from orca.v1 import agent_service_pb2, telemetry_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub

Batch = Sequence[telemetry_pb2.TelemetryRecord]


class Telemetry:
    """Sends and lists records. A record that is sent again is counted once."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = AgentServiceStub(calls.channel)

    async def record(
        self, records: Batch, *, timeout: float | None = None
    ) -> agent_service_pb2.RecordTelemetryResponse:
        """How many of 1 to 1,000 records were new; all are committed, or none.

        Raises:
            InvalidRequest: If one is refused (`TELEMETRY_INVALID`); `violations` says which.
            Overloaded: If there is no room now; send the same records again.
        """
        request = agent_service_pb2.RecordTelemetryRequest(records=records)
        return await self._calls.unary(self._stub.RecordTelemetry, request, timeout)

    def stream(
        self,
        batches: Iterable[Batch] | AsyncIterable[Batch],
        settings: StreamSettings | None = None,
    ) -> AsyncIterator[agent_service_pb2.StreamTelemetryResponse]:
        """A receipt for each batch, in order: what is not refused in it is committed.

        Several batches are on their way at a time. After a break the unanswered ones are
        sent again on a new stream, so each is counted once.

        Args:
            batches: Lists of 1 to 1,000 records.
            settings: How many are on their way, and how long to try.

        Raises:
            OrcaError: If it cannot go on; batches without a receipt may be stored or not.
        """
        return stream_batches(self._stub.StreamTelemetry, _request, self._calls, batches, settings)

    def list(
        self,
        agent_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        order_by: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[telemetry_pb2.StoredTelemetry, agent_service_pb2.ListTelemetryResponse]:
        """An agent's records by time.

        Args:
            agent_id: The agent.
            start: Records observed at or after this.
            end: Records observed before this.
            order_by: `observed_at`, or `observed_at desc`.
            page_size: Records per call; 0: as the server likes.
            timeout: Of each page, in seconds.
        """

        async def fetch(token: str) -> agent_service_pb2.ListTelemetryResponse:
            request = agent_service_pb2.ListTelemetryRequest(
                agent_id=agent_id,
                start_time=timestamp(start),
                end_time=timestamp(end),
                order_by=order_by,
                page_size=page_size,
                page_token=token,
            )
            return await self._calls.unary(self._stub.ListTelemetry, request, timeout)

        return Pages(fetch, lambda page: page.telemetry)


def _request(records: Batch, batch_id: str) -> agent_service_pb2.StreamTelemetryRequest:
    return agent_service_pb2.StreamTelemetryRequest(records=records, batch_id=batch_id)
