"""The inventory's methods of WorkflowService: create, read, update, delete, change of state."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from grpc.aio import ServicerContext

from orca.v1 import workflow_pb2 as pb
from orca.v1 import workflow_service_pb2 as service_pb
from orca_server.domain import workflows
from orca_server.domain.errors import AlreadyExists, NotAllowedNow
from orca_server.domain.etags import check_etag
from orca_server.domain.workflows import Workflow, WorkflowState
from orca_server.runtime.new_ids import new_id
from orca_server.services import workflow_requests
from orca_server.services.authentication import current_caller
from orca_server.services.convert_workflows import workflow_to_proto
from orca_server.services.pages import read_page
from orca_server.services.requests import author_of, read_id
from orca_server.services.update_requests import StateRequest, check_no_etag, request_id_reused
from orca_server.services.workflow_requests import NewWorkflow, WorkflowUpdate
from orca_server.store import workflows as store
from orca_server.store.database import Connection, Database
from orca_server.store.listings import WORKFLOWS
from orca_server.store.totals import Totals

Context = ServicerContext[Any, Any]
Transition = Callable[[Workflow, datetime], Workflow]


class WorkflowServicer:
    """Answers the inventory's methods of WorkflowService."""

    def __init__(self, db: Database) -> None:
        """Keeps what it needs."""
        self._db = db
        self._totals = Totals()

    async def CreateWorkflow(
        self, request: service_pb.CreateWorkflowRequest, context: Context
    ) -> pb.Workflow:
        """Adds a workflow; a retry by request id finds it again."""
        new = workflow_requests.read_new(request, current_caller())
        async with self._db.transaction() as tx:
            workflow_id = await _created_before(tx, new) or await _create(tx, new)
            row = await store.get_workflow(tx, new.author.tenant_id, workflow_id)
        return workflow_to_proto(row)

    async def GetWorkflow(
        self, request: service_pb.GetWorkflowRequest, context: Context
    ) -> pb.Workflow:
        """One workflow."""
        workflow_id = read_id("id", request.id)
        async with self._db.connection() as connection:
            row = await store.get_workflow(connection, current_caller().tenant_id, workflow_id)
        return workflow_to_proto(row)

    async def ListWorkflows(
        self, request: service_pb.ListWorkflowsRequest, context: Context
    ) -> service_pb.ListWorkflowsResponse:
        """A page of workflows; fewer than asked for if they are large."""
        page = await read_page(self._db, WORKFLOWS, request, workflow_to_proto, self._totals)
        return service_pb.ListWorkflowsResponse(
            workflows=page.resources, next_page_token=page.next_token, total_size=page.total
        )

    async def UpdateWorkflow(
        self, request: service_pb.UpdateWorkflowRequest, context: Context
    ) -> pb.Workflow:
        """Changes fields of a workflow, or creates it."""
        update = workflow_requests.read_update(request, current_caller())
        async with self._db.transaction() as tx:
            workflow_id = await _upsert(tx, update)
            row = await store.get_workflow(tx, update.author.tenant_id, workflow_id)
        return workflow_to_proto(row)

    async def DeleteWorkflow(
        self, request: service_pb.DeleteWorkflowRequest, context: Context
    ) -> Empty:
        """Removes a workflow that never reported."""
        workflow_id = read_id("id", request.id, request.reason)
        author = author_of(current_caller(), request.reason)
        async with self._db.connection() as connection:
            # Without a lock first, so that a hopeless request never holds up ingest.
            await store.require_workflow(connection, author.tenant_id, workflow_id)
            if await store.has_history(connection, author.tenant_id, workflow_id):
                raise _has_history(workflow_id)
        async with self._db.transaction() as tx:
            workflow = await store.lock_for_deletion(tx, author.tenant_id, workflow_id)
            _check_etag(workflow, request.etag)
            if not await store.delete_workflow(tx, author, workflow):
                raise _has_history(workflow_id)
        return Empty()

    async def PauseWorkflow(
        self, request: service_pb.PauseWorkflowRequest, context: Context
    ) -> pb.Workflow:
        """Sets a workflow aside."""
        return await self._change_state(
            request, "workflows.pause", lambda workflow, now: workflows.pause(workflow)
        )

    async def ResumeWorkflow(
        self, request: service_pb.ResumeWorkflowRequest, context: Context
    ) -> pb.Workflow:
        """Brings a workflow back."""
        return await self._change_state(
            request, "workflows.resume", lambda workflow, now: workflows.resume(workflow)
        )

    async def RetireWorkflow(
        self, request: service_pb.RetireWorkflowRequest, context: Context
    ) -> pb.Workflow:
        """Ends a workflow."""
        return await self._change_state(request, "workflows.retire", workflows.retire)

    async def _change_state(
        self, request: StateRequest, action: str, transition: Transition
    ) -> pb.Workflow:
        workflow_id = read_id("id", request.id, request.reason)
        author = author_of(current_caller(), request.reason)
        async with self._db.transaction() as tx:
            workflow, now = await store.lock_workflow(tx, author.tenant_id, workflow_id)
            _check_etag(workflow, request.etag)
            moved = transition(workflow, now)
            await store.save_workflow(tx, author, action, workflow, moved)
            row = await store.get_workflow(tx, author.tenant_id, workflow_id)
        return workflow_to_proto(row)


async def _created_before(tx: Connection, new: NewWorkflow) -> UUID | None:
    """The workflow that an earlier call with the same request id created.

    Raises:
        AlreadyExists: If that call was for another workflow (`REQUEST_ID_REUSED`).
    """
    if new.request_id is None:
        return None
    found = await store.find_created(tx, new.author.tenant_id, new.request_id)
    if found is None:
        return None
    if (found.provider, found.name) != (new.family, new.name):
        about = {"workflow_id": str(found.id), "provider": found.provider, "name": found.name}
        raise request_id_reused("workflow", found.provider, found.name, about)
    return found.id


async def _create(tx: Connection, new: NewWorkflow) -> UUID:
    workflow = Workflow(new_id(), new.family, new.name, content=new.content)
    if await store.add_workflow(tx, new.author, workflow, new.request_id):
        return workflow.id
    if (found := await _created_before(tx, new)) is not None:  # by the same request, just now
        return found
    holder = await store.find_named(tx, new.author.tenant_id, new.family, new.name)
    if holder is None:
        raise store.inventory_changed()
    if holder.state is WorkflowState.RETIRED:
        raise _retired(holder.id, holder.provider, holder.name)
    raise AlreadyExists(
        "WORKFLOW_EXISTS",
        f"Workflow '{holder.provider}/{holder.name}' exists already; update that one.",
        {
            "workflow_id": str(holder.id),
            "provider": holder.provider,
            "name": holder.name,
            "state": holder.state,
        },
    )


async def _upsert(tx: Connection, update: WorkflowUpdate) -> UUID:
    """Changes the workflow, or creates it if that is allowed."""
    workflow = await _locked(tx, update)
    if workflow is None:
        new = _missing(update)
        if await store.add_workflow(tx, update.author, new):
            return new.id
        workflow = await _locked(tx, update)  # someone was faster
        if workflow is None:
            raise store.inventory_changed()
    _check_etag(workflow, update.etag)
    if workflow.state is WorkflowState.RETIRED:
        raise _retired(workflow.id, workflow.provider, workflow.name)
    content = workflow_requests.changed_content(update, workflow)
    changed = replace(workflow, content=content)
    await store.save_workflow(tx, update.author, "workflows.update", workflow, changed)
    return workflow.id


async def _locked(tx: Connection, update: WorkflowUpdate) -> Workflow | None:
    """The workflow; None if it is missing and may be created.

    Raises:
        NotFound: If it is missing otherwise.
    """
    tenant_id = update.author.tenant_id
    if update.id is not None:
        return (await store.lock_workflow(tx, tenant_id, update.id))[0]
    found = await store.lock_named_workflow(tx, tenant_id, update.family, update.name)
    if found is None and not update.allow_missing:
        raise store.workflow_missing(update.who)
    return found


def _missing(update: WorkflowUpdate) -> Workflow:
    """The workflow that an update creates."""
    content = workflow_requests.new_content(update)
    check_no_etag("workflow", update)
    return Workflow(new_id(), update.family, update.name, content=content)


def _check_etag(workflow: Workflow, given: str) -> None:
    check_etag("workflow", workflow.id, workflow.revision, given)


def _retired(workflow_id: UUID, provider: str, name: str) -> AlreadyExists:
    return AlreadyExists(
        "WORKFLOW_RETIRED",
        f"Workflow '{provider}/{name}' is retired; resume it first.",
        {"workflow_id": str(workflow_id), "provider": provider, "name": name},
    )


def _has_history(workflow_id: UUID) -> NotAllowedNow:
    return NotAllowedNow(
        "WORKFLOW_HAS_HISTORY",
        f"Workflow '{workflow_id}' has reported and is evidence; retire it instead.",
        {"workflow_id": str(workflow_id)},
    )
