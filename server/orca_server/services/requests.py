"""What many requests have in common: ids, orders, page sizes, spans of time, authors."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from orca_server.domain.access import Caller
from orca_server.domain.checks import Violations, check_reason
from orca_server.domain.errors import (
    FieldViolation,
    InvalidRequest,
    PermissionDenied,
    invalid_fields,
)
from orca_server.store.audit import Author

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def author_of(caller: Caller, reason: str) -> Author:
    """Who acts, for the audit log."""
    return Author(caller.tenant_id, caller.subject, reason)


def check_unbound(caller: Caller) -> None:
    """Refuses a caller whose token is bound to agents: workflows and their events are of none.

    Raises:
        PermissionDenied: `AGENT_NOT_ALLOWED`.
    """
    if caller.agents is not None:
        raise PermissionDenied(
            "AGENT_NOT_ALLOWED",
            "This token is bound to agents; what is said of workflows needs one that is not.",
            {"subject": caller.subject},
        )


def note_id(violations: Violations, field: str, text: str) -> UUID | None:
    """The UUID that a field holds; notes if it is missing or no UUID in the usual form."""
    if not text:
        violations.add(field, "REQUIRED", "is required")
        return None
    try:
        if len(text) == 36:
            return UUID(text)
    except ValueError:
        pass  # told below, like every other text
    violations.add(field, "INVALID_FORMAT", "must be a UUID")
    return None


def note_request_id(violations: Violations, text: str) -> UUID | None:
    """The id of a request that creates something, if it has one; notes what is none."""
    if not text:
        return None
    found = note_id(violations, "request_id", text)
    if found is not None and found.version != 4:
        violations.add("request_id", "INVALID_FORMAT", "must be a UUID of version 4")
    return found


def read_id(field: str, text: str, reason: str = "") -> UUID:
    """The UUID that a field holds, and the request's reason checked.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    violations = Violations()
    found = note_id(violations, field, text)
    check_reason(violations, reason)
    violations.refuse()
    assert found is not None  # noqa: S101 - else it was refused
    return found


def read_order(order_by: str, orders: Iterable[str]) -> str:
    """The order of a list in its normal form.

    Args:
        order_by: As it was sent; empty: by id.
        orders: Those that the list has, such as `id` and `id desc`.

    Raises:
        InvalidRequest: If there is no such order (`ORDER_BY_INVALID`).
    """
    words = order_by.split() or ["id"]
    if words[1:] == ["asc"]:
        words = words[:1]
    found, known = " ".join(words), tuple(orders)
    if found in known:
        return found
    names = ", ".join(name for name in known if " " not in name)
    message = f"must be one of {names}, each with ' desc' if wanted"
    raise InvalidRequest(
        "ORDER_BY_INVALID",
        f"order_by: {message}.",
        violations=[FieldViolation("order_by", "ORDER_BY_INVALID", message)],
    )


def read_page_size(page_size: int, *, default: int, most: int) -> int:
    """The size of the page; a larger one than `most` is read as that.

    Raises:
        InvalidRequest: If it is negative.
    """
    if page_size < 0:
        raise invalid_fields([FieldViolation("page_size", "OUT_OF_RANGE", "must not be negative")])
    return min(page_size, most) or default


def read_time(field: str, stamp: Timestamp, *, given: bool, default: datetime) -> datetime:
    """The instant that a field holds, or the default where it is not given.

    Raises:
        InvalidRequest: If it is outside of 1970 to 9998.
    """
    if not given:
        return default
    try:
        at = stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        at = LATEST
    if not EARLIEST <= at < LATEST:
        message = "must lie within the years 1970 and 9998"
        raise invalid_fields([FieldViolation(field, "OUT_OF_RANGE", message)])
    return at
