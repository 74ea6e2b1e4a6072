"""The one path by which telemetry and events become rows: an `Ingest` for each of them.

Callers submit the rows of a request and wait; flushers take what waits and have a `Writer` store it
in one transaction per batch. A submission is never split over two transactions, and a caller is
answered only after the commit. While few wait, a batch leaves at once; under load a flusher lingers
for a few milliseconds so that batches grow and commits are shared.

What one caller does never touches another: a cancelled or expired submission is left out
of its batch, a batch that the database refuses is halved until the culprit stands alone.
"""

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import asyncpg
import structlog

from orca_server.domain.errors import Overloaded, Unavailable
from orca_server.runtime.ingest_metrics import IngestMetrics
from orca_server.runtime.linger import Linger
from orca_server.store.batches import PartitionMissing, Stored
from orca_server.store.database import Connection, Database

BATCH_ROWS = 2_000
TRIES = 4
RETRY_SECONDS = 0.1
CHECKOUT_SECONDS = 5.0

log = structlog.get_logger(__name__)

RowT = TypeVar("RowT", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one submission, whose rows are counted from 0.

    Attributes:
        accepted: Rows stored by it.
        duplicates: Rows that were stored before, or stand twice in it.
        unknown: Rows whose agent or workflow is unknown.
        retired: Rows whose agent or workflow is retired.
    """

    accepted: int
    duplicates: int
    unknown: frozenset[int] = frozenset()
    retired: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Submission(Generic[RowT]):
    """The rows of one request; the arguments of `Ingest.submit`, and its answer."""

    tenant_id: UUID
    rows: Sequence[RowT]
    size_bytes: int
    atomic: bool
    done: asyncio.Future[Outcome]
    submitted_at: float


class Writer(Protocol[RowT]):
    """How the rows of one kind are stored."""

    @property
    def kind(self) -> str:
        """What they are, for metrics and the log."""

    async def write(self, connection: Connection, batch: Sequence[Submission[RowT]]) -> Stored:
        """Stores a batch in one transaction.

        Args:
            connection: To the primary, without an open transaction.
            batch: The requests.

        Raises:
            PartitionMissing: If a row's day has none; nothing was stored.
        """


@dataclass(slots=True)
class IngestCounts:
    """What went through since the start."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    shed: int = 0
    last_commit_at: float | None = None


class Ingest(Generic[RowT]):
    """A bounded queue and the flushers that empty it."""

    def __init__(
        self,
        db: Database,
        writer: Writer[RowT],
        *,
        max_records: int,
        max_bytes: int,
        flushers: int = 2,
    ) -> None:
        """Starts nothing yet; `run` does.

        Args:
            db: Where rows go.
            writer: How they are stored.
            max_records: Most records that wait or are being stored.
            max_bytes: Most bytes that they take.
            flushers: Statements under way at the same time.
        """
        self._db = db
        self._writer = writer
        self._metrics = IngestMetrics(writer.kind)
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._flushers = flushers
        self._queue: deque[Submission[RowT]] = deque()
        self._unanswered: dict[Submission[RowT], None] = {}  # oldest first
        self._records = 0
        self._bytes = 0
        self._queued_records = 0
        self._under_way = 0
        self._linger = Linger()
        self._waiting = asyncio.Event()
        self._taking = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._stopping = False
        self.counts = IngestCounts()

    @property
    def queued_records(self) -> int:
        """Records that wait for a batch."""
        return self._queued_records

    @property
    def queued_bytes(self) -> int:
        """Bytes of all records that are not answered yet."""
        return self._bytes

    def oldest_wait_seconds(self) -> float:
        """How long the oldest unanswered submission has waited; 0 if there is none."""
        first = next(iter(self._unanswered), None)
        return 0.0 if first is None else time.monotonic() - first.submitted_at

    def submit(
        self, tenant_id: UUID, rows: Sequence[RowT], size_bytes: int, *, atomic: bool
    ) -> asyncio.Future[Outcome]:
        """Queues the rows of one request; the future is done after their commit.

        It fails with `Unavailable` if the database did not take them in several tries. They
        may have been stored: sending them again is safe. Cancelling it takes the rows out
        of the queue, as long as they are there.

        Args:
            tenant_id: Whose rows they are.
            rows: The rows, at least one.
            size_bytes: About what they take in memory.
            atomic: All or nothing: one unknown or retired agent or workflow keeps all rows out.

        Raises:
            Overloaded: If the queue is full; nothing was stored.
        """
        if not self._has_room(len(rows), size_bytes):
            self.counts.shed += 1
            self._metrics.shed.inc()
            raise Overloaded(
                "INGEST_QUEUE_FULL",
                "The ingest queue is full; nothing was stored. Send the same request again.",
                retry_after_seconds=1.0,
            )
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        submission = Submission(tenant_id, rows, size_bytes, atomic, done, time.monotonic())
        self._unanswered[submission] = None
        self._queue.append(submission)
        self._records += len(rows)
        self._queued_records += len(rows)
        self._bytes += size_bytes
        self._under_way += 1
        self._waiting.set()
        done.add_done_callback(lambda _: self._release(submission))
        return done

    def _release(self, submission: Submission[RowT]) -> None:
        del self._unanswered[submission]
        self._under_way -= 1
        self._records -= len(submission.rows)
        self._bytes -= submission.size_bytes
        self._freed.set()

    async def wait_for_room(self, records: int, size_bytes: int) -> None:
        """Waits, first come first served, until that much fits; for streams."""
        async with self._turn:
            while not self._has_room(records, size_bytes):
                self._freed.clear()
                await self._freed.wait()

    def _has_room(self, records: int, size_bytes: int) -> bool:
        # An empty queue takes anything that a message may hold.
        if self._records == 0:
            return True
        return (
            self._records + records <= self._max_records
            and self._bytes + size_bytes <= self._max_bytes
        )

    async def run(self) -> None:
        """Stores what is submitted until `stop`, then what is left, and returns."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._flushers):
                group.create_task(self._flush(), name=f"ingest-flusher-{number}")

    def stop(self) -> None:
        """Lets `run` return once the queue is empty."""
        self._stopping = True
        self._waiting.set()

    async def _flush(self) -> None:
        while batch := await self._take():
            started = time.monotonic()
            await self._store(batch)
            self._metrics.commit.observe(time.monotonic() - started)
            self._metrics.queued.set(self._queued_records)

    async def _take(self) -> list[Submission[RowT]]:
        """The next batch; empty when stopped and nothing is left."""
        async with self._taking:
            while True:
                await self._waiting.wait()
                await self._linger.grow(
                    lambda: len(self._queue), self._under_way, lambda: self._is_enough
                )
                batch = self._pop()
                if batch or self._stopping:
                    return batch

    @property
    def _is_enough(self) -> bool:
        return self._stopping or self._queued_records >= BATCH_ROWS

    def _pop(self) -> list[Submission[RowT]]:
        batch: list[Submission[RowT]] = []
        rows = 0
        while self._queue and (not batch or rows + len(self._queue[0].rows) <= BATCH_ROWS):
            submission = self._queue.popleft()
            self._queued_records -= len(submission.rows)
            if not submission.done.done():  # else its caller has gone
                batch.append(submission)
                rows += len(submission.rows)
        if not self._queue and not self._stopping:
            self._waiting.clear()
        return batch

    async def _store(self, batch: list[Submission[RowT]]) -> None:
        """Stores a batch and answers each submission, whatever happens."""
        try:
            stored = await self._execute(batch)
        except Unavailable as error:
            _fail(batch, error)
        except PartitionMissing:
            await self._divide(batch, _day_is_missing())
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            log.error(
                "the database refused a batch",
                kind=self._writer.kind,
                sqlstate=error.sqlstate,
                requests=len(batch),
            )
            await self._divide(batch, error)
        except asyncpg.PostgresError as error:  # a fault of ours: loud, and the others go on
            log.exception("storing failed", kind=self._writer.kind, sqlstate=error.sqlstate)
            _fail(batch, error)
        else:
            self._answer(batch, stored)

    async def _divide(self, batch: list[Submission[RowT]], error: Exception) -> None:
        if len(batch) == 1:
            _fail(batch, error)
            return
        half = len(batch) // 2
        await self._store(batch[:half])
        await self._store(batch[half:])

    async def _execute(self, batch: list[Submission[RowT]]) -> Stored:
        self._metrics.batch.observe(sum(len(s.rows) for s in batch))
        for attempt in range(1, TRIES):
            try:
                async with self._db.connection(CHECKOUT_SECONDS) as connection:
                    return await self._writer.write(connection, batch)
            except Unavailable as error:
                log.warning(
                    "storing failed",
                    kind=self._writer.kind,
                    attempt=attempt,
                    cause=error.message,
                )
                await asyncio.sleep(RETRY_SECONDS * 2**attempt)
        async with self._db.connection(CHECKOUT_SECONDS) as connection:
            return await self._writer.write(connection, batch)

    def _answer(self, batch: list[Submission[RowT]], stored: Stored) -> None:
        self.counts.last_commit_at = time.time()
        start = 0
        for submission in batch:
            end = start + len(submission.rows)
            outcome = _outcome(submission, stored, start, end)
            start = end
            self.counts.accepted += outcome.accepted
            self.counts.duplicates += outcome.duplicates
            self._metrics.accepted.inc(outcome.accepted)
            self._metrics.duplicates.inc(outcome.duplicates)
            if not submission.done.done():
                submission.done.set_result(outcome)

    def count_refused(self, records: int) -> None:
        """Counts records that were refused, by whoever refused them."""
        self.counts.refused += records
        self._metrics.refused.inc(records)


def rows_of(batch: Sequence[Submission[RowT]]) -> list[RowT]:
    """The rows of a batch, one after the other."""
    return [row for s in batch for row in s.rows]


def tenants_of(batch: Sequence[Submission[Any]]) -> list[UUID]:
    """The tenant of each row of a batch."""
    return [s.tenant_id for s in batch for _ in s.rows]


def requests_of(batch: Sequence[Submission[Any]]) -> list[int]:
    """The request of each row of a batch, from 1, negative if it wants all or nothing."""
    return [-number if s.atomic else number for number, s in enumerate(batch, 1) for _ in s.rows]


def _outcome(submission: Submission[Any], stored: Stored, start: int, end: int) -> Outcome:
    count = end - start
    if stored.all_stored:
        return Outcome(count, 0)
    unknown = frozenset(i - start for i in stored.unknown if start <= i < end)
    retired = frozenset(i - start for i in stored.retired if start <= i < end)
    if submission.atomic and (unknown or retired):
        return Outcome(0, 0, unknown, retired)
    accepted = bisect_left(stored.positions, end) - bisect_left(stored.positions, start)
    return Outcome(accepted, count - accepted - len(unknown) - len(retired), unknown, retired)


def _day_is_missing() -> Unavailable:
    return Unavailable(
        "DATABASE_UNAVAILABLE",
        "The partition for a day of these records is in the making; nothing was stored.",
        {"cause": "PartitionMissing"},
        retry_after_seconds=1.0,
    )


def _fail(batch: Iterable[Submission[Any]], error: Exception) -> None:
    for submission in batch:
        if not submission.done.done():
            submission.done.set_exception(error)
