"""Runs: what the events of workflows come to."""

from datetime import datetime

from orca.calls import Calls
from orca.paging import Pages
from orca.times import timestamp
from orca.v1 import workflow_pb2, workflow_service_pb2
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub


class Runs:
    """Reads runs, as the server's last tick derived them from the events."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = WorkflowServiceStub(calls.channel)

    async def get(
        self, workflow_id: str, run_id: str, *, timeout: float | None = None
    ) -> workflow_pb2.Run:
        """One run, by the tool's id of it.

        Raises:
            NotFound: If there is no such workflow or run (`WORKFLOW_NOT_FOUND`, `RUN_NOT_FOUND`).
        """
        request = workflow_service_pb2.GetRunRequest(workflow_id=workflow_id, run_id=run_id)
        return await self._calls.unary(self._stub.GetRun, request, timeout)

    def list(
        self,
        workflow_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        order_by: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[workflow_pb2.Run, workflow_service_pb2.ListRunsResponse]:
        """A workflow's runs by their start.

        Args:
            workflow_id: The workflow.
            start: Runs that started at or after this.
            end: Runs that started before this.
            order_by: `started_at desc`, the default, or `started_at`.
            page_size: Runs per call; 0: as the server likes.
            timeout: Of each page, in seconds.
        """

        async def fetch(token: str) -> workflow_service_pb2.ListRunsResponse:
            request = workflow_service_pb2.ListRunsRequest(
                workflow_id=workflow_id,
                start_time=timestamp(start),
                end_time=timestamp(end),
                order_by=order_by,
                page_size=page_size,
                page_token=token,
            )
            return await self._calls.unary(self._stub.ListRuns, request, timeout)

        return Pages(fetch, lambda page: page.runs)
