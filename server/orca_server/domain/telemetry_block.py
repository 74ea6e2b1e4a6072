"""Records column by column: what a large request is while it is on its way to COPY.

No line of Python runs for each record here. A block holds records of which all may be stored and
none has attributes or names a rule; a column is there for all of them or for none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from orca_server.domain.numbers import MAX_SUM
from orca_server.domain.telemetry import Row

_HOUR_US = 3_600_000_000
_DAY_US = 86_400_000_000
_SHA256 = np.dtype([("high", ">u2"), ("low", ">u8"), ("rest", "V22")])
COUNTS = ("operations", "errors", "violations")
OPTIONAL = (
    *("attempts", "blocked_violations", "latency_us", "latency_max_us"),
    *("cost_nano_usd", "input_tokens", "output_tokens"),
)

Column = NDArray[Any]

# (agent_id, hour_us, operations, errors, violations, blocked_violations, latency_us,
#  latency_operations, cost_nano_usd, input_tokens, output_tokens, last_us):
# the columns of `queue_hour_sums` after the tenant, in its order.
HourSums = tuple[UUID, int, int, int, int, int, int, int, int, int, int, int]


@dataclass(frozen=True)
class Block(Sequence[Row]):
    """Records, at least one. As a sequence it is their rows, made when asked for.

    Attributes:
        agents: The 16 bytes of each agent's id, as two unsigned integers.
        keys: Those of each key.
        observed_us: `observed_at`, microseconds since 1970.
        counts: Columns of COUNTS, int32; operations are at least 1.
        optional: Columns of OPTIONAL; None where no record has one.
        uuid_of: Makes an id of 16 bytes.
    """

    agents: Column
    keys: Column
    observed_us: Column
    counts: tuple[Column, ...]
    optional: tuple[Column | None, ...]
    uuid_of: Callable[[bytes], UUID]

    def __len__(self) -> int:
        return len(self.observed_us)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @cached_property
    def _rows(self) -> list[Row]:
        columns: list[Any] = [
            self._uuids(self.agents),
            self._uuids(self.keys),
            self.observed_us.tolist(),
            *(column.tolist() for column in self.counts),
            *(repeat(None) if each is None else each.tolist() for each in self.optional),
            repeat(None),
            repeat(None),
        ]
        return list(zip(*columns, strict=False))  # repeat() has no end

    @property
    def layout(self) -> tuple[bool, ...]:
        """Which optional columns are there."""
        return tuple(column is not None for column in self.optional)

    def in_order(self) -> "Block":
        """The same records by day, agent and key: the order in which they are inserted."""
        by = (*self.keys.T[::-1], *self.agents.T[::-1], self.observed_us // _DAY_US)
        order = np.lexsort(by)
        return Block(
            self.agents[order],
            self.keys[order],
            self.observed_us[order],
            tuple(column[order] for column in self.counts),
            tuple(None if column is None else column[order] for column in self.optional),
            self.uuid_of,
        )

    def _uuids(self, pairs: Column) -> list[UUID]:
        data = pairs.astype(">u8").tobytes()  # concatenate() gives the machine's own order
        return [self.uuid_of(data[start : start + 16]) for start in range(0, len(data), 16)]


def concat(blocks: Sequence[Block]) -> Block | None:
    """The records of several blocks; None if their columns are not the same."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    if any(block.layout != first.layout for block in blocks):
        return None
    return Block(
        np.concatenate([block.agents for block in blocks]),
        np.concatenate([block.keys for block in blocks]),
        np.concatenate([block.observed_us for block in blocks]),
        tuple(map(np.concatenate, zip(*(block.counts for block in blocks), strict=True))),
        tuple(
            None if columns[0] is None else np.concatenate(columns)
            for columns in zip(*(block.optional for block in blocks), strict=True)
        ),
        first.uuid_of,
    )


def sum_hours(block: Block) -> list[HourSums] | None:
    """The sums per agent and hour of a block that is in order; None if they may not fit 64 bits."""
    hours = block.observed_us // _HOUR_US
    new = np.ones(len(block), bool)
    new[1:] = (hours[1:] != hours[:-1]) | (block.agents[1:] != block.agents[:-1]).any(axis=1)
    starts = np.flatnonzero(new)

    def sums(column: Column | None) -> list[int]:
        if column is None:
            return [0] * len(starts)
        found: list[int] = np.add.reduceat(column.astype(np.int64), starts).tolist()
        return found

    operations, errors, violations = block.counts
    _, blocked, latency, _, cost, tokens_in, tokens_out = block.optional
    weighed = None if latency is None else latency * operations.astype(np.int64)
    if latency is not None and not _fits(latency.astype(float) * operations):
        return None
    if cost is not None and not _fits(cost.astype(float)):
        return None
    return list(
        zip(
            block._uuids(block.agents[starts]),
            (hours[starts] * _HOUR_US).tolist(),
            *(sums(operations), sums(errors), sums(violations), sums(blocked), sums(weighed)),
            sums(None if latency is None else operations),
            *(sums(cost), sums(tokens_in), sums(tokens_out)),
            np.maximum.reduceat(block.observed_us, starts).tolist(),
            strict=True,
        )
    )


def violations_of(block: Block) -> list[tuple[UUID, int, int, int]]:
    """Of records with violations: agent, how many, how many blocked, microseconds since 1970."""
    violations, blocked = block.counts[2], block.optional[1]
    found = np.flatnonzero(violations if blocked is None else violations | blocked)
    return list(
        zip(
            block._uuids(block.agents[found]),
            violations[found].tolist(),
            [0] * len(found) if blocked is None else blocked[found].tolist(),
            block.observed_us[found].tolist(),
            strict=True,
        )
    )


def _fits(column: Column) -> bool:
    """Whether sums stay far from the bound above which they would have to be cut."""
    return bool(column.sum() < MAX_SUM / 2)


def record_keys(observed_us: Column, digests: bytes) -> Column:
    """`telemetry.record_key` of many records.

    Args:
        observed_us: `observed_at` of each, microseconds since 1970.
        digests: The SHA-256 of each over agent and identity, one after the other.
    """
    hashed = np.frombuffer(digests, _SHA256)
    keys = np.empty((len(observed_us), 2), ">u8")
    millis = (observed_us // 1000).astype(np.uint64)
    keys[:, 0] = millis << np.uint64(16) | np.uint64(0x7000) | hashed["high"] & np.uint16(0xFFF)
    keys[:, 1] = np.uint64(2 << 62) | hashed["low"] & np.uint64(0x3FFFFFFFFFFFFFFF)
    return keys
