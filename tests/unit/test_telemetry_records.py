"""Telemetry from proto: a large request read as a block is what is read record by record."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca.v1 import telemetry_pb2 as pb
from orca_server.domain.telemetry import MAX_COUNT, Columns
from orca_server.domain.telemetry_block import Block, sum_hours
from orca_server.services import telemetry_records
from orca_server.services.telemetry_columns import LEAST_RECORDS

NOW = 1_767_225_600
OLDEST, NEWEST = (NOW - 90 * 86_400) * 10**6, (NOW + 300) * 10**6
AGENTS = [UUID(int=number) for number in (1, 2, 2**127)]
NAMED = {("bot", f"name-{n}"): agent for n, agent in enumerate(AGENTS)}

counts = st.one_of(st.integers(0, 3), st.sampled_from([-1, MAX_COUNT, MAX_COUNT + 1]))
measures = st.one_of(
    st.floats(0, 2, width=64), st.sampled_from([-1.0, 0.0, 1e6, 86_400_000.0, 1e9, float("nan")])
)
good_counts, good_measures = st.integers(0, MAX_COUNT), st.floats(0, 10**6)


def fields(whole: bool) -> st.SearchStrategy[Mapping[str, Any]]:
    """Optional fields: any of them, or within their bounds."""
    count, measure = (good_counts, good_measures) if whole else (counts, measures)
    return st.fixed_dictionaries(
        {},
        optional={
            "blocked_violations": count,
            "latency_ms": measure,
            "cost_usd": measure,
            "input_tokens": count,
            "output_tokens": count,
        },
    )


@st.composite
def requests(draw: st.DrawFn) -> list[pb.TelemetryRecord]:
    """Requests of records of the same fields, in some of which a few are otherwise."""
    number = draw(st.integers(LEAST_RECORDS, LEAST_RECORDS + 10))
    same = draw(fields(whole=True))
    with_ids, by_name = draw(st.booleans()), draw(st.booleans())
    records = []
    for index in range(number):
        record = pb.TelemetryRecord(operations=draw(st.integers(1, 9)), **same)
        record.observed_at.seconds = NOW - draw(st.integers(0, 10_000))
        record.observed_at.nanos = draw(st.integers(0, 999_999_999))
        record.id = f"r{index}" if with_ids else ""
        agent = draw(st.integers(0, len(AGENTS) - 1))
        if by_name:
            record.agent.type, record.agent.name = "bot", f"name-{agent}"
        else:
            record.agent_id = str(AGENTS[agent])
        records.append(record)
    for index in draw(st.lists(st.integers(0, number - 1), max_size=2)):
        spoil(draw, records[index])
    return records


def spoil(draw: st.DrawFn, record: pb.TelemetryRecord) -> None:
    """Changes one thing, perhaps into something that is wrong."""
    match draw(st.integers(0, 7)):
        case 0:
            record.agent_id = draw(st.sampled_from(["", "x", str(UUID(int=9))]))
        case 1:
            record.operations = draw(counts)
        case 2:
            record.errors = draw(counts)
        case 3:
            record.observed_at.seconds = draw(st.sampled_from([0, -(2**60), NOW + 301, 2**60]))
        case 4:
            record.observed_at.nanos = draw(st.sampled_from([-1, 0, 10**9]))
        case 5:
            record.id = draw(st.sampled_from(["", "x" * 201]))
        case 6:
            record.attributes["a"] = 1
        case _:
            for name, value in draw(fields(whole=False)).items():
                setattr(record, name, value)


def read(records: list[pb.TelemetryRecord], allowed: frozenset[UUID] | None) -> Columns:
    """The rows of a request."""
    named = NAMED if any(record.HasField("agent") for record in records) else None
    return telemetry_records.to_columns(
        records, named=named, allowed=allowed, oldest_us=OLDEST, newest_us=NEWEST
    )


@given(records=requests(), allowed=st.sampled_from([None, frozenset(AGENTS[:2])]))
def test_a_block_holds_what_is_read_record_by_record(
    records: list[pb.TelemetryRecord], allowed: frozenset[UUID] | None
) -> None:
    check_alike(records, allowed)


def check_alike(records: list[pb.TelemetryRecord], allowed: frozenset[UUID] | None) -> None:
    """Reading a request as a whole gives what reading its records one by one gives."""
    whole = read(records, allowed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry_records, "LEAST_RECORDS", 10**9)
        single = read(records, allowed)
    assert list(whole.rows) == list(single.rows)
    assert list(whole.indexes) == list(single.indexes)
    assert (whole.size_bytes, whole.refusals) == (single.size_bytes, single.refusals)
    if isinstance(whole.rows, Block):
        check_sums(whole.rows)


def check_sums(block: Block) -> None:
    """All records of a block have operations, and its sums are those of its rows."""
    assert all(row[3] >= 1 for row in block)
    expected: dict[tuple[UUID, int], list[int]] = {}
    for row in block:
        sums = expected.setdefault((row[0], row[2] // 3_600_000_000 * 3_600_000_000), [0] * 10)
        timed = row[3] if row[8] is not None else 0
        values = (*row[3:6], row[7], (row[8] or 0) * row[3], timed, row[10], row[11], row[12])
        sums[:-1] = [one + (other or 0) for one, other in zip(sums, values, strict=False)]
        sums[-1] = max(sums[-1], row[2])
    found = sum_hours(block.in_order())
    assert found is not None
    assert {each[:2]: list(each[2:]) for each in found} == expected
    assert len(found) == len(expected)


def plain() -> list[pb.TelemetryRecord]:
    """A request of which nothing must be explained."""
    records = [
        pb.TelemetryRecord(agent_id=str(AGENTS[n % 3]), operations=5, errors=5, id=f"r{n}")
        for n in range(LEAST_RECORDS)
    ]
    for record in records:
        record.observed_at.seconds = NOW
    return records


def test_a_plain_request_is_a_block() -> None:
    assert isinstance(read(plain(), None).rows, Block)
    assert isinstance(read(plain(), frozenset(AGENTS)).rows, Block)


STRANGE = [
    {"operations": 0, "errors": 0},
    {"operations": 0, "errors": 0, "latency_ms": 1.0},
    *({"operations": value} for value in (-1, 0, 4, MAX_COUNT, MAX_COUNT + 1)),
    *({"errors": value} for value in (-1, 0, 6)),
    *({"violations": value} for value in (-1, 0, MAX_COUNT, MAX_COUNT + 1)),
    *({"attempts": value} for value in (-1, 0, 4, 5, MAX_COUNT + 1)),
    *({"blocked_violations": value} for value in (-1, 0, MAX_COUNT + 1)),
    *({"input_tokens": value} for value in (-1, 0, MAX_COUNT + 1)),
    *({"latency_ms": value} for value in (-1e-9, 0, 86_400_000, 86_400_000.1, float("nan"))),
    *({"latency_max_ms": value} for value in (-1.0, 0, 86_400_001, float("inf"))),
    *({"cost_usd": value} for value in (-1.0, 0, 10**6, 10**6 + 1, float("nan"))),
    {"latency_ms": 2.0, "latency_max_ms": 1.0},
    {"latency_ms": 2.0, "latency_max_ms": 2.0},
    *({"id": text} for text in ("", "x" * 200, "x" * 201)),
    *({"agent_id": text} for text in ("", "x", str(UUID(int=9)))),
]


@pytest.mark.parametrize("everywhere", [False, True], ids=["one", "all"])
@pytest.mark.parametrize("change", STRANGE, ids=str)
def test_what_is_strange_is_treated_as_in_a_single_record(
    change: Mapping[str, Any], everywhere: bool
) -> None:
    records = plain()
    for record in records if everywhere else records[7:8]:
        for name, value in change.items():
            setattr(record, name, value)
    check_alike(records, frozenset(AGENTS))


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(NOW, -1), (NOW, 10**9), (NOW + 300, 0), (NOW + 300, 1000), (0, 0), (-(2**62), 0), (2**62, 0)],
)
def test_a_strange_time_is_treated_as_in_a_single_record(seconds: int, nanos: int) -> None:
    records = plain()
    records[7].observed_at.seconds, records[7].observed_at.nanos = seconds, nanos
    check_alike(records, None)


def test_sums_that_may_not_fit_are_left_to_the_statement() -> None:
    records = [
        pb.TelemetryRecord(
            agent_id=str(AGENTS[0]), operations=MAX_COUNT, latency_ms=86_400_000, id=f"r{n}"
        )
        for n in range(LEAST_RECORDS)
    ]
    for record in records:
        record.observed_at.seconds = NOW
    block = read(records, None).rows
    assert isinstance(block, Block)
    assert sum_hours(block) is None
