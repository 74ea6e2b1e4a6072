"""The one path by which telemetry becomes rows.

Callers submit the rows of a request and wait; flushers take what waits and store it in one
transaction per batch: by a short statement or COPY where a batch is a single row or large and
holds nothing but new rows, else by the statement that finds out about each. A submission is never
split over two transactions, and a caller is answered only after the commit. While few wait, a
batch leaves at once; under load a flusher lingers for a few milliseconds so that batches grow and
commits are shared.

What one caller does never touches another: a cancelled or expired submission is left out
of its batch, a batch that the database refuses is halved until the culprit stands alone.
"""

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter, Gauge, Histogram

from orca_server.domain.errors import Overloaded, Unavailable
from orca_server.domain.telemetry import Row
from orca_server.domain.telemetry_block import Block
from orca_server.runtime.linger import Linger
from orca_server.store.database import Connection, Database
from orca_server.store.telemetry import ALL_STORED, PartitionMissing, Stored, store_row, store_rows
from orca_server.store.telemetry_copy import copy_blocks

BATCH_ROWS = 2_000
COPY_ROWS = 250
COPIES_TO_SKIP = 32  # after one that failed: retries and strangers come in numbers
TRIES = 4
RETRY_SECONDS = 0.1
CHECKOUT_SECONDS = 5.0

log = structlog.get_logger(__name__)

RECORDS = Counter("orca_ingest_records", "Telemetry records by outcome.", ["outcome"])
SHED = Counter("orca_ingest_shed", "Requests turned away because the queue was full.")
BATCH = Histogram(
    "orca_ingest_batch_records",
    "Records per statement.",
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
)
COMMIT = Histogram("orca_ingest_commit_seconds", "Seconds from taking a batch to its commit.")
QUEUED = Gauge("orca_ingest_queued_records", "Records waiting for a batch.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one submission, whose rows are counted from 0.

    Attributes:
        accepted: Rows stored by it.
        duplicates: Rows that were stored before, or stand twice in it.
        unknown: Rows whose agent is unknown.
        retired: Rows whose agent is retired.
    """

    accepted: int
    duplicates: int
    unknown: frozenset[int] = frozenset()
    retired: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class _Submission:
    tenant_id: UUID
    rows: Sequence[Row]
    size_bytes: int
    atomic: bool
    done: asyncio.Future[Outcome]
    submitted_at: float


@dataclass(slots=True)
class IngestCounts:
    """What went through since the start."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    shed: int = 0
    last_commit_at: float | None = None


class Ingest:
    """A bounded queue and the flushers that empty it."""

    def __init__(
        self, db: Database, *, max_records: int, max_bytes: int, flushers: int = 2
    ) -> None:
        """Starts nothing yet; `run` does.

        Args:
            db: Where rows go.
            max_records: Most records that wait or are being stored.
            max_bytes: Most bytes that they take.
            flushers: Statements under way at the same time.
        """
        self._db = db
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._flushers = flushers
        self._queue: deque[_Submission] = deque()
        self._unanswered: dict[_Submission, None] = {}  # oldest first
        self._records = 0
        self._bytes = 0
        self._queued_records = 0
        self._under_way = 0
        self._copies_to_skip = 0
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
        self, tenant_id: UUID, rows: Sequence[Row], size_bytes: int, *, atomic: bool
    ) -> asyncio.Future[Outcome]:
        """Queues the rows of one request; the future is done after their commit.

        It fails with `Unavailable` if the database did not take them in several tries. They
        may have been stored: sending them again is safe. Cancelling it takes the rows out
        of the queue, as long as they are there.

        Args:
            tenant_id: Whose rows they are.
            rows: The rows, at least one.
            size_bytes: About what they take in memory.
            atomic: All or nothing: one unknown or retired agent keeps all rows out.

        Raises:
            Overloaded: If the queue is full; nothing was stored.
        """
        if not self._has_room(len(rows), size_bytes):
            self.counts.shed += 1
            SHED.inc()
            raise Overloaded(
                "INGEST_QUEUE_FULL",
                "The ingest queue is full; nothing was stored. Send the same request again.",
                retry_after_seconds=1.0,
            )
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        submission = _Submission(tenant_id, rows, size_bytes, atomic, done, time.monotonic())
        self._unanswered[submission] = None
        self._queue.append(submission)
        self._records += len(rows)
        self._queued_records += len(rows)
        self._bytes += size_bytes
        self._under_way += 1
        self._waiting.set()
        done.add_done_callback(lambda _: self._release(submission))
        return done

    def _release(self, submission: _Submission) -> None:
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
            COMMIT.observe(time.monotonic() - started)
            QUEUED.set(self._queued_records)

    async def _take(self) -> list[_Submission]:
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

    def _pop(self) -> list[_Submission]:
        batch: list[_Submission] = []
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

    async def _store(self, batch: list[_Submission]) -> None:
        """Stores a batch and answers each submission, whatever happens."""
        try:
            stored = await self._execute(batch)
        except Unavailable as error:
            _fail(batch, error)
        except PartitionMissing:
            await self._divide(batch, _day_is_missing())
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            log.error("the database refused a batch", sqlstate=error.sqlstate, requests=len(batch))
            await self._divide(batch, error)
        except asyncpg.PostgresError as error:  # a fault of ours: loud, and the others go on
            log.exception("storing telemetry failed", sqlstate=error.sqlstate)
            _fail(batch, error)
        else:
            self._answer(batch, stored)

    async def _divide(self, batch: list[_Submission], error: Exception) -> None:
        if len(batch) == 1:
            _fail(batch, error)
            return
        half = len(batch) // 2
        await self._store(batch[:half])
        await self._store(batch[half:])

    async def _execute(self, batch: list[_Submission]) -> Stored:
        BATCH.observe(sum(len(s.rows) for s in batch))
        for attempt in range(1, TRIES):
            try:
                async with self._db.connection(CHECKOUT_SECONDS) as connection:
                    return await self._write(connection, batch)
            except Unavailable as error:
                log.warning("storing telemetry failed", attempt=attempt, cause=error.message)
                await asyncio.sleep(RETRY_SECONDS * 2**attempt)
        async with self._db.connection(CHECKOUT_SECONDS) as connection:
            return await self._write(connection, batch)

    async def _write(self, connection: Connection, batch: list[_Submission]) -> Stored:
        """Tries the short ways if they promise anything, else finds out about each row."""
        if len(batch) == 1 == len(batch[0].rows) and await store_row(
            connection, batch[0].tenant_id, batch[0].rows[0]
        ):
            return ALL_STORED
        blocks = [s.rows for s in batch if isinstance(s.rows, Block)]
        if len(blocks) == len(batch) and self._may_copy(batch):
            if await copy_blocks(connection, batch[0].tenant_id, blocks):
                return ALL_STORED
            self._copies_to_skip = COPIES_TO_SKIP
        rows = [row for s in batch for row in s.rows]
        tenants = [s.tenant_id for s in batch for _ in s.rows]
        requests = [
            -number if s.atomic else number for number, s in enumerate(batch, 1) for _ in s.rows
        ]
        return await store_rows(connection, tenants, rows, requests)

    def _may_copy(self, batch: list[_Submission]) -> bool:
        """Whether there are many rows, of one tenant, and COPY did not fail just now."""
        if sum(len(s.rows) for s in batch) < COPY_ROWS or any(
            s.tenant_id != batch[0].tenant_id for s in batch
        ):
            return False
        self._copies_to_skip = max(0, self._copies_to_skip - 1)
        return not self._copies_to_skip

    def _answer(self, batch: list[_Submission], stored: Stored) -> None:
        self.counts.last_commit_at = time.time()
        start = 0
        for submission in batch:
            end = start + len(submission.rows)
            outcome = _outcome(submission, stored, start, end)
            start = end
            self.counts.accepted += outcome.accepted
            self.counts.duplicates += outcome.duplicates
            _ACCEPTED.inc(outcome.accepted)
            _DUPLICATES.inc(outcome.duplicates)
            if not submission.done.done():
                submission.done.set_result(outcome)

    def count_refused(self, records: int) -> None:
        """Counts records that were refused, by whoever refused them."""
        self.counts.refused += records
        _REFUSED.inc(records)


_ACCEPTED = RECORDS.labels("accepted")
_DUPLICATES = RECORDS.labels("duplicate")
_REFUSED = RECORDS.labels("refused")


def _outcome(submission: _Submission, stored: Stored, start: int, end: int) -> Outcome:
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


def _fail(batch: list[_Submission], error: Exception) -> None:
    for submission in batch:
        if not submission.done.done():
            submission.done.set_exception(error)
