"""ReportService: the fleet's state for people, as a message and as documents."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from grpc.aio import ServicerContext

from orca.v1 import report_pb2 as pb
from orca.v1 import report_service_pb2 as service_pb
from orca_server.domain.errors import FieldViolation, invalid_fields
from orca_server.domain.reports import HISTORY, Thresholds
from orca_server.services import report_documents
from orca_server.services.authentication import current_caller
from orca_server.services.convert_reports import healing_to_proto, summary_to_proto
from orca_server.services.requests import read_page_size
from orca_server.store import reports as store
from orca_server.store.database import Database

SHOWN = 10
"""Rows of each list of a summary."""
DEFAULT_FINDINGS, MOST_FINDINGS = 100, 1_000
THRESHOLDS = Thresholds()

Context = ServicerContext[Any, Any]


class ReportServicer:
    """Answers ReportService."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        """Keeps what it needs; the clock says when a report was made."""
        self._db = db
        self._clock = clock

    async def GetExecutiveSummary(
        self, request: service_pb.GetExecutiveSummaryRequest, context: Context
    ) -> pb.ExecutiveSummary:
        """The state of the fleet."""
        tenant_id = current_caller().tenant_id
        rows = await store.read_summary(self._db, tenant_id, HISTORY, SHOWN)
        summary = pb.ExecutiveSummary() if rows is None else summary_to_proto(rows)
        summary.created_at.FromDatetime(self._clock())
        return summary

    async def ExportReport(
        self, request: service_pb.ExportReportRequest, context: Context
    ) -> HttpBody:
        """The same as a document."""
        document = report_documents.FORMATS.get(request.format)
        if document is None:
            known = ", ".join(report_documents.FORMATS)
            reason = "INVALID_VALUE" if request.format else "REQUIRED"
            raise invalid_fields([FieldViolation("format", reason, f"must be one of {known}")])
        summary = await self.GetExecutiveSummary(service_pb.GetExecutiveSummaryRequest(), context)
        name = report_documents.file_name(summary, document)
        await context.send_initial_metadata(
            (("content-disposition", f'attachment; filename="{name}"'),)
        )
        text = await asyncio.to_thread(document.write, summary)
        return HttpBody(content_type=document.content_type, data=text.encode())

    async def GetHealing(
        self, request: service_pb.GetHealingRequest, context: Context
    ) -> pb.Healing:
        """What is not as it should be."""
        limit = read_page_size(request.page_size, default=DEFAULT_FINDINGS, most=MOST_FINDINGS)
        tenant_id = current_caller().tenant_id
        rows = await store.read_findings(self._db, tenant_id, THRESHOLDS, limit)
        return pb.Healing() if rows is None else healing_to_proto(rows, limit)
