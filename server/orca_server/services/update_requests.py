"""What requests that create or update a resource have in common, and what each of them asks for.

Agents and workflows have an id, and a name within a family: the type of an agent, the provider of a
workflow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from orca_server.domain import update_masks
from orca_server.domain.access import Caller
from orca_server.domain.errors import (
    AlreadyExists,
    Conflict,
    FieldViolation,
    PermissionDenied,
)
from orca_server.domain.update_masks import Change, Updatable
from orca_server.store.audit import Author

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class New(Generic[Content]):
    """What a request to create a resource asks for."""

    family: str
    name: str
    content: Content
    request_id: UUID | None
    author: Author


@dataclass(frozen=True, slots=True)
class Update(Generic[Content]):
    """What a request to update a resource asks for: by id, or by family and name.

    Attributes:
        given: All that the request says, of which `changes` count for a resource that exists.
        identity: Fields that the mask names and that nobody can change.
    """

    id: UUID | None
    family: str
    name: str
    given: Content
    changes: Sequence[Change]
    identity: Sequence[str]
    etag: str
    allow_missing: bool
    caller: Caller
    author: Author

    @property
    def who(self) -> str:
        """Family and name together."""
        return f"{self.family}/{self.name}"


class StateRequest(Protocol):
    """What the requests that change a resource's state have in common."""

    id: str
    etag: str
    reason: str


def request_id_reused(noun: str, family: str, name: str, about: dict[str, str]) -> AlreadyExists:
    """The error for a request id that created another resource, which `about` names."""
    return AlreadyExists(
        "REQUEST_ID_REUSED",
        f"request_id was used to create {noun} '{family}/{name}'; take a new one.",
        about,
    )


def check_no_etag(noun: str, update: Update[Content]) -> None:
    """Refuses an etag for a resource that is not there: there was another one.

    Raises:
        Conflict: `ETAG_MISMATCH`.
    """
    if update.etag:
        raise Conflict(
            "ETAG_MISMATCH",
            f"There is no {noun} '{update.who}', though an etag was given;"
            " leave it off to create one.",
            {noun: update.who},
        )


def output_only(resource: Message, fields: Updatable) -> frozenset[str]:
    """The fields of a resource that only the server writes."""
    written = {*fields.mutable, *fields.identity, "etag"}
    return frozenset(
        field.name for field in resource.DESCRIPTOR.fields if field.name not in written
    )


def changes_of(
    resource: Message, mask: FieldMask, fields: Updatable
) -> tuple[Sequence[Change], Sequence[str]]:
    """What is to change, without a mask what is populated; and the identity fields of the mask.

    Raises:
        InvalidRequest: As `update_masks.read_mask` does.
    """
    if mask.paths:
        return update_masks.read_mask(fields, mask.paths, output_only(resource, fields))
    populated = [field.name for field, _ in resource.ListFields()]
    return [Change(name) for name in populated if name in fields.mutable], ()


def check_rights(
    caller: Caller, changes: Iterable[Change], *, scope: str, reported: frozenset[str]
) -> None:
    """Lets callers without the scope of operators say only what a tool or agent says itself.

    Raises:
        PermissionDenied: If they would say more (`FIELD_NOT_ALLOWED`).
    """
    if caller.may(scope):
        return
    refused = sorted({change.field for change in changes} - reported)
    if refused:
        raise PermissionDenied(
            "FIELD_NOT_ALLOWED",
            f"Role '{caller.role}' may not change '{refused[0]}'; an operator may.",
            {"fields": ",".join(refused), "role": caller.role, "scope": scope},
        )


def check_identity_stays(
    prefix: str, named: Sequence[str], fields: Iterable[tuple[str, object, object]]
) -> None:
    """Refuses a request that means to change what identifies the resource.

    Args:
        prefix: Of the resource's fields in the request, such as `agent.`.
        named: Identity fields that the mask names.
        fields: Name of each identity field, what the request says, and what it is.

    Raises:
        InvalidRequest: If one would change (`FIELD_IMMUTABLE`).
    """
    for name, given, current in fields:
        if given != current and (given or name in named):
            message = f"is '{current}' and cannot be changed"
            raise update_masks.immutable([FieldViolation(prefix + name, "IMMUTABLE", message)])
