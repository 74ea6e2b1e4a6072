"""What a row of the table of error paths is, and what rows have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from tests.contract.stages import Fleet
from tests.inventory import bearer

Metadata = tuple[tuple[str, str], ...]
Make = Callable[[Fleet], Message]
OTHER = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Row:
    """One way into one error.

    Attributes:
        how: What the caller or the world does, for people.
        request: What is sent.
        metadata: With it.
        stage: The condition of the server.
        registry: What the registry file holds; None: it is not there.
        raw: Bytes in place of the request.
    """

    method: str
    key: str
    how: str
    request: Make
    metadata: Callable[[], Metadata] = tuple
    stage: str = "open"
    registry: str | None = ""
    raw: bytes | None = None


def bound_token() -> Metadata:
    """Of an adapter that reports for another agent."""
    return bearer("adapter", agents=[OTHER])


def spoilt(name: str, **fields: object) -> Make:
    """The request for a second page of a list, with some fields changed."""

    def make(fleet: Fleet) -> Message:
        request = type(fleet.pages[name])()
        request.CopyFrom(fleet.pages[name])
        for field, value in fields.items():
            setattr(request, field, value)
        return request

    return make
