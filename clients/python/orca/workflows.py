"""Workflows: the inventory."""

from collections.abc import Iterable, Sequence
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from orca import references
from orca.calls import Calls
from orca.paging import Pages
from orca.references import Noun
from orca.v1 import workflow_pb2, workflow_service_pb2
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub

NOUN = Noun("workflow", "provider")


class Workflows:
    """The automations that run by themselves. `timeout` is in seconds throughout."""

    def __init__(self, calls: Calls) -> None:
        """Made by the client."""
        self._calls = calls
        self._stub = WorkflowServiceStub(calls.channel)

    async def get(self, id: str, *, timeout: float | None = None) -> workflow_pb2.Workflow:
        """One workflow, by id."""
        request = workflow_service_pb2.GetWorkflowRequest(id=id)
        return await self._calls.unary(self._stub.GetWorkflow, request, timeout)

    def list(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pages[workflow_pb2.Workflow, workflow_service_pb2.ListWorkflowsResponse]:
        """The workflows that match, by id unless `order_by` says otherwise.

        Args:
            filter: AIP-160, such as `provider = "n8n" AND freshness = STALE`.
            order_by: `id`, `name`, `created_at`, `updated_at`, `last_success_at`; ` desc` reverses.
            page_size: Workflows per call; 0: as the server likes.
            timeout: Of each page.
        """

        async def fetch(token: str) -> workflow_service_pb2.ListWorkflowsResponse:
            request = workflow_service_pb2.ListWorkflowsRequest(
                page_size=page_size, page_token=token, filter=filter, order_by=order_by
            )
            return await self._calls.unary(self._stub.ListWorkflows, request, timeout)

        return Pages(fetch, lambda page: page.workflows)

    async def find(self, reference: str, *, timeout: float | None = None) -> workflow_pb2.Workflow:
        """The one workflow that a person means.

        Args:
            reference: An id, a name, or PROVIDER/NAME.
            timeout: Of each call.

        Raises:
            NotFound: If there is none (`WORKFLOW_NOT_FOUND`).
            InvalidRequest: If there are several (`WORKFLOW_AMBIGUOUS`).
        """

        async def get(id: str) -> workflow_pb2.Workflow:
            return await self.get(id, timeout=timeout)

        async def search(filter: str) -> Sequence[workflow_pb2.Workflow]:
            return await self.list(filter=filter, page_size=10, timeout=timeout).collect(limit=10)

        return await references.find(NOUN, reference, get, search)

    async def create(
        self,
        workflow: workflow_pb2.Workflow,
        *,
        request_id: str = "",
        reason: str = "",
        timeout: float | None = None,
    ) -> workflow_pb2.Workflow:
        """The workflow as created; a `request_id` is made up unless given, so retries are safe."""
        request = workflow_service_pb2.CreateWorkflowRequest(
            workflow=workflow, request_id=request_id or str(uuid4()), reason=reason
        )
        return await self._calls.unary(self._stub.CreateWorkflow, request, timeout)

    async def update(
        self,
        workflow: workflow_pb2.Workflow,
        *,
        update_mask: Iterable[str] = (),
        allow_missing: bool = False,
        reason: str = "",
        timeout: float | None = None,
    ) -> workflow_pb2.Workflow:
        """The workflow as changed, found by id or by provider and name.

        Args:
            workflow: The new values.
            update_mask: Fields to change; none: those that are set in `workflow`.
            allow_missing: Create it when there is none of this provider and name.
            reason: Why, for the audit log.
            timeout: Of the call.
        """
        paths = [*update_mask]
        request = workflow_service_pb2.UpdateWorkflowRequest(
            workflow=workflow,
            update_mask=FieldMask(paths=paths) if paths else None,
            allow_missing=allow_missing,
            reason=reason,
        )
        return await self._calls.unary(self._stub.UpdateWorkflow, request, timeout)

    async def delete(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> None:
        """Deletes a workflow that never reported."""
        request = workflow_service_pb2.DeleteWorkflowRequest(id=id, etag=etag, reason=reason)
        await self._calls.unary(self._stub.DeleteWorkflow, request, timeout)

    async def pause(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> workflow_pb2.Workflow:
        """The workflow, set aside on purpose."""
        request = workflow_service_pb2.PauseWorkflowRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.PauseWorkflow, request, timeout)

    async def resume(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> workflow_pb2.Workflow:
        """The workflow, expected to run again."""
        request = workflow_service_pb2.ResumeWorkflowRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.ResumeWorkflow, request, timeout)

    async def retire(
        self, id: str, *, etag: str = "", reason: str = "", timeout: float | None = None
    ) -> workflow_pb2.Workflow:
        """The workflow, retired."""
        request = workflow_service_pb2.RetireWorkflowRequest(id=id, etag=etag, reason=reason)
        return await self._calls.unary(self._stub.RetireWorkflow, request, timeout)
