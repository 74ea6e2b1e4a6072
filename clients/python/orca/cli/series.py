"""A time series in a file, row by row, as telemetry records.

The file is never held in memory: it is read once to see where it begins and ends, and once
to be sent. Every row has an id of its own (the file's name and the row's number), so that
equal rows of one millisecond stay apart and a second run makes the same keys.
"""

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, TextIO

from orca.errors import ConfigurationError
from orca.v1.telemetry_pb2 import TelemetryRecord

COUNTS = (
    "operations", "errors", "attempts", "violations", "blocked_violations", "input_tokens",
    "output_tokens",
)  # fmt: skip
MEASURES = ("latency_ms", "latency_max_ms", "cost_usd")
TIME = "observed_at"
FIELDS = (TIME, "id", *COUNTS, *MEASURES)
TIME_COLUMNS = (TIME, "timestamp")
ATTRIBUTE = "attributes."

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST_COUNT = 10**9
_MAX_ID_LENGTH = 200
# A number above this is milliseconds since 1970, below it seconds: the year 5138 and 1973.
_MILLISECONDS_FROM = 1e11


class RowError(Exception):
    """A row that cannot be sent.

    Attributes:
        row: Its number, from 1.
        column: Where; empty if the row as a whole is broken.
        message: What is wrong.
    """

    def __init__(self, row: int, column: str, message: str) -> None:
        """Says which row, where and why."""
        super().__init__(message)
        self.row = row
        self.column = column
        self.message = message


@dataclass(frozen=True, slots=True)
class Plan:
    """How a row becomes a record.

    Attributes:
        agent_id: The agent that reports.
        name: Name of the series, part of each record's id.
        columns: Column of each field that has one.
        constants: Value of each field that is the same in all rows.
        scales: Factor by which a field's column is multiplied.
        zone: Time zone of times that name none.
    """

    agent_id: str
    name: str
    columns: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    zone: tzinfo = UTC

    def record(self, number: int, row: Mapping[str, Any], shift_us: int) -> TelemetryRecord:
        """The record of a row, moved in time.

        Raises:
            RowError: If a value is broken.
        """
        record = TelemetryRecord(agent_id=self.agent_id, id=self._id(number))
        for name, value in self.constants.items():
            self._set(record, name, value, number, name)
        for name, column in self.columns.items():
            cell = row.get(column)
            if name != TIME and cell not in (None, ""):
                self._set(record, name, cell, number, column)
        _set_time(record, self.time_us(number, row) + shift_us)
        return record

    def time_us(self, number: int, row: Mapping[str, Any]) -> int:
        """When the row was observed, in microseconds since 1970.

        Raises:
            RowError: If it says no time.
        """
        column = self.columns[TIME]
        try:
            return parse_time(row.get(column), self.zone)
        except (ValueError, OverflowError) as error:
            raise RowError(number, column, str(error)) from error

    def _id(self, number: int) -> str:
        return f"{self.name}:row-{number}"[-_MAX_ID_LENGTH:]

    def _set(self, record: TelemetryRecord, name: str, value: Any, row: int, column: str) -> None:
        try:
            if name in COUNTS:
                setattr(record, name, _count(value, self.scales.get(name, 1)))
            elif name in MEASURES:
                setattr(record, name, _measure(value, self.scales.get(name, 1)))
            elif name == "id":
                record.id = str(value)
            else:
                record.attributes.update({name.removeprefix(ATTRIBUTE): value})
        except (ValueError, TypeError) as error:
            raise RowError(row, column, str(error)) from error


@dataclass(frozen=True, slots=True)
class Extent:
    """What the first reading of a series found.

    Attributes:
        rows: Rows, broken ones included.
        first_us: The earliest time; None without any.
        last_us: The latest.
    """

    rows: int
    first_us: int | None
    last_us: int | None


def rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | RowError]]:
    """The rows of a CSV file with a header, or of JSON lines, numbered from 1.

    Raises:
        ConfigurationError: If the file cannot be read (`INPUT_UNREADABLE`).
    """
    try:
        with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
            yield from _csv_rows(file) if path.suffix.lower() == ".csv" else _json_rows(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"{path} cannot be read: {cause}", reason="INPUT_UNREADABLE"
        ) from error


def header(path: Path) -> tuple[str, ...]:
    """The columns: of a CSV file its header, of JSON lines the keys of the first object."""
    for _, row in rows(path):
        if not isinstance(row, RowError):
            return tuple(row)
    return ()


def measure(path: Path, plan: Plan) -> Extent:
    """Where the series begins and ends; broken times are left to the second reading."""
    count = 0
    first: int | None = None
    last: int | None = None
    for number, row in rows(path):
        count = number
        if isinstance(row, RowError):
            continue
        try:
            time_us = plan.time_us(number, row)
        except RowError:
            continue
        first = time_us if first is None else min(first, time_us)
        last = time_us if last is None else max(last, time_us)
    return Extent(count, first, last)


def digest(path: Path, size_bytes: int | None = None) -> str:
    """SHA-256 of the file, or of its first `size_bytes` bytes, in hexadecimal."""
    sha = hashlib.sha256()
    left = size_bytes if size_bytes is not None else path.stat().st_size
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            sha.update(chunk)
            left -= len(chunk)
    return sha.hexdigest()


def parse_time(value: Any, zone: tzinfo = UTC) -> int:
    """Microseconds since 1970 of a time as files write it.

    Args:
        value: ISO 8601 with a space or a T, or seconds or milliseconds since 1970.
        zone: Time zone of a time that names none.

    Raises:
        ValueError: If it is no time.
    """
    text = str(value).strip() if value is not None else ""
    if not text:
        raise ValueError("there is no time")
    try:
        since = float(text)
    except ValueError:
        return _parse_iso(text, zone)
    if not math.isfinite(since):
        raise ValueError(f"'{text}' is no time")
    return round(since * (1_000 if abs(since) >= _MILLISECONDS_FROM else 1_000_000))


def _parse_iso(text: str, zone: tzinfo) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text}' is no time") from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=zone)
    return (instant - _EPOCH) // _MICROSECOND


def to_datetime(time_us: int) -> datetime:
    """The instant, in UTC."""
    return _EPOCH + time_us * _MICROSECOND


def _set_time(record: TelemetryRecord, time_us: int) -> None:
    record.observed_at.seconds, micros = divmod(time_us, 1_000_000)
    record.observed_at.nanos = micros * 1000


def _csv_rows(file: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | RowError]]:
    reader = csv.DictReader(file, strict=True)
    for number, row in enumerate(reader, start=1):
        if None in row or None in row.values():
            yield number, RowError(number, "", "it has more or fewer cells than the header")
        else:
            yield number, row


def _json_rows(file: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | RowError]]:
    number = 0
    for line in file:
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except ValueError as error:
            yield number, RowError(number, "", f"it is no JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            yield number, RowError(number, "", "it is no JSON object")


def _measure(value: Any, scale: float) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"'{value}' is no number") from None
    if not math.isfinite(found):
        raise ValueError(f"'{value}' is no finite number")
    if found < 0:
        raise ValueError(f"{value} is negative")
    return found if scale == 1 else found * scale


def _count(value: Any, scale: float) -> int:
    found = _measure(value, scale)
    if not found.is_integer():
        raise ValueError(f"{value} is no whole number")
    if found > _LARGEST_COUNT:
        raise ValueError(f"{value} is more than {_LARGEST_COUNT:,}")
    return int(found)
