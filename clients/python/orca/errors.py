"""What a call can fail with: one tree of exceptions, each with a stable reason.

    OrcaError
    ├── InvalidRequest        the request must be corrected; `violations` names the fields
    ├── NotFound              no such resource
    ├── AlreadyExists         the name or id is taken
    ├── Conflict              it changed meanwhile, or its state does not allow this now
    │   ├── Changed           read it again and retry
    │   └── NotAllowedNow     change its state first
    ├── AccessError
    │   ├── Unauthenticated   no token, or not a valid one
    │   └── PermissionDenied  the token is valid and not enough
    ├── Temporary             the same request may be sent later
    │   ├── Overloaded        there is no room now
    │   ├── Unavailable       the server, or a part that it needs, does not answer
    │   └── DeadlineExceeded  no answer in time; whether it was done is unknown
    ├── Cancelled             the call was cancelled
    ├── OutOfRange            what was asked for is not there any more
    ├── ServerError           the server failed in a way it did not foresee
    └── ConfigurationError    the client cannot be used like this; nothing was sent

Depend on the type and on `reason`, never on messages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

# What grpc itself says, in words that help.
_PLAIN_WORDS = {"Deadline Exceeded": "There was no answer in time."}
_STATUS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong.

    Attributes:
        field: Path of the field, such as `records[3].observed_at`.
        reason: Stable reason, such as `OUT_OF_RANGE`.
        description: The same for people.
    """

    field: str
    reason: str
    description: str


class OrcaError(Exception):
    """A call that failed, or could not be made.

    Attributes:
        message: For people: what is wrong and, where known, what to do.
        reason: Stable, UPPER_SNAKE; empty if the server gave none.
        metadata: What the message mentions, for machines.
        violations: Fields of the request that are wrong.
        retry_after_seconds: When the same request may be sent again; None if not said.
        request_id: Finds the call in the server's log; empty if none was sent.
        code: Status of the call; None if nothing was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
        request_id: str = "",
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]" if self.reason else self.message


class InvalidRequest(OrcaError):
    """The request must be corrected; nothing was done."""


class NotFound(OrcaError):
    """No such resource."""


class AlreadyExists(OrcaError):
    """The name or id is taken."""


class Conflict(OrcaError):
    """It changed meanwhile, or its state does not allow this now."""


class Changed(Conflict):
    """The resource changed since it was read: read it again and retry."""


class NotAllowedNow(Conflict):
    """The state of the resource does not allow it."""


class AccessError(OrcaError):
    """The caller may not do this."""


class Unauthenticated(AccessError):
    """No token, or not a valid one."""


class PermissionDenied(AccessError):
    """The token is valid and not enough."""


class Temporary(OrcaError):
    """The same request may be sent later, after `retry_after_seconds` where it is set."""


class Overloaded(Temporary):
    """There is no room now; nothing was done."""


class Unavailable(Temporary):
    """The server, or a part that it needs, does not answer."""


class DeadlineExceeded(Temporary):
    """No answer in time; whether it was done is unknown."""


class Cancelled(OrcaError):
    """The call was cancelled."""


class OutOfRange(OrcaError):
    """What was asked for is not there any more."""


class ServerError(OrcaError):
    """The server failed in a way it did not foresee, or does not know the call."""


class ConfigurationError(OrcaError):
    """The client cannot be used like this; nothing was sent."""


ERRORS: dict[grpc.StatusCode, type[OrcaError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: Changed,
    grpc.StatusCode.FAILED_PRECONDITION: NotAllowedNow,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.UNIMPLEMENTED: ServerError,
    grpc.StatusCode.DATA_LOSS: ServerError,
}
"""The exception for each status; a test holds it complete."""


def from_rpc_error(error: grpc.aio.AioRpcError, request_id: str = "") -> OrcaError:
    """The typed exception for a failed call.

    Args:
        error: What grpc raised.
        request_id: The id that the client sent with the call.
    """
    code = error.code()
    trailers = _entries(error.trailing_metadata())
    info, violations, retry_after = _details(trailers)
    return ERRORS[code](
        _PLAIN_WORDS.get(error.details() or "", error.details() or code.name),
        reason=info.reason,
        metadata=info.metadata,
        violations=violations,
        retry_after_seconds=retry_after,
        request_id=str(trailers.get(REQUEST_ID_KEY, "") or request_id),
        code=code,
    )


def _entries(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str | bytes]:
    return {key.lower(): value for key, value in metadata or ()}


def _details(
    trailers: Mapping[str, str | bytes],
) -> tuple[error_details_pb2.ErrorInfo, list[FieldViolation], float | None]:
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after = None
    for detail in _status(trailers).details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(request.DESCRIPTOR):
            detail.Unpack(request)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    violations = [
        FieldViolation(each.field, each.reason, each.description)
        for each in request.field_violations
    ]
    return info, violations, retry_after


def _status(trailers: Mapping[str, str | bytes]) -> status_pb2.Status:
    raw = trailers.get(_STATUS_KEY, b"")
    try:
        return status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode())
    except DecodeError:  # a proxy's own idea of details: the bare status still holds
        return status_pb2.Status()
