"""The log of changes: one order for all readers, and tokens to go on from."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orca_server.domain.errors import OutOfRange

_TOKEN = re.compile(r"([0-9a-f]{32})-(\d{1,18})")


class Kind(StrEnum):
    """What became of an entity."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change.

    Attributes:
        position: Grows by one over all tenants, without gaps.
        tenant_id: Whose entity.
        entity_type: Such as `agent`.
        entity_id: Which one changed; what it is now, the reader reads.
        kind: What became of it.
        created_at: When the transaction that changed it began.
    """

    position: int
    tenant_id: UUID
    entity_type: str
    entity_id: UUID
    kind: Kind
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the log: everything up to the position has been seen.

    Attributes:
        epoch: Positions of another epoch are those of another log.
        position: Of the last change that was seen; 0: none.
    """

    epoch: str
    position: int

    def __str__(self) -> str:
        """The token to resume from."""
        return f"{self.epoch}-{self.position}"


def epoch_of(system: str, timeline: str, relation: int, stored: UUID) -> str:
    """The epoch of a log, 32 hexadecimal digits.

    Args:
        system: The database cluster's identifier.
        timeline: Of its WAL: another one after a failover, which may have lost what was told.
        relation: The table's oid: another one where a dump was restored.
        stored: Kept in the database: replaced by a restore that keeps the other three.
    """
    parts = f"{system}|{timeline}|{relation}|{stored}"
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def read_token(token: str) -> Place:
    """The place that a token stands for.

    Raises:
        OutOfRange: If it is none (`RESYNC_REQUIRED`).
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise resync_required("the token is not from this server")
    return Place(match[1], int(match[2]))


def resync_required(cause: str) -> OutOfRange:
    """The error for a place that cannot be gone on from."""
    return OutOfRange(
        "RESYNC_REQUIRED",
        f"Changes cannot be told from there on: {cause}. List everything again, then watch.",
        {"cause": cause},
    )
