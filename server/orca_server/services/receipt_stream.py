"""Streams of batches that are answered with receipts, in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic

from google.protobuf.message import Message
from grpc.aio import ServicerContext

from orca_server.domain.access import Caller
from orca_server.domain.errors import Unavailable
from orca_server.domain.telemetry import Columns, Refusal
from orca_server.runtime.ingest import Outcome
from orca_server.services.authentication import current_caller
from orca_server.services.intake import Batch, Intake, RowT

STREAM_BATCHES_AHEAD = 8
MOST_BATCH_ID = 200

Context = ServicerContext[Any, Any]
Decode = Callable[[Caller, Sequence[Any]], Awaitable[Batch[RowT]]]
"""Makes rows of the records of a request."""
Receipt = Callable[[str, Outcome, Sequence[Refusal]], Message]
"""A batch's receipt: of its id, what became of it, and what was refused."""


class _Ahead(Generic[RowT]):
    """Batches of one stream, by id, that were read and not answered yet; None ends them."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[tuple[str, Batch[RowT]] | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(STREAM_BATCHES_AHEAD)

    def abandon(self) -> None:
        """Takes batches that nobody will hear of out of the ingest queue."""
        while not self.batches.empty():
            found = self.batches.get_nowait()
            if found is not None and (done := found[1].done) is not None:
                done.cancel()


class ReceiptStreams(Generic[RowT]):
    """All streams of one method."""

    def __init__(
        self,
        intake: Intake[RowT],
        decode: Decode[RowT],
        receipt: Receipt,
        caller: Callable[[], Caller] = current_caller,
    ) -> None:
        """Has none yet.

        Args:
            intake: Takes the batches.
            decode: Makes rows of them.
            receipt: Makes their receipts.
            caller: Finds who sends a stream, and refuses those who may not.
        """
        self._intake = intake
        self._decode = decode
        self._receipt = receipt
        self._caller = caller
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def drain(self) -> None:
        """Reads no more of any stream; each ends once what was read is answered."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def serve(self, requests: AsyncIterator[Any], context: Context) -> None:
        """Stores batches as they come and sends their receipts in order.

        A reader queues batches ahead of the receipts. When the server drains, the reader
        stops, what was read is answered, and the stream ends with `SERVER_DRAINING`.
        """
        if self._draining:  # a stream that came too late to be told
            raise _server_drains()
        caller = self._caller()
        ahead: _Ahead[RowT] = _Ahead()
        reader = asyncio.create_task(self._read(caller, requests, ahead), name="stream-reader")
        self._readers.add(reader)
        try:
            while (read := await ahead.batches.get()) is not None:
                batch_id, batch = read
                outcome, refusals = await self._intake.answer(caller, batch)
                await context.write(self._receipt(batch_id, outcome, refusals))
                ahead.room.release()
            await reader
        finally:
            self._readers.discard(reader)
            reader.cancel()
            await asyncio.wait([reader])
            ahead.abandon()
        if self._draining:
            raise _server_drains()

    async def _read(
        self, caller: Caller, requests: AsyncIterator[Any], ahead: _Ahead[RowT]
    ) -> None:
        try:
            async for request in requests:
                await ahead.room.acquire()
                records = getattr(request, self._intake.kind.field)
                if wrong := self._wrong(request.batch_id, len(records)):
                    columns: Columns[RowT] = Columns(refusals=[wrong])
                    batch = Batch(columns, {})
                else:
                    batch = await self._decode(caller, records)
                    batch = await self._intake.queue(caller, batch)
                ahead.batches.put_nowait((request.batch_id[:MOST_BATCH_ID], batch))
        except asyncio.CancelledError:
            if not self._draining:
                raise
        finally:
            ahead.batches.put_nowait(None)

    def _wrong(self, batch_id: str, records: int) -> Refusal | None:
        if len(batch_id) > MOST_BATCH_ID:
            said = f"has {len(batch_id)} characters, at most {MOST_BATCH_ID} are allowed"
            return Refusal(0, "batch_id", "TOO_LONG", said)
        return self._intake.wrong_size(records)


def _server_drains() -> Unavailable:
    return Unavailable(
        "SERVER_DRAINING",
        "The server stops; send the batches without a receipt on a new stream.",
        retry_after_seconds=1.0,
    )
