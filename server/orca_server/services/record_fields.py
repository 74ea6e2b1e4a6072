"""Fields that telemetry records and events share: ids, instants, attributes."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from uuid import UUID

from asyncpg.pgproto import pgproto
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from orca_server.domain.telemetry import MAX_ATTRIBUTES_BYTES, Refusal

Named = Mapping[tuple[str, str], UUID]
"""Id by type (or provider) and name."""
_ATTRIBUTES_DEPTH = 10


class WrongField(Exception):
    """A record that may not be stored: field, reason and message."""


def parse_id(text: str) -> UUID | None:
    """The UUID that a text spells in the usual form, else None."""
    return _parse_id(text) if len(text) == 36 else None


def kept_indexes(records: int, refusals: Sequence[Refusal]) -> list[int]:
    """The positions in a request of the records that are not refused."""
    refused = {refusal.index for refusal in refusals}
    return [index for index in range(records) if index not in refused]


def id_bytes(text: str) -> bytes | None:
    """The 16 bytes of the UUID that a text spells in the usual form, else None."""
    return _id_bytes(text) if len(text) == 36 else None


# Only texts of that length are asked for and kept: others may have megabytes.
@lru_cache(maxsize=65536)
def _parse_id(text: str) -> UUID | None:
    try:
        found: UUID = pgproto.UUID(UUID(text).bytes)
        return found
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def _id_bytes(text: str) -> bytes | None:
    found = _parse_id(text)
    return None if found is None else found.bytes


def read_instant_us(
    at: Timestamp, record: Message, field: str, oldest_us: int, newest_us: int
) -> int:
    """Microseconds since 1970 of a field of a record that must be given and lie within bounds.

    Raises:
        WrongField: If it does not.
    """
    instant_us = at.seconds * 1_000_000 + at.nanos // 1000
    if oldest_us <= instant_us <= newest_us and 0 <= at.nanos < 1_000_000_000:
        return instant_us
    raise wrong_instant(record, field)


def wrong_instant(record: Message, field: str) -> WrongField:
    """Why an instant is refused: it is absent or outside of its bounds."""
    if not record.HasField(field):
        return WrongField(field, "REQUIRED", "must be given; the server never fills it in")
    return WrongField(
        field,
        "OUT_OF_RANGE",
        "must lie within the retention and at most 5 minutes ahead of the server's clock",
    )


def read_attributes(struct: Struct) -> str | None:
    """Attributes as canonical JSON; None for an empty object.

    Raises:
        WrongField: If they are too large or too deep, or hold a number that is not finite.
    """
    if not struct.fields:
        return None
    if struct.ByteSize() > 4 * MAX_ATTRIBUTES_BYTES:
        raise _too_large()
    try:
        text = json.dumps(
            _plain_struct(struct, 1), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    except ValueError as error:
        raise WrongField("attributes", "INVALID_FORMAT", "numbers must be finite") from error
    if len(text) > MAX_ATTRIBUTES_BYTES:
        raise _too_large()
    return text


def _too_large() -> WrongField:
    return WrongField("attributes", "TOO_LONG", "at most 8 KiB as JSON")


def _plain_struct(struct: Struct, depth: int) -> dict[str, object]:
    if depth > _ATTRIBUTES_DEPTH:
        raise WrongField("attributes", "TOO_DEEP", f"at most {_ATTRIBUTES_DEPTH} levels")
    return {key: _plain(value, depth) for key, value in struct.fields.items()}


def _plain(value: Value, depth: int) -> object:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain_struct(value.struct_value, depth + 1)
        case "list_value":
            if depth > _ATTRIBUTES_DEPTH:
                raise WrongField("attributes", "TOO_DEEP", f"at most {_ATTRIBUTES_DEPTH} levels")
            return [_plain(item, depth + 1) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            whole = math.isfinite(number) and number == int(number) and abs(number) < 2**53
            return int(number) if whole else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
