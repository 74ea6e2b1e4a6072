"""A series in a file becomes records: the same ones at each reading."""

from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import typer

import orca
from orca.cli.backfill import check
from orca.cli.mapping import FieldMapping, read_mapping
from orca.cli.series import Plan, RowError, digest, measure, parse_time, rows
from orca.v1.telemetry_pb2 import TelemetryRecord

AGENT = "01890a5d-ac96-774b-bcce-b302099a8057"


def _plan(file: Path, *map_: str, set_: tuple[str, ...] = (), scale: tuple[str, ...] = ()) -> Plan:
    return read_mapping(map_, set_, scale, "UTC").fitted_to(file).plan(AGENT, file.name)


def _write(tmp_path: Path, text: str, name: str = "series.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def _records(file: Path, plan: Plan, shift_us: int = 0) -> list[TelemetryRecord | str]:
    """The records, and of broken rows what is wrong."""
    found: list[TelemetryRecord | str] = []
    for number, row in rows(file):
        try:
            if isinstance(row, RowError):
                raise row
            found.append(plan.record(number, row, shift_us))
        except RowError as error:
            found.append(f"{error.row} {error.column}: {error.message}")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2014-02-14 14:30:00", 1392388200_000_000),
        ("2014-02-14T14:30:00Z", 1392388200_000_000),
        ("2014-02-14T15:30:00+01:00", 1392388200_000_000),
        ("2014-02-14 14:30:00.000001", 1392388200_000_001),
        ("1392388200", 1392388200_000_000),
        ("1392388200123", 1392388200_123_000),
        (1392388200.5, 1392388200_500_000),
    ],
)
def test_times_as_files_write_them(text: object, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", [None, "", "yesterday", "nan", "inf", "2014-13-01 00:00:00"])
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(ValueError, match="no time"):
        parse_time(text)


def test_a_zone_applies_to_times_that_name_none() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_time("2014-07-01 02:00:00", berlin) == parse_time("2014-07-01 00:00:00", UTC)
    assert parse_time("2014-07-01T02:00:00Z", berlin) == parse_time("2014-07-01 02:00:00", UTC)


def test_a_row_becomes_a_record(tmp_path: Path) -> None:
    file = _write(tmp_path, "timestamp,seconds,failed,where\n2014-02-14 14:30:00,1.5,2,eu\n")
    plan = _plan(
        file, "latency_ms=seconds", "errors=failed", "attributes.region=where",
        set_=("operations=10",), scale=("latency_ms=1000",),
    )  # fmt: skip
    (record,) = _records(file, plan, shift_us=60_000_000)
    assert isinstance(record, TelemetryRecord)
    assert record.observed_at.ToJsonString() == "2014-02-14T14:31:00Z"
    assert (record.agent_id, record.id) == (AGENT, "series.csv:row-1")
    assert (record.operations, record.errors, record.latency_ms) == (10, 2, 1500.0)
    assert record.attributes["region"] == "eu"


def test_a_row_is_one_operation_unless_told_otherwise(tmp_path: Path) -> None:
    file = _write(tmp_path, "timestamp,n\n1,3\n")
    (plain,) = _records(file, _plan(file))
    (mapped,) = _records(file, _plan(file, "operations=n"))
    assert (plain.operations, mapped.operations) == (1, 3)


def test_equal_rows_stay_apart_and_a_second_reading_makes_the_same(tmp_path: Path) -> None:
    file = _write(tmp_path, "timestamp,v\n1,5\n1,5\n")
    first = _records(file, _plan(file, "latency_ms=v"))
    assert first == _records(file, _plan(file, "latency_ms=v"))
    assert first[0].id != first[1].id


def test_an_empty_cell_is_an_absent_value(tmp_path: Path) -> None:
    file = _write(tmp_path, "timestamp,v\n1,\n")
    (record,) = _records(file, _plan(file, "latency_ms=v"))
    assert not record.HasField("latency_ms")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("x,1,1", "1 timestamp: 'x' is no time"),
        ("1,-1,1", "1 v: -1 is negative"),
        ("1,abc,1", "1 v: 'abc' is no number"),
        ("1,nan,1", "1 v: 'nan' is no finite number"),
        ("1,1,1.5", "1 n: 1.5 is no whole number"),
        ("1,1,2000000000", "1 n: 2000000000 is more than 1,000,000,000"),
        ("1,1", "1 : it has more or fewer cells than the header"),
        ("1,1,1,1", "1 : it has more or fewer cells than the header"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, problem: str) -> None:
    file = _write(tmp_path, f"timestamp,v,n\n{row}\n2,1,1\n")
    broken, good = _records(file, _plan(file, "latency_ms=v", "operations=n"))
    assert broken == problem
    assert isinstance(good, TelemetryRecord)


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    text = '{"observed_at":"2014-02-14T14:30:00Z","ms":3}\n\nnot json\n[1]\n{"observed_at":5}\n'
    file = _write(tmp_path, text, "series.jsonl")
    first, second, third, last = _records(file, _plan(file, "latency_ms=ms"))
    assert first.latency_ms == 3
    assert str(second).startswith("2 : it is no JSON")
    assert third == "3 : it is no JSON object"
    assert last.id == "series.jsonl:row-4"


def test_the_extent_is_found_whatever_the_order(tmp_path: Path) -> None:
    file = _write(tmp_path, "timestamp,v\n5,1\nx,1\n9,1\n2,1\n")
    extent = measure(file, _plan(file))
    assert (extent.rows, extent.first_us, extent.last_us) == (4, 2_000_000, 9_000_000)


def test_checking_counts_broken_rows(tmp_path: Path) -> None:
    file = _write(tmp_path, "timestamp,v\n1,-1\n2,1\n")
    outcome = check(file, _plan(file, "latency_ms=v"))
    assert (outcome.rows, outcome.broken) == (2, 1)
    assert outcome.errors[0]["row"] == 1


def test_the_digest_of_a_beginning(tmp_path: Path) -> None:
    short, long = _write(tmp_path, "abc", "a"), _write(tmp_path, "abcdef", "b")
    assert digest(long, 3) == digest(short)
    assert digest(long) != digest(short)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("timestamp,v\n", "INPUT_EMPTY"), ("when,v\n1,2\n", "COLUMN_MISSING")],
)
def test_a_file_that_does_not_fit(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(orca.ConfigurationError) as caught:
        _plan(_write(tmp_path, content), "latency_ms=v")
    assert caught.value.reason == reason


@pytest.mark.parametrize("content", [None, b"\xff\xfe\n1\n", b'"a\n'], ids=["none", "utf", "csv"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "series.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(orca.ConfigurationError):
        _plan(path)


@pytest.mark.parametrize(
    "options",
    [
        {"map": ["latency=v"]},
        {"map": ["latency_ms"]},
        {"map": ["attributes.=v"]},
        {"set_": ["observed_at=1"]},
        {"map": ["errors=v"], "set_": ["errors=1"]},
        {"scale": ["latency_ms=0"]},
        {"scale": ["latency_ms=x"]},
        {"scale": ["id=2"]},
        {"timezone": "Mars/Olympus"},
    ],
    ids=str,
)
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    given = {"map": [], "set_": [], "scale": [], "timezone": "UTC", **options}
    with pytest.raises(typer.BadParameter):
        read_mapping(**given)


def test_a_mapping_is_not_changed_by_a_file(tmp_path: Path) -> None:
    mapping = read_mapping(["latency_ms=v"], [], [], "UTC")
    mapping.fitted_to(_write(tmp_path, "timestamp,v\n1,1\n"))
    assert mapping == FieldMapping({"latency_ms": "v"}, {}, {}, UTC)
