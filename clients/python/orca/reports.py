"""Reports: the state of the fleet for people, as messages and as documents."""

from google.api.httpbody_pb2 import HttpBody

from orca.calls import Calls
from orca.v1 import report_pb2, report_service_pb2
from orca.v1.report_service_pb2_grpc import ReportServiceStub


class Reports:
    """Reports on the fleet. `timeout` is in seconds throughout."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = ReportServiceStub(calls.channel)

    async def summary(self, *, timeout: float | None = None) -> report_pb2.ExecutiveSummary:
        """The state of the fleet as the last tick computed it."""
        request = report_service_pb2.GetExecutiveSummaryRequest()
        return await self._calls.unary(self._stub.GetExecutiveSummary, request, timeout)

    async def export(self, format: str = "markdown", *, timeout: float | None = None) -> bytes:
        """The same as a document, in UTF-8.

        Args:
            format: `markdown`, `json`, `csv` or `html`.
            timeout: Of the call.
        """
        request = report_service_pb2.ExportReportRequest(format=format)
        body: HttpBody = await self._calls.unary(self._stub.ExportReport, request, timeout)
        return bytes(body.data)

    async def healing(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> report_pb2.Healing:
        """What is not as it should be, the most severe first; 0: as many as the server likes."""
        request = report_service_pb2.GetHealingRequest(page_size=page_size)
        return await self._calls.unary(self._stub.GetHealing, request, timeout)
