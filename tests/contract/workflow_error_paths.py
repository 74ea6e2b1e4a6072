"""The rows of the table of error paths that are about workflows and their runs."""

from collections.abc import Callable, Iterator

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from orca.v1 import workflow_pb2
from orca.v1 import workflow_service_pb2 as pb
from tests.contract.error_rows import Make, Row, bound_token, spoilt
from tests.contract.stages import CREATE_ID
from tests.inventory import UNKNOWN, bearer

Workflow = workflow_pb2.Workflow


def workflow(**fields: object) -> Workflow:
    """A workflow of n8n."""
    return Workflow(**{"provider": "n8n", **fields})  # type: ignore[arg-type]


def update(of: Workflow, *paths: str, **more: bool) -> pb.UpdateWorkflowRequest:
    """An update of these paths."""
    return pb.UpdateWorkflowRequest(workflow=of, update_mask=FieldMask(paths=paths), **more)


GOOD: dict[str, Make] = {
    "CreateWorkflow": lambda f: pb.CreateWorkflowRequest(workflow=workflow(name="new")),
    "GetWorkflow": lambda f: pb.GetWorkflowRequest(id=f.workflows["active"]),
    "ListWorkflows": lambda f: pb.ListWorkflowsRequest(page_size=2),
    "UpdateWorkflow": lambda f: update(Workflow(id=f.workflows["active"], owner="me"), "owner"),
    "DeleteWorkflow": lambda f: pb.DeleteWorkflowRequest(id=f.workflows["fresh"]),
    "PauseWorkflow": lambda f: pb.PauseWorkflowRequest(id=f.workflows["paused"]),
    "ResumeWorkflow": lambda f: pb.ResumeWorkflowRequest(id=f.workflows["active"]),
    "RetireWorkflow": lambda f: pb.RetireWorkflowRequest(id=f.workflows["retired"]),
    "GetRun": lambda f: pb.GetRunRequest(workflow_id=f.workflows["reported"], run_id="run-0"),
    "ListRuns": lambda f: pb.ListRunsRequest(workflow_id=f.workflows["reported"]),
}
"""A request to each method that nothing is wrong with."""

_FIELD = "INVALID_ARGUMENT FIELD_INVALID"
_FOUND = "NOT_FOUND WORKFLOW_NOT_FOUND"
_ETAG = "ABORTED ETAG_MISMATCH"
_CHANGED = "ABORTED INVENTORY_CHANGED"
_BOUND = "PERMISSION_DENIED AGENT_NOT_ALLOWED"
_NOT_ALLOWED = "PERMISSION_DENIED FIELD_NOT_ALLOWED"
_RETIRED = "ALREADY_EXISTS WORKFLOW_RETIRED"
_VANISHING = "another replica takes the workflow away while it is made"
_ABOUT_BOUND = "a token bound to agents"


def rows() -> Iterator[Row]:
    """All of them but those that every method has."""
    yield from _creations()
    yield from _updates()
    for name in ("Get", "Delete", "Pause", "Resume", "Retire"):
        yield from _of_one(f"WorkflowService.{name}Workflow", getattr(pb, f"{name}WorkflowRequest"))
    yield Row(
        "WorkflowService.DeleteWorkflow",
        "FAILED_PRECONDITION WORKFLOW_HAS_HISTORY",
        "a workflow that reported",
        lambda f: pb.DeleteWorkflowRequest(id=f.workflows["reported"]),
    )
    yield Row(
        "WorkflowService.PauseWorkflow",
        "FAILED_PRECONDITION WORKFLOW_RETIRED",
        "a retired workflow",
        lambda f: pb.PauseWorkflowRequest(id=f.workflows["retired"]),
    )
    yield from _lists()
    yield from _runs()


def _creations() -> Iterator[Row]:
    name, make = "WorkflowService.CreateWorkflow", pb.CreateWorkflowRequest
    yield Row(name, _FIELD, "no name", lambda f: make(workflow=workflow()))
    yield Row(
        name,
        "ALREADY_EXISTS WORKFLOW_EXISTS",
        "the same again",
        lambda f: make(workflow=workflow(name="active")),
    )
    yield Row(
        name, _RETIRED, "a retired one's name", lambda f: make(workflow=workflow(name="retired"))
    )
    yield Row(
        name,
        "ALREADY_EXISTS REQUEST_ID_REUSED",
        "another workflow with a request_id that was used",
        lambda f: make(workflow=workflow(name="other"), request_id=CREATE_ID),
    )
    yield Row(
        name,
        _NOT_ALLOWED,
        "an owner, with an adapter's token",
        lambda f: make(workflow=workflow(name="owned", owner="me")),
        lambda: bearer("adapter"),
    )
    yield Row(name, _BOUND, _ABOUT_BOUND, GOOD["CreateWorkflow"], bound_token)
    yield Row(name, _CHANGED, _VANISHING, lambda f: make(workflow=workflow(name="vanishing")))


def _updates() -> Iterator[Row]:
    name, one = "WorkflowService.UpdateWorkflow", Workflow
    yield Row(name, _FIELD, "id=x", lambda f: update(one(id="x"), "owner"))
    yield Row(name, _FOUND, "unknown id", lambda f: update(one(id=UNKNOWN), "owner"))
    yield Row(
        name,
        _ETAG,
        "etag=old",
        lambda f: update(one(id=f.workflows["active"], etag="old"), "owner"),
    )
    yield Row(
        name,
        _RETIRED,
        "a retired workflow",
        lambda f: update(one(id=f.workflows["retired"]), "owner"),
    )
    yield Row(
        name,
        "INVALID_ARGUMENT FIELD_IMMUTABLE",
        "another name",
        lambda f: update(one(id=f.workflows["active"], name="other"), "name"),
    )
    yield Row(
        name,
        _NOT_ALLOWED,
        "an owner, with an adapter's token",
        lambda f: update(one(id=f.workflows["active"], owner="me"), "owner"),
        lambda: bearer("adapter"),
    )
    yield Row(name, _BOUND, _ABOUT_BOUND, GOOD["UpdateWorkflow"], bound_token)
    yield Row(
        name, _CHANGED, _VANISHING, lambda f: update(workflow(name="vanishing"), allow_missing=True)
    )


def _of_one(name: str, kind: Callable[..., Message]) -> Iterator[Row]:
    """What all methods on one workflow, by id, have in common."""
    yield Row(name, _FIELD, "id=x", lambda f: kind(id="x"))
    yield Row(name, _FOUND, "an id that no workflow has", lambda f: kind(id=UNKNOWN))
    if name != "WorkflowService.GetWorkflow":
        yield Row(name, _ETAG, "etag=old", lambda f: kind(id=f.workflows["fresh"], etag="old"))


def _lists() -> Iterator[Row]:
    for name, other in (
        ("ListWorkflows", {"filter": "provider = n8n"}),
        ("ListRuns", {"order_by": "started_at"}),
    ):
        for key, how, request in (
            (_FIELD, "page_size=-1", spoilt(name, page_size=-1)),
            (
                "INVALID_ARGUMENT ORDER_BY_INVALID",
                "order_by=x",
                spoilt(name, order_by="x", page_token=""),
            ),
            ("INVALID_ARGUMENT PAGE_TOKEN_INVALID", "page_token=x", spoilt(name, page_token="x")),
            (
                "INVALID_ARGUMENT PAGE_TOKEN_MISMATCH",
                "a token of another list",
                spoilt(name, **other),
            ),
        ):
            yield Row(f"WorkflowService.{name}", key, how, request)
    yield Row(
        "WorkflowService.ListWorkflows",
        "INVALID_ARGUMENT FILTER_INVALID",
        "filter=x",
        spoilt("ListWorkflows", filter="x", page_token=""),
    )
    yield Row(
        "WorkflowService.ListRuns",
        _FOUND,
        "unknown id",
        spoilt("ListRuns", workflow_id=UNKNOWN, page_token=""),
    )


def _runs() -> Iterator[Row]:
    name, make = "WorkflowService.GetRun", pb.GetRunRequest
    yield Row(name, _FIELD, "id=x", lambda f: make(workflow_id="x", run_id="run-0"))
    yield Row(name, _FOUND, "unknown id", lambda f: make(workflow_id=UNKNOWN, run_id="run-0"))
    yield Row(
        name,
        "NOT_FOUND RUN_NOT_FOUND",
        "a run that was never told of",
        lambda f: make(workflow_id=f.workflows["reported"], run_id="never"),
    )
