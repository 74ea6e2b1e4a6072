"""The rows of the table of error paths that are about events."""

from collections.abc import Iterator

from orca.v1 import workflow_service_pb2 as pb
from tests.contract.error_rows import Make, Row, bound_token, spoilt
from tests.contract.stages import events
from tests.inventory import UNKNOWN

GOOD: dict[str, Make] = {
    "RecordEvents": lambda f: pb.RecordEventsRequest(events=events(f.workflows["reported"], 1)),
    "StreamEvents": lambda f: pb.StreamEventsRequest(events=events(f.workflows["reported"], 1)),
    "ListEvents": lambda f: pb.ListEventsRequest(workflow_id=f.workflows["reported"]),
}
"""A request to each method that nothing is wrong with."""

_FIELD = "INVALID_ARGUMENT FIELD_INVALID"
_BOUND = "PERMISSION_DENIED AGENT_NOT_ALLOWED"


def rows() -> Iterator[Row]:
    """All of them but those that every method has."""
    method, make = "WorkflowService.RecordEvents", pb.RecordEventsRequest
    yield Row(method, _FIELD, "no events", lambda f: make())
    yield Row(
        method,
        "INVALID_ARGUMENT EVENTS_INVALID",
        "an event of an unknown workflow",
        lambda f: make(events=events(UNKNOWN, 1)),
    )
    yield Row(
        method,
        "RESOURCE_EXHAUSTED INGEST_QUEUE_FULL",
        "the queue is full of events that the database does not take",
        GOOD["RecordEvents"],
        stage="full",
    )
    for name in ("RecordEvents", "StreamEvents"):
        about = "a token bound to agents"
        yield Row(f"WorkflowService.{name}", _BOUND, about, GOOD[name], bound_token)
    yield Row(
        "WorkflowService.StreamEvents",
        "UNAVAILABLE SERVER_DRAINING",
        "the server stops",
        GOOD["StreamEvents"],
        stage="draining",
    )
    yield from _pages()


def _pages() -> Iterator[Row]:
    method, name = "WorkflowService.ListEvents", "ListEvents"
    for key, how, request in (
        (_FIELD, "page_size=-1", spoilt(name, page_size=-1)),
        ("INVALID_ARGUMENT ORDER_BY_INVALID", "order_by=x", spoilt(name, order_by="x")),
        ("INVALID_ARGUMENT PAGE_TOKEN_INVALID", "page_token=x", spoilt(name, page_token="x")),
        (
            "INVALID_ARGUMENT PAGE_TOKEN_MISMATCH",
            "a token of another order",
            spoilt(name, order_by="occurred_at desc"),
        ),
        (
            "NOT_FOUND WORKFLOW_NOT_FOUND",
            "unknown id",
            spoilt(name, workflow_id=UNKNOWN, page_token=""),
        ),
    ):
        yield Row(method, key, how, request)
