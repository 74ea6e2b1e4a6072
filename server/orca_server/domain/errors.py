"""What can go wrong, as the rest of the server and its clients know it.

    OrcaError
    ├── InvalidRequest        the caller must correct the request
    ├── NotFound              no such resource
    ├── AlreadyExists         the name or id is taken
    ├── Conflict              it changed meanwhile; read it again and retry
    ├── NotAllowedNow         the state of the resource does not allow it
    ├── OutOfRange            what is asked for is no longer there; start over
    ├── Unauthenticated       no token, or not a valid one
    ├── PermissionDenied      the token is valid and not enough
    ├── Overloaded            no room now; the same request may be sent later
    └── Unavailable           a part that is needed does not answer

Reasons are stable: clients depend on them, never on messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong.

    Attributes:
        field: Path of the field, such as `records[3].observed_at`.
        reason: Stable reason, such as `OUT_OF_RANGE`.
        message: The same for people.
    """

    field: str
    reason: str
    message: str


class OrcaError(Exception):
    """An error with a stable reason.

    Args:
        reason: UPPER_SNAKE, stable.
        message: For people: what is wrong and what to do.
        metadata: What the message mentions, for machines.
        violations: Fields of the request that are wrong.
        retry_after_seconds: When the same request may be sent again.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(OrcaError):
    """The caller must correct the request; nothing was done."""


class NotFound(OrcaError):
    """No such resource."""


class AlreadyExists(OrcaError):
    """The name or id is taken."""


class Conflict(OrcaError):
    """The resource changed since it was read."""


class NotAllowedNow(OrcaError):
    """The state of the resource does not allow it."""


class OutOfRange(OrcaError):
    """What is asked for lies outside of what is kept; the caller starts over."""


class Unauthenticated(OrcaError):
    """No token, or not a valid one."""


class PermissionDenied(OrcaError):
    """The token is valid and not enough."""


class Overloaded(OrcaError):
    """There is no room now; nothing was done, and the same request may be sent later."""


class Unavailable(OrcaError):
    """A part that is needed does not answer; the same request may be sent later."""


def invalid_fields(violations: Sequence[FieldViolation]) -> InvalidRequest:
    """The error for a request with wrong fields; names them all."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return InvalidRequest(
        "FIELD_INVALID", f"{first.field}: {first.message}{more}", violations=violations
    )
