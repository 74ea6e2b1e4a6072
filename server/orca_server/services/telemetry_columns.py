"""Large requests of telemetry: from proto to columns.

For requests in which every record may be stored and nothing is out of the ordinary; where
anything would have to be explained there is no block, and `telemetry_records` looks at record
after record. A property test holds the two to each other.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter, methodcaller
from typing import Any

import numpy as np
from asyncpg.pgproto import pgproto

from orca.v1 import telemetry_pb2 as pb
from orca_server.domain import telemetry as domain
from orca_server.domain.telemetry import MAX_COUNT
from orca_server.domain.telemetry_block import COUNTS, Block, Column, record_keys

LEAST_RECORDS = 50
"""With fewer, looking at each record is as quick."""
_SCALES = {
    "latency_ms": (domain.MAX_LATENCY_MS, 1_000),
    "latency_max_ms": (domain.MAX_LATENCY_MS, 1_000),
    "cost_usd": (domain.MAX_COST_USD, 1_000_000_000),
}

Records = Sequence[pb.TelemetryRecord]
AgentsOf = Callable[[Records], Sequence[bytes | None]]


class _DoubtError(Exception):
    """Something that must be looked at record by record."""


def read_block(
    records: Records, agents_of: AgentsOf, oldest_us: int, newest_us: int
) -> Block | None:
    """The records as a block, or None.

    Args:
        records: As they came, at least one.
        agents_of: Gives the 16 bytes of each record's agent, None where that must be looked at.
        oldest_us: Smallest `observed_at`, microseconds since 1970; above 0.
        newest_us: Largest.
    """
    try:
        return _block(records, agents_of, oldest_us, newest_us)
    except _DoubtError:
        return None


def _block(records: Records, agents_of: AgentsOf, oldest_us: int, newest_us: int) -> Block:
    agents = [agent for agent in agents_of(records) if agent is not None]
    if len(agents) < len(records) or any(map(methodcaller("HasField", "attributes"), records)):
        raise _DoubtError
    if any(map(attrgetter("rule"), records)):
        raise _DoubtError
    at = _times(records, oldest_us, newest_us)
    counts = _counts(records)
    optional = _optional(records, counts[0])
    digests = _digests(records, agents, (at, *counts, *optional))
    return Block(
        agents=np.frombuffer(b"".join(agents), ">u8").reshape(-1, 2),
        keys=record_keys(at, digests),
        observed_us=at,
        counts=counts,
        optional=optional,
        uuid_of=pgproto.UUID,
    )


def _times(records: Records, oldest_us: int, newest_us: int) -> Column:
    """`observed_at` in microseconds; where it is absent it reads as 0."""
    times = [record.observed_at for record in records]
    seconds = np.array([time.seconds for time in times], np.int64)
    nanos = np.array([time.nanos for time in times], np.int64)
    _require(nanos.min() >= 0 and nanos.max() < 1_000_000_000)
    _require(seconds.min() >= 0 and seconds.max() <= newest_us // 1_000_000)
    at: Column = seconds * 1_000_000 + nanos // 1_000
    _require(at.min() >= oldest_us and at.max() <= newest_us)
    return at


def _counts(records: Records) -> tuple[Column, ...]:
    counts = tuple(_column(records, name, np.int32) for name in COUNTS)
    operations, errors, _ = counts
    _require(operations.min() >= 1 and all(_within(column, MAX_COUNT) for column in counts))
    _require(not (errors > operations).any())
    return counts


def _optional(records: Records, operations: Column) -> tuple[Column | None, ...]:
    """The columns of OPTIONAL."""
    attempts = _given(records, "attempts", MAX_COUNT)
    blocked = _given(records, "blocked_violations", MAX_COUNT)
    latency, largest, cost = (
        _given(records, name, most, np.float64) for name, (most, _) in _SCALES.items()
    )
    _require(attempts is None or not (attempts < operations).any())
    _require(largest is None or latency is None or not (largest < latency).any())
    scaled = (
        None if column is None else np.rint(column * scale).astype(np.int64)
        for column, (_, scale) in zip((latency, largest, cost), _SCALES.values(), strict=True)
    )
    tokens = (_given(records, f"{way}_tokens", MAX_COUNT) for way in ("input", "output"))
    return (attempts, blocked, *scaled, *tokens)


def _given(records: Records, name: str, most: float, dtype: Any = np.int32) -> Column | None:
    """A field that all records have, within 0 and `most`; None if none has it."""
    column = _column(records, name, dtype)
    if not column.all():  # where a value other than 0 says it, nobody needs to be asked
        given = list(map(methodcaller("HasField", name), records))
        if not any(given):
            return None
        _require(all(given))
    _require(_within(column, most))
    return column


def _column(records: Records, name: str, dtype: Any) -> Column:
    return np.array(list(map(attrgetter(name), records)), dtype)


def _within(column: Column, most: float) -> bool:
    return bool(column.min() >= 0 and column.max() <= most)  # false where anything is NaN


def _digests(records: Records, agents: Sequence[bytes], columns: Sequence[Column | None]) -> bytes:
    ids = [record.id for record in records]
    _require(max(map(len, ids)) <= domain.MAX_ID_LENGTH)
    if all(ids):
        identities = domain.client_identities(ids)
    else:
        _require(not any(ids))
        lists = (repeat(None) if column is None else column.tolist() for column in columns)
        values = zip(*lists, repeat(None), strict=False)  # repeat() has no end
        identities = list(map(domain.content_identity, values))
    sha256 = hashlib.sha256
    return b"".join(
        [
            sha256(agent + identity).digest()
            for agent, identity in zip(agents, identities, strict=True)
        ]
    )


def _require(holds: bool | np.bool_) -> None:
    if not holds:
        raise _DoubtError
