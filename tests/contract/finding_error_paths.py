"""How each error of the methods about violations, drift and observations is provoked."""

from collections.abc import Iterator

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from orca.v1 import drift_pb2
from orca.v1 import trust_service_pb2 as pb
from tests.contract.error_rows import Make, Row, bound_token, spoilt
from tests.contract.stages import Fleet
from tests.inventory import UNKNOWN

_FIELD = "INVALID_ARGUMENT FIELD_INVALID"


def _observe(agent: str) -> Make:
    def make(fleet: Fleet) -> Message:
        at = Timestamp()
        at.GetCurrentTime()
        seen = drift_pb2.AgentObservation(observed_at=at, version="1")
        agent_id = fleet.ids.get(agent, agent)
        return drift_pb2.ObserveAgentRequest(id=agent_id, observation=seen)

    return make


GOOD: dict[str, Make] = {
    "ObserveAgent": _observe("active"),
    "ListViolations": lambda f: pb.ListViolationsRequest(),
    "ResolveViolation": lambda f: pb.ResolveViolationRequest(
        id=f.findings["violation"], reason="mended"
    ),
    "ListDrift": lambda f: pb.ListDriftRequest(),
    "AcceptDrift": lambda f: pb.AcceptDriftRequest(id=f.findings["drift"]),
}
"""A request to each method that nothing is wrong with."""


def rows() -> Iterator[Row]:
    """All of them."""
    yield from _observations()
    yield from _lists()
    yield from _endings()


def _observations() -> Iterator[Row]:
    method = "AgentService.ObserveAgent"
    yield Row(method, _FIELD, "nothing seen", lambda f: drift_pb2.ObserveAgentRequest(id=UNKNOWN))
    yield Row(method, "NOT_FOUND AGENT_NOT_FOUND", "unknown id", _observe(UNKNOWN))
    yield Row(method, "ALREADY_EXISTS AGENT_RETIRED", "a retired agent", _observe("retired"))
    bound = "a token bound to another agent"
    key = "PERMISSION_DENIED AGENT_NOT_ALLOWED"
    yield Row(method, key, bound, _observe("active"), bound_token)


def _lists() -> Iterator[Row]:
    for name in ("ListViolations", "ListDrift"):
        for key, how, request in (
            (_FIELD, "page_size=-1", spoilt(name, page_size=-1)),
            (
                "INVALID_ARGUMENT FILTER_INVALID",
                "filter=x",
                spoilt(name, filter="x", page_token=""),
            ),
            (
                "INVALID_ARGUMENT ORDER_BY_INVALID",
                "order_by=x",
                spoilt(name, order_by="x", page_token=""),
            ),
            ("INVALID_ARGUMENT PAGE_TOKEN_INVALID", "page_token=x", spoilt(name, page_token="x")),
            (
                "INVALID_ARGUMENT PAGE_TOKEN_MISMATCH",
                "a token of another order",
                spoilt(name, order_by="id desc"),
            ),
        ):
            yield Row(f"TrustService.{name}", key, how, request)


def _endings() -> Iterator[Row]:
    name, resolve = "TrustService.ResolveViolation", pb.ResolveViolationRequest
    yield Row(name, _FIELD, "no reason", lambda f: resolve(id=f.findings["violation"]))
    yield Row(
        name,
        "NOT_FOUND VIOLATION_NOT_FOUND",
        "unknown id",
        lambda f: resolve(id=UNKNOWN, reason="x"),
    )
    yield Row(
        name,
        "FAILED_PRECONDITION VIOLATION_RESOLVED",
        "one that is resolved",
        lambda f: resolve(id=f.findings["resolved violation"], reason="again"),
    )
    name, accept = "TrustService.AcceptDrift", pb.AcceptDriftRequest
    yield Row(name, _FIELD, "id=x", lambda f: accept(id="x"))
    yield Row(name, "NOT_FOUND DRIFT_NOT_FOUND", "unknown id", lambda f: accept(id=UNKNOWN))
    for key, how, drift in (
        ("FAILED_PRECONDITION DRIFT_RESOLVED", "one that is gone", "resolved drift"),
        ("FAILED_PRECONDITION AGENT_OWNED_BY_FILE", "a command of the registry file", "of file"),
        ("ALREADY_EXISTS AGENT_RETIRED", "a retired agent", "of retired"),
    ):
        yield Row(name, key, how, lambda f, drift=drift: accept(id=f.findings[drift]))  # type: ignore[misc]
    yield Row(
        name,
        "ABORTED ETAG_MISMATCH",
        "etag=old",
        lambda f: accept(id=f.findings["drift"], etag="old"),
    )
