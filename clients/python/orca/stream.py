"""A stream that survives breaks: batches of records or events in, receipts out, in order.

Three parts work on one window of unanswered batches: the feeder takes batches from the
caller's source while there is room, the sender writes what the current stream has not
sent, the receiver takes receipts from the front. When a stream breaks, only sender and
receiver are made anew; the window is what must be sent again.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import grpc

from orca.calls import Calls
from orca.errors import OrcaError, ServerError, Unavailable, from_rpc_error


class _Numbered(Protocol):
    """A request or receipt of a batch."""

    batch_id: str


RecordT = TypeVar("RecordT")
RequestT = TypeVar("RequestT", bound=_Numbered)
ReceiptT = TypeVar("ReceiptT", bound=_Numbered)
Batches = Iterable[Sequence[RecordT]] | AsyncIterable[Sequence[RecordT]]
Make = Callable[[Sequence[RecordT], str], RequestT]
"""Makes the request of a batch, from its records and its number."""

# A stream that ends like this may be opened again. The last three only when the server
# gave no reason, for then it was the connection that broke.
_BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
_BROKEN_WITHOUT_REASON = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream behaves.

    Attributes:
        in_flight: Batches on their way at a time.
        max_attempts: Streams opened without one receipt between them, before it gives up.
        first_backoff_seconds: Pause after the first break, doubled by each that follows.
        max_backoff_seconds: Longest pause.
        stall_seconds: A stream without a receipt for so long counts as broken.
    """

    in_flight: int = 8
    max_attempts: int = 8
    first_backoff_seconds: float = 0.1
    max_backoff_seconds: float = 5.0
    stall_seconds: float = 60.0


@dataclass(slots=True)
class _Window(Generic[RecordT, RequestT]):
    """The batches that have no receipt yet.

    Attributes:
        make: Makes their requests.
        free: Places for more.
        unanswered: The batches, oldest first.
        first: Number of the oldest of them.
        unsent: Number of the first that the current stream has not sent.
        ended: Whether the source has no more.
        changed: Set when there is something new to send.
    """

    make: Make[RecordT, RequestT]
    free: asyncio.Semaphore
    unanswered: deque[RequestT] = field(default_factory=deque)
    first: int = 0
    unsent: int = 0
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def done(self) -> bool:
        """Whether all batches of the source have their receipts."""
        return self.ended and not self.unanswered

    async def feed(self, batches: Batches[RecordT]) -> None:
        """Takes batches from the source while there is room."""
        try:
            number = 0
            async for batch in _each(batches):
                await self.free.acquire()
                self.unanswered.append(self.make(batch, str(number)))
                self.changed.set()
                number += 1
        finally:
            self.ended = True
            self.changed.set()

    async def send(self, call: grpc.aio.StreamStreamCall[RequestT, ReceiptT]) -> None:
        """Writes to a stream what it has not sent; ends when it breaks."""
        # The receiver learns why it broke.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            while True:
                while self.unsent < self.first + len(self.unanswered):
                    request = self.unanswered[self.unsent - self.first]
                    self.unsent += 1
                    await call.write(request)
                if self.ended:
                    await call.done_writing()
                    return
                self.changed.clear()
                await self.changed.wait()

    def answer(self, receipt: _Numbered) -> None:
        """Takes the receipt of the oldest batch."""
        if not self.unanswered or receipt.batch_id != self.unanswered[0].batch_id:
            raise ServerError(
                f"The server sent a receipt out of turn: batch {receipt.batch_id!r}.",
                reason="RECEIPT_OUT_OF_TURN",
            )
        self.unanswered.popleft()
        self.first += 1
        self.free.release()


async def stream_batches(
    method: grpc.aio.StreamStreamMultiCallable[RequestT, ReceiptT],
    make: Make[RecordT, RequestT],
    calls: Calls,
    batches: Batches[RecordT],
    settings: StreamSettings | None = None,
) -> AsyncIterator[ReceiptT]:
    """The receipts; see `Telemetry.stream` and `Events.stream`."""
    limits = settings or StreamSettings()
    window = _Window(make, asyncio.Semaphore(limits.in_flight))
    feeder = asyncio.create_task(window.feed(batches))
    attempts = 0
    try:
        while True:
            try:
                async for receipt in _one_stream(method, calls, window, limits.stall_seconds):
                    attempts = 0
                    yield receipt
                break
            except OrcaError as error:
                attempts += 1
                if attempts >= limits.max_attempts or not _is_break(error):
                    raise
                await asyncio.sleep(_pause(attempts, error, limits))
        await feeder  # raises what the source raised, after the receipts of what came before
    finally:
        await _end(feeder)


async def _one_stream(
    method: grpc.aio.StreamStreamMultiCallable[RequestT, ReceiptT],
    calls: Calls,
    window: _Window[RecordT, RequestT],
    stall_seconds: float,
) -> AsyncIterator[ReceiptT]:
    """The receipts of one stream, until all are there or it breaks."""
    if window.done:
        return
    request_id, metadata = calls.metadata()
    call = method(metadata=metadata)
    window.unsent = window.first
    sender = asyncio.create_task(window.send(call))
    # Not call.read(): once a stream has broken, that forgets the receipts which came before.
    receipts = aiter(call)
    try:
        while (receipt := await _next(receipts, window, stall_seconds, request_id)) is not None:
            window.answer(receipt)
            yield receipt
        if not window.done:
            raise Unavailable("The server ended the stream early.", request_id=request_id)
    finally:
        await _end(sender)
        call.cancel()


async def _next(
    receipts: AsyncIterator[ReceiptT],
    window: _Window[RecordT, RequestT],
    stall_seconds: float,
    request_id: str,
) -> ReceiptT | None:
    """The next receipt; None at the end of the stream.

    Raises:
        OrcaError: If the stream broke, or stalled with batches unanswered.
    """
    reading = asyncio.ensure_future(anext(receipts, None))
    try:
        while True:
            waited_for = window.first + len(window.unanswered)
            done, _ = await asyncio.wait({reading}, timeout=stall_seconds)
            if done:
                return reading.result()
            if window.first < waited_for:  # one of those that were there is still unanswered
                raise Unavailable(
                    f"No receipt for {stall_seconds:g} seconds.", request_id=request_id
                )
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, request_id) from error
    finally:
        await _end(reading)


async def _each(batches: Batches[RecordT]) -> AsyncIterator[Sequence[RecordT]]:
    if isinstance(batches, AsyncIterable):
        async for batch in batches:
            yield batch
        return
    for batch in batches:
        yield batch
        await asyncio.sleep(0)  # a long list must not keep the loop from receipts


def _is_break(error: OrcaError) -> bool:
    """Whether a new stream may do better."""
    if error.code is None:
        return isinstance(error, Unavailable)
    return error.code in _BROKEN or (error.code in _BROKEN_WITHOUT_REASON and not error.reason)


def _pause(attempts: int, error: OrcaError, limits: StreamSettings) -> float:
    """Seconds until the next stream: doubled each time, jittered, as long as asked for."""
    longest: float = min(
        limits.max_backoff_seconds, limits.first_backoff_seconds * 2 ** (attempts - 1)
    )
    jittered = longest * random.uniform(0.5, 1)  # noqa: S311 - not a secret
    return max(jittered, error.retry_after_seconds or 0.0)


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancels the task if it runs, and waits for it; what it raised was taken elsewhere."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def batched(records: Iterable[RecordT], size: int = 500) -> Iterator[list[RecordT]]:
    """The records in lists of `size`, the last one shorter."""
    batch: list[RecordT] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
