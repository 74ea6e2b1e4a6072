"""What many requests have in common: ids, page sizes, spans of time."""

from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from orca_server.domain.errors import FieldViolation, invalid_fields

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def read_id(field: str, text: str) -> UUID:
    """The UUID that a field holds.

    Raises:
        InvalidRequest: If it is missing or no UUID in the usual form.
    """
    if not text:
        raise invalid_fields([FieldViolation(field, "REQUIRED", "must be given")])
    try:
        if len(text) == 36:
            return UUID(text)
    except ValueError:
        pass
    raise invalid_fields([FieldViolation(field, "INVALID_FORMAT", "must be a UUID")])


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
