"""What a batch adds to the hours of its agents."""

from datetime import UTC, datetime
from uuid import UUID

from orca_server.domain.hour_sums import sum_hours
from orca_server.domain.numbers import MAX_SUM
from orca_server.domain.telemetry import MAX_COUNT, Row

AGENT = UUID(int=1)
HOUR = 1_767_225_600_000_000
assert datetime.fromtimestamp(HOUR / 1e6, UTC).minute == 0


def row(at: int, operations: int, *, errors: int = 0, latency: int | None = None) -> Row:
    said = (None, None, latency, None, 5, None, 7, None)
    return (AGENT, UUID(int=at), at, operations, errors, 0, *said)


def test_records_are_summed_by_agent_and_hour() -> None:
    last = HOUR + 3_599_999_999
    rows = [row(last, 3, errors=1, latency=10), row(HOUR, 2), row(last + 1, 0)]
    assert sum_hours(rows) == [
        (AGENT, HOUR, 5, 1, 0, 0, 30, 3, 10, 0, 14, last, last),
        (AGENT, last + 1, 0, 0, 0, 0, 0, 0, 5, 0, 7, None, last + 1),
    ]


def test_a_heartbeat_is_seen_and_is_no_operation() -> None:
    (sums,) = sum_hours([row(HOUR, 1), row(HOUR + 9, 0)])
    assert sums[-2:] == (HOUR, HOUR + 9)


def test_sums_of_products_stay_where_two_can_be_added() -> None:
    (sums,) = sum_hours([row(HOUR + n, MAX_COUNT, latency=86_400_000_000) for n in range(2)])
    assert sums[6] == MAX_SUM
