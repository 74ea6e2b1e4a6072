"""Domain error -> google.rpc.Status, the only form in which errors leave the server.

gRPC carries the details in a trailer, and clients refuse large ones (8 KiB unless they were told
otherwise). A request with many faults is therefore answered with equal faults joined
(`records[0,4,7-9].operations`), so that each index is still named.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from google.rpc import code_pb2, error_details_pb2, status_pb2

from orca_server.domain import errors
from orca_server.domain.errors import FieldViolation

DOMAIN = "orca"
LARGEST_STATUS = 7_500
"""Bytes of a status in the trailer that every client takes, with room for other metadata."""
LONGEST_FIELD = 4_000
LONGEST_MESSAGE = 400
"""Characters; the message travels twice, once with each byte outside of ASCII as three."""

CODES: dict[type[errors.OrcaError], int] = {
    errors.InvalidRequest: code_pb2.INVALID_ARGUMENT,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.AlreadyExists: code_pb2.ALREADY_EXISTS,
    errors.Conflict: code_pb2.ABORTED,
    errors.NotAllowedNow: code_pb2.FAILED_PRECONDITION,
    errors.OutOfRange: code_pb2.OUT_OF_RANGE,
    errors.Unauthenticated: code_pb2.UNAUTHENTICATED,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
    errors.Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    errors.Unavailable: code_pb2.UNAVAILABLE,
}

_INDEX = re.compile(r"\[(\d+)\]")


def to_status(error: errors.OrcaError) -> status_pb2.Status:
    """The status for a domain error, with its details (AIP-193), small enough for a trailer."""
    status = _status(error, error.violations)
    if _size(status) <= LARGEST_STATUS:
        return status
    joined = list(_joined(error.violations))
    while True:
        status = _status(error, joined, shown=len(joined))
        if _size(status) <= LARGEST_STATUS or not joined:
            return status
        del joined[len(joined) * 3 // 4 :]


def _size(status: status_pb2.Status) -> int:
    encoded: int = 4 * -(-status.ByteSize() // 3)  # a gateway passes the details on as base64
    return encoded + 3 * len(status.message.encode())


def internal_error(request_id: str) -> status_pb2.Status:
    """The answer to what nobody foresaw: a fixed text; the log has the rest."""
    return _plain(
        code_pb2.INTERNAL,
        "INTERNAL",
        "The server failed unexpectedly; its log has the cause under this request id.",
        {"request_id": request_id},
    )


def deadline_error(seconds: float) -> status_pb2.Status:
    """The answer to a call without a deadline that took longer than any call may."""
    return _plain(
        code_pb2.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        f"The call was ended after {seconds:g} s; whether it took effect is unknown.",
        {"seconds": f"{seconds:g}"},
    )


def _plain(code: int, reason: str, message: str, metadata: dict[str, str]) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    return status


def _status(
    error: errors.OrcaError, violations: Sequence[FieldViolation], shown: int | None = None
) -> status_pb2.Status:
    metadata = {key: value[:LONGEST_MESSAGE] for key, value in error.metadata.items()}
    if shown is not None:
        metadata |= {"violations": str(len(error.violations)), "violations_shown": str(shown)}
    status = _plain(CODES[type(error)], error.reason, error.message[:LONGEST_MESSAGE], metadata)
    if violations:
        status.details.add().Pack(_bad_request(violations))
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        status.details.add().Pack(retry)
    if isinstance(error, errors.NotFound) and error.metadata:
        key, value = next(iter(error.metadata.items()))
        kind = key.removesuffix("_id")
        resource = error_details_pb2.ResourceInfo(
            resource_type=kind,
            resource_name=value[:LONGEST_MESSAGE],
            description=error.message[:LONGEST_MESSAGE],
        )
        status.details.add().Pack(resource)
    return status


def _bad_request(violations: Iterable[FieldViolation]) -> error_details_pb2.BadRequest:
    fields = (
        error_details_pb2.BadRequest.FieldViolation(
            field=each.field[:LONGEST_FIELD],
            reason=each.reason,
            description=each.message[:LONGEST_MESSAGE],
        )
        for each in violations
    )
    return error_details_pb2.BadRequest(field_violations=fields)


def _joined(violations: Iterable[FieldViolation]) -> Iterator[FieldViolation]:
    """Violations that differ in their index alone, as one each; the first one's message speaks."""
    groups: dict[tuple[str, str], tuple[str, list[int]]] = {}
    for each in violations:
        match = _INDEX.search(each.field)
        path = _INDEX.sub("[]", each.field, count=1)
        _, indexes = groups.setdefault((path, each.reason), (each.message, []))
        indexes.extend([int(match[1])] if match else [])
    for (path, reason), (message, indexes) in groups.items():
        field = path.replace("[]", f"[{_ranges(indexes)}]", 1)
        yield FieldViolation(field, reason, message)


def _ranges(indexes: Iterable[int]) -> str:
    """Numbers as `0,4,7-9`."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)
