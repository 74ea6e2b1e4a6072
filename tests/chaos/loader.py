"""Load that outlives servers: streams and unary calls, retried exactly as they were.

`python -m tests.chaos.loader TARGET SEED NEWEST_HOUR` sends until its standard input ends, then
waits for the answers that are missing, and ends. What it does it says on standard output, for the
ledger (see tests.chaos.ledger), a batch before it is sent.
"""

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from orca.v1 import agent_service_pb2_grpc, workflow_service_pb2_grpc
from tests.chaos import batches, event_batches
from tests.chaos.batches import Batch

WINDOW = 4
RETRY_SECONDS = 0.05
WRITE_FAILED = "Internal error from Core"
"""What grpc.aio itself says, with code INTERNAL, when a stream broke that it writes to."""
AGAIN_EVERY = 10
"""Each so many batches, the one before is sent again although it was answered."""
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What lanes send.

    Attributes:
        make: Makes their batches.
        stub: Of the service.
        stream: Its method for streams.
        call: Its unary method.
        streams: How many lanes stream.
        callers: How many lanes call.
    """

    make: Callable[[int, int, str, int], Batch]
    stub: Callable[[grpc.aio.Channel], Any]
    stream: str
    call: str
    streams: int
    callers: int


KINDS = {
    "": Kind(
        batches.make,
        agent_service_pb2_grpc.AgentServiceStub,
        "StreamTelemetry",
        "RecordTelemetry",
        streams=3,
        callers=4,
    ),
    "event-": Kind(
        event_batches.make,
        workflow_service_pb2_grpc.WorkflowServiceStub,
        "StreamEvents",
        "RecordEvents",
        streams=2,
        callers=2,
    ),
}
"""By what the names of their lanes begin with."""


def say(event: str, **what: Any) -> None:
    """Hands a line to the ledger: it is out of this process when this returns."""
    line = json.dumps({"at": time.monotonic_ns(), "event": event, **what}) + "\n"
    data = line.encode()
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def say_broke(lane: str, error: grpc.aio.AioRpcError) -> None:
    """Tells how a call or stream ended: by the server's word, or by the connection."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
    code, message = error.code().name, error.details()
    if message == WRITE_FAILED:
        code = "WRITE_FAILED"
    say("broke", lane=lane, code=code, reason=info.reason, message=message)


@dataclass
class Lane:
    """One stream or one caller: its batches one after the other."""

    name: str
    kind: Kind
    seed: int
    newest_hour: int
    unanswered: deque[Batch] = field(default_factory=deque)
    _number: int = 0
    _again: bool = False

    def next(self) -> Batch:
        """The next batch, entered in the ledger as sent."""
        if self._again and self._number:
            self._again = False
            batch = self._make(self._number - 1)
            say("resent", batch=batch.name)
        else:
            batch = self._make(self._number)
            self._number += 1
            self._again = self._number % AGAIN_EVERY == 0
            say("sent", batch=batch.name, good=batch.good, bad=batch.bad)
        self.unanswered.append(batch)
        return batch

    def answered(self, accepted: int, duplicates: int, refused: int) -> None:
        """Enters the acknowledgement of the oldest unanswered batch."""
        batch = self.unanswered.popleft()
        assert accepted + duplicates + refused == len(batch.records), batch.name
        say(
            "acknowledged",
            batch=batch.name,
            accepted=accepted,
            duplicates=duplicates,
            refused=refused,
        )

    def _make(self, number: int) -> Batch:
        return self.kind.make(self.seed, self.newest_hour, self.name, number)


class Loader:
    """All lanes, on one channel each."""

    def __init__(self, target: str, seed: int, newest_hour: int) -> None:
        """Sends nothing yet.

        Args:
            target: host:port of the server, the same after each restart.
            seed: Of the batches.
            newest_hour: The last hour that records may lie in, seconds since 1970.
        """
        self._target = target
        self._seed = seed
        self._newest_hour = newest_hour
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Sends until `stopping` is set and all is answered."""
        async with asyncio.TaskGroup() as group:
            for name, kind in KINDS.items():
                for number in range(kind.streams):
                    group.create_task(self._lane(f"{name}stream{number}", kind, self._stream))
                for number in range(kind.callers):
                    group.create_task(self._lane(f"{name}call{number}", kind, self._call))

    async def _lane(self, name: str, kind: Kind, work: Any) -> None:
        lane = Lane(name, kind, self._seed, self._newest_hour)
        async with grpc.aio.insecure_channel(self._target, options=OPTIONS) as channel:
            stub = kind.stub(channel)
            while not (self.stopping.is_set() and not lane.unanswered):
                try:
                    await work(stub, lane)
                except grpc.aio.AioRpcError as error:
                    say_broke(name, error)
                    await asyncio.sleep(RETRY_SECONDS)

    async def _stream(self, stub: Any, lane: Lane) -> None:
        """One stream, until it breaks or all is sent and answered."""
        call = getattr(stub, lane.kind.stream)(wait_for_ready=True)
        for batch in lane.unanswered:
            say("resent", batch=batch.name)
            await _write(call, batch)
        while True:
            while len(lane.unanswered) < WINDOW and not self.stopping.is_set():
                await _write(call, lane.next())
            if not lane.unanswered:
                await call.done_writing()
                assert await call.read() is grpc.aio.EOF, "a receipt for nothing"
                return
            receipt = await call.read()
            if receipt is grpc.aio.EOF:
                raise AssertionError("the stream ended without an error and without receipts")
            assert receipt.batch_id == lane.unanswered[0].name, "a receipt out of turn"
            _check_refusals(lane.unanswered[0], receipt)
            lane.answered(receipt.accepted, receipt.duplicates, len(receipt.refused))

    async def _call(self, stub: Any, lane: Lane) -> None:
        """One unary call, the same as before if that one has no answer."""
        if lane.unanswered:
            say("resent", batch=lane.unanswered[0].name)
        batch = lane.unanswered[0] if lane.unanswered else lane.next()
        answer, error = await _record(getattr(stub, lane.kind.call), batch)
        if error is not None and error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise error
        assert (error is not None) == bool(batch.bad), f"{batch.name}: {error}"
        if answer is None:
            lane.unanswered.popleft()
            say("refused", batch=batch.name)
        else:
            lane.answered(answer.accepted, answer.duplicates, 0)


async def _record(call: Any, batch: Batch) -> tuple[Any, grpc.aio.AioRpcError | None]:
    try:
        return await call(batch.for_call, wait_for_ready=True), None
    except grpc.aio.AioRpcError as error:
        return None, error


async def _write(call: Any, batch: Batch) -> None:
    try:
        await call.write(batch.for_stream)
    except asyncio.InvalidStateError:  # it has ended; reading says how
        await call.read()
        raise AssertionError("a stream that has ended gives an error") from None


def _check_refusals(batch: Batch, receipt: Any) -> None:
    refused = {batch.records[each.index].attributes[batches.LEDGER_KEY] for each in receipt.refused}
    assert refused == set(batch.bad), f"{batch.name}: {receipt.refused}"


async def _until_input_ends(stopping: asyncio.Event) -> None:
    await asyncio.to_thread(sys.stdin.buffer.read)
    stopping.set()


async def main() -> None:
    """Runs the loader that the arguments describe."""
    loader = Loader(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    ends: Awaitable[None] = _until_input_ends(loader.stopping)
    async with asyncio.TaskGroup() as group:
        group.create_task(loader.run())
        group.create_task(ends)


if __name__ == "__main__":
    asyncio.run(main())
