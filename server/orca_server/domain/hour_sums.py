"""What a batch of telemetry adds to the hours of its agents."""

from collections.abc import Iterable, Sequence
from operator import mul
from uuid import UUID

from orca_server.domain.numbers import MAX_SUM
from orca_server.domain.telemetry import Row

_HOUR_US = 3_600_000_000

# (agent_id, hour_us, operations, errors, violations, blocked_violations, latency_us,
#  latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_us, last_us):
# the columns of `queue_hour_sums` after the tenant, in its order.
HourSums = tuple[UUID, int, int, int, int, int, int, int, int, int, int, int | None, int]


def sum_hours(rows: Iterable[Row]) -> list[HourSums]:
    """The sums per agent and hour of rows that all count."""
    groups: dict[tuple[UUID, int], list[Row]] = {}
    for row in rows:
        group = (row[0], row[2] // _HOUR_US)
        if group in groups:
            groups[group].append(row)
        else:
            groups[group] = [row]
    return [_sum(agent, hour * _HOUR_US, group) for (agent, hour), group in groups.items()]


def _sum(agent: UUID, hour_us: int, rows: Sequence[Row]) -> HourSums:
    _, _, at, ops, errors, violations, _, blocked, latency, _, cost, inp, out, _ = zip(
        *rows, strict=True
    )
    timed = ops
    if None in latency:
        pairs = [pair for pair in zip(latency, ops, strict=True) if pair[0] is not None]
        latency, timed = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    return (
        agent,
        hour_us,
        sum(ops),
        sum(errors),
        sum(violations),
        _total(blocked),
        min(sum(map(mul, latency, timed)), MAX_SUM),
        sum(timed),
        min(_total(cost), MAX_SUM),
        _total(inp),
        _total(out),
        max((a for a, o in zip(at, ops, strict=True) if o), default=None) if 0 in ops else max(at),
        max(at),
    )


def _total(values: Sequence[int | None]) -> int:
    return sum(filter(None, values))
