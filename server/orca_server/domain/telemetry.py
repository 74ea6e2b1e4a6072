"""Telemetry records: their bounds, their keys, and their form as a row.

A record's key is 16 bytes in the shape of UUIDv7: 48 bits milliseconds of `observed_at`,
then bits of SHA-256 over its agent and its id or content. So a record that is sent again
finds itself, and a range of time is a range of keys.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

MAX_COUNT = 1_000_000_000
MAX_LATENCY_MS = 86_400_000.0
MAX_COST_USD = 1_000_000.0
MAX_ID_LENGTH = 200
MAX_RULE_LENGTH = 200
MAX_ATTRIBUTES_BYTES = 8192
MAX_RECORDS = 1_000
FUTURE_TOLERANCE_US = 300_000_000
DAY_US = 86_400_000_000
_DIGEST = struct.Struct(">HQ")  # its first ten bytes
_KEY = struct.Struct(">QQ")

# (agent_id, key, observed_us, operations, errors, violations, attempts, blocked_violations,
#  latency_us, latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, rule):
# the columns of `store_telemetry` after the tenant, in its order.
Row = tuple[
    UUID,
    UUID,
    int,
    int,
    int,
    int,
    int | None,
    int | None,
    int | None,
    int | None,
    int | None,
    int | None,
    int | None,
    str | None,
    str | None,
]


def violates(row: Row) -> bool:
    """Whether a record tells of violations, blocked ones included."""
    return row[5] > 0 or bool(row[7])


RowT = TypeVar("RowT", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one record or event is not stored.

    Attributes:
        index: Its position in the request, from 0.
        field: What is wrong.
        reason: Stable reason.
        message: The same for people.
    """

    index: int
    field: str
    reason: str
    message: str


@dataclass(slots=True)
class Columns(Generic[RowT]):
    """The records or events of one request that may be stored.

    Attributes:
        rows: One per record.
        indexes: Position of each row's record in the request.
        size_bytes: About what they take in memory.
        refusals: Records that may not be stored.
    """

    rows: Sequence[RowT] = ()
    indexes: Sequence[int] = ()
    size_bytes: int = 0
    refusals: list[Refusal] = field(default_factory=list)


def record_key(observed_us: int, agent_id: bytes, identity: bytes) -> bytes:
    """The key of a record.

    Args:
        observed_us: `observed_at` in microseconds since 1970.
        agent_id: The agent's 16 bytes.
        identity: `client_identity` or `content_identity`.

    Source: the layout of RFC 9562, section 5.7, with hash bits for the random ones.
    """
    high, low = _DIGEST.unpack_from(hashlib.sha256(agent_id + identity).digest())
    return _KEY.pack(
        observed_us // 1000 << 16 | 0x7 << 12 | high & 0xFFF,  # time, version, 12 bits
        0x2 << 62 | low & 0x3FFFFFFFFFFFFFFF,  # variant, 62 bits
    )


def first_key(observed_us: int) -> UUID:
    """The smallest key of a millisecond; the bound of a range of time.

    A key holds whole milliseconds, so a bound within one is read as its start.
    """
    return UUID(int=(observed_us // 1000) << 80)


def client_identity(record_id: str) -> bytes:
    """Identity of a record that carries the sender's id."""
    return b"i" + record_id.encode()


def client_identities(record_ids: Sequence[str]) -> list[bytes]:
    """`client_identity` of each."""
    return [b"i" + record_id.encode() for record_id in record_ids]


def content_identity(values: tuple[object, ...]) -> bytes:
    """Identity of a record without an id: everything in it."""
    return b"c" + repr(values).encode()
