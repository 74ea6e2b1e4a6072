"""Sends a series to the server and counts what became of it."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orca.cli.resume import Decision, ResumeFile
from orca.cli.series import Extent, Plan, RowError, digest, rows, to_datetime
from orca.client import Client
from orca.errors import ConfigurationError
from orca.stream import StreamSettings
from orca.v1.agent_service_pb2 import StreamTelemetryResponse
from orca.v1.telemetry_pb2 import TelemetryRecord

RETENTION = timedelta(days=90)
"""Older records are refused by a server with its usual settings."""
AHEAD = timedelta(minutes=5)
KEPT_ERRORS = 1000
_SAVE_EVERY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class End:
    """Where the operator wants a series to end.

    Attributes:
        at_us: Then; None: nothing was said, or `now`.
        now: `now` was said.
        unmoved: Its times are to stay as they are.
    """

    at_us: int | None = None
    now: bool = False
    unmoved: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of the rows.

    Attributes:
        rows: Rows that were read.
        broken: Rows that could not be made a record.
        errors: The first of those, and of the records that the server refused.
        reasons: How many records the server refused, by field and reason.
    """

    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    broken: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add_broken(self, error: RowError) -> None:
        """Counts a row that could not be made a record."""
        self.broken += 1
        self._keep(error.row, error.column, "ROW_BROKEN", error.message)

    def add(self, receipt: StreamTelemetryResponse, numbers: list[int]) -> None:
        """Counts a batch; `numbers` are the rows that its records come from."""
        self.accepted += receipt.accepted
        self.duplicates += receipt.duplicates
        self.refused += len(receipt.refused)
        for each in receipt.refused:
            self.reasons[f"{each.field} {each.reason}"] += 1
            self._keep(numbers[each.index], each.field, each.reason, each.message)

    def _keep(self, row: int, where: str, reason: str, message: str) -> None:
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append({"row": row, "field": where, "reason": reason, "message": message})


@dataclass(frozen=True, slots=True)
class Series:
    """What is sent.

    Attributes:
        source: The file.
        plan: How a row becomes a record.
        decision: How far times are moved.
        batch_size: Records of one batch.
    """

    source: Path
    plan: Plan
    decision: Decision
    batch_size: int

    def batches(
        self, outcome: Outcome, on_their_way: deque[list[int]]
    ) -> Iterator[list[TelemetryRecord]]:
        """The batches; notes broken rows, and the rows of each batch that is taken."""
        shift_us = self.decision.shift_us
        for numbers, records in _batches(
            self.source, self.plan, shift_us, self.batch_size, outcome
        ):
            on_their_way.append(numbers)
            yield records


def decide(
    resume: ResumeFile, source: Path, agent: tuple[str, str], extent: Extent, end: End, anew: bool
) -> Decision:
    """How far the series is moved: as before if it was imported before, and written down.

    Args:
        resume: What is remembered.
        source: The input.
        agent: Id and name of the agent.
        extent: Where the series begins and ends.
        end: What the operator wants.
        anew: Forget what is remembered; what is sent again is then counted again.

    Raises:
        ConfigurationError: If it was imported with another end (`SERIES_ALREADY_IMPORTED`).
    """
    before = resume.find(agent[0], source)
    shift_us = _wanted_shift_us(extent, end)
    if before is not None and not anew:
        if shift_us not in (None, before.shift_us):
            raise ConfigurationError(
                f"{source.name} was imported for {agent[1]} so that it ends at {before.ends_at}; "
                "moved elsewhere it would be counted twice. --restart does that.",
                reason="SERIES_ALREADY_IMPORTED",
            )
        shift_us = before.shift_us
    elif shift_us is None:
        shift_us = _default_shift_us(extent, end)
    ends_at = to_datetime((extent.last_us or 0) + shift_us).isoformat().replace("+00:00", "Z")
    size = source.stat().st_size
    decision = Decision(agent[0], agent[1], digest(source, size), size, shift_us, ends_at)
    resume.remember(decision, before)
    return decision


def _wanted_shift_us(extent: Extent, end: End) -> int | None:
    """The shift that the operator's words fix; None if they leave it open."""
    if end.unmoved:
        return 0
    if end.at_us is not None:
        return end.at_us - (extent.last_us or 0)
    return None


def _default_shift_us(extent: Extent, end: End) -> int:
    """To end now, for a series that would be refused as it is, or if `now` was said."""
    if extent.first_us is None or extent.last_us is None:
        return 0
    now = datetime.now(UTC)
    old = to_datetime(extent.first_us) < now - RETENTION
    ahead = to_datetime(extent.last_us) > now + AHEAD
    if not (end.now or old or ahead):
        return 0
    now_us = int(now.timestamp() * 1000) * 1000
    return now_us - extent.last_us


async def send(
    client: Client,
    series: Series,
    resume: ResumeFile,
    stall_seconds: float,
    advance: Callable[[int], None],
) -> Outcome:
    """Streams the series; what a break left unanswered is sent again by the client.

    Args:
        client: Of the server.
        series: What is sent.
        resume: Where it is noted how far that is.
        stall_seconds: How long to wait for a receipt.
        advance: Told how many rows were answered.
    """
    outcome, decision = Outcome(), series.decision
    on_their_way: deque[list[int]] = deque()
    answered, saved_at = 0, time.monotonic()
    settings = StreamSettings(stall_seconds=stall_seconds)
    batches = series.batches(outcome, on_their_way)
    async for receipt in client.telemetry.stream(batches, settings):
        numbers = on_their_way.popleft()
        outcome.add(receipt, numbers)
        advance(numbers[-1] - answered)
        answered = numbers[-1]
        if time.monotonic() - saved_at > _SAVE_EVERY_SECONDS:
            decision = resume.acknowledge(decision, answered, finished=False)
            saved_at = time.monotonic()
    resume.acknowledge(decision, outcome.rows, finished=True)
    return outcome


def check(source: Path, plan: Plan) -> Outcome:
    """What a row by row look finds broken, without sending anything."""
    outcome = Outcome()
    for _ in _batches(source, plan, 0, 1000, outcome):
        pass
    return outcome


def _batches(
    source: Path, plan: Plan, shift_us: int, size: int, outcome: Outcome
) -> Iterator[tuple[list[int], list[TelemetryRecord]]]:
    """Records with the numbers of their rows; broken rows are counted and left out."""
    numbers: list[int] = []
    records: list[TelemetryRecord] = []
    for number, row in rows(source):
        outcome.rows = number
        try:
            if isinstance(row, RowError):
                raise row
            records.append(plan.record(number, row, shift_us))
        except RowError as error:
            outcome.add_broken(error)
            continue
        numbers.append(number)
        if len(records) == size:
            yield numbers, records
            numbers, records = [], []
    if records:
        yield numbers, records
