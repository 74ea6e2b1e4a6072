"""What requests about workflows ask for: decoded and checked, before anything is read."""

from collections.abc import Iterable

from orca.v1 import workflow_service_pb2 as service_pb
from orca_server.domain import update_masks, workflows
from orca_server.domain.access import Caller
from orca_server.domain.checks import Violations, check_reason
from orca_server.domain.update_masks import Change
from orca_server.domain.workflow_checks import check_content, check_identity
from orca_server.domain.workflows import REPORTED_FIELDS, UPDATABLE, Content, Workflow
from orca_server.services.convert_workflows import content_of
from orca_server.services.requests import author_of, check_unbound, note_id, note_request_id
from orca_server.services.update_requests import (
    New,
    Update,
    changes_of,
    check_identity_stays,
    check_rights,
)

WRITE_SCOPE = "workflows.write"


NewWorkflow = New[Content]
WorkflowUpdate = Update[Content]


def read_new(request: service_pb.CreateWorkflowRequest, caller: Caller) -> NewWorkflow:
    """What CreateWorkflow asks for.

    Raises:
        InvalidRequest: With all that is wrong.
        PermissionDenied: If the caller may not say some of it.
    """
    check_unbound(caller)
    violations = Violations()
    workflow = request.workflow
    check_identity(violations, "workflow.", workflow.provider, workflow.name)
    content = workflows.settled(content_of(workflow, violations, "workflow."))
    check_content(violations, "workflow.", content)
    request_id = note_request_id(violations, request.request_id)
    check_reason(violations, request.reason)
    violations.refuse()
    _check_rights(caller, update_masks.said(UPDATABLE, content, Content()))
    author = author_of(caller, request.reason)
    return New(workflow.provider, workflow.name, content, request_id, author)


def read_update(request: service_pb.UpdateWorkflowRequest, caller: Caller) -> WorkflowUpdate:
    """What UpdateWorkflow asks for.

    Raises:
        InvalidRequest: With all that is wrong.
        PermissionDenied: If the caller may not change one of the fields.
    """
    check_unbound(caller)
    workflow = request.workflow
    changes, identity = changes_of(workflow, request.update_mask, UPDATABLE)
    _check_rights(caller, changes)
    violations = Violations()
    workflow_id = note_id(violations, "workflow.id", workflow.id) if workflow.id else None
    if not workflow.id:
        check_identity(violations, "workflow.", workflow.provider, workflow.name)
    given = content_of(workflow, violations, "workflow.")
    whole = [change for change in changes if not change.part]  # a part may fit what is there
    check_content(violations, "workflow.", update_masks.apply(UPDATABLE, Content(), given, whole))
    check_reason(violations, request.reason)
    violations.refuse()
    return Update(
        id=workflow_id,
        family=workflow.provider,
        name=workflow.name,
        given=given,
        changes=changes,
        identity=identity,
        etag=workflow.etag,
        allow_missing=request.allow_missing,
        caller=caller,
        author=author_of(caller, request.reason),
    )


def new_content(update: WorkflowUpdate) -> Content:
    """What a workflow that is missing begins with: all that was given (AIP-134).

    Raises:
        InvalidRequest: With all that is wrong.
        PermissionDenied: If the caller may not say some of it.
    """
    _check_rights(update.caller, update_masks.said(UPDATABLE, update.given, Content()))
    return _checked(update.given)


def changed_content(update: WorkflowUpdate, workflow: Workflow) -> Content:
    """What a workflow that exists becomes.

    Raises:
        InvalidRequest: If the outcome breaks a bound, or the request means to change what
            identifies the workflow (`FIELD_IMMUTABLE`).
    """
    check_identity_stays(
        "workflow.",
        update.identity,
        (
            ("id", update.id or "", workflow.id),
            ("provider", update.family, workflow.provider),
            ("name", update.name, workflow.name),
        ),
    )
    outcome = update_masks.apply(UPDATABLE, workflow.content, update.given, update.changes)
    return _checked(outcome)


def _checked(content: Content) -> Content:
    violations = Violations()
    check_content(violations, "workflow.", content)
    violations.refuse()
    return workflows.settled(content)


def _check_rights(caller: Caller, changes: Iterable[Change]) -> None:
    check_rights(caller, changes, scope=WRITE_SCOPE, reported=REPORTED_FIELDS)
