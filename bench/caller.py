"""The load generator: callers of gRPC in a process of their own, on uvloop.

Requests are serialized before the clock starts, so the generator's share of the machine is the
same for the product and for its ceiling. Calls carry a deadline, as the product's client sets it.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import grpc
import uvloop

from bench import records
from bench.child import serve_orders

DEADLINE_SECONDS = 30.0
STREAM = "/orca.v1.AgentService/StreamTelemetry"
STREAM_AHEAD = 8
"""Messages that a stream sends before it waits for a receipt."""
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)  # a channel is a connection

Metadata = tuple[tuple[str, str], ...]


class Caller:
    """Calls, as fast as answers come."""

    def __init__(self) -> None:
        """Knows nobody yet."""
        self._channels: dict[str, list[grpc.aio.Channel]] = {}
        self._requests: list[bytes] = []

    async def prepare_records(self, agents: list[str], first: int, count: int) -> None:
        """Makes RecordTelemetry requests."""
        self._requests = records.unary_requests(agents, first, count)

    async def prepare_messages(self, agents: list[str], first: int, messages: int) -> None:
        """Makes StreamTelemetry messages."""
        self._requests = [
            request.SerializeToString()
            for request in records.stream_requests(agents, first, messages)
        ]

    async def prepare(self, requests: list[str], count: int) -> None:
        """Takes requests as hexadecimal text, in turn, `count` in all."""
        decoded = [bytes.fromhex(request) for request in requests]
        self._requests = list(itertools.islice(itertools.cycle(decoded), count))

    async def unary(
        self, target: str, method: str, in_flight: int, token: str = "", connections: int = 1
    ) -> dict[str, float]:
        """Sends what was prepared, so many at a time; seconds in all and the median of one."""
        calls: list[Any] = [
            channel.unary_unary(method) for channel in await self._open(target, connections)
        ]
        seconds: list[float] = []
        waiting = iter(self._requests)
        started = time.perf_counter()
        await asyncio.gather(
            *(
                _call(calls[number % connections], waiting, _metadata(token), seconds)
                for number in range(in_flight)
            )
        )
        elapsed = time.perf_counter() - started
        return {"seconds": elapsed, "p50": statistics.median(seconds), "calls": len(seconds)}

    async def stream(
        self, target: str, streams: int, token: str, limit_seconds: float = 1e9
    ) -> dict[str, float]:
        """Streams what was prepared, at most for so long; records stored and seconds it took."""
        waiting = iter(self._requests)
        started = time.perf_counter()
        channels = await self._open(target, streams)
        counts = await asyncio.gather(
            *(
                _stream(channel, waiting, _metadata(token), started + limit_seconds)
                for channel in channels
            )
        )
        return {"seconds": time.perf_counter() - started, "records": sum(counts)}

    async def _open(self, target: str, connections: int) -> Sequence[grpc.aio.Channel]:
        channels = self._channels.setdefault(target, [])
        while len(channels) < connections:
            channels.append(grpc.aio.insecure_channel(target, OPTIONS))
        for channel in channels:
            await asyncio.wait_for(channel.channel_ready(), DEADLINE_SECONDS)
        return channels[:connections]


def _metadata(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),) if token else ()


async def _call(
    call: Any, waiting: Iterator[bytes], metadata: Metadata, seconds: list[float]
) -> None:
    for request in waiting:
        started = time.perf_counter()
        await call(request, metadata=metadata, timeout=DEADLINE_SECONDS)
        seconds.append(time.perf_counter() - started)


async def _stream(
    channel: grpc.aio.Channel, waiting: Iterator[bytes], metadata: Metadata, deadline: float
) -> int:
    """Records that one stream's receipts say are stored."""
    from orca.v1 import agent_service_pb2

    ahead = asyncio.Semaphore(STREAM_AHEAD)

    async def messages() -> AsyncIterator[bytes]:
        for message in waiting:
            await ahead.acquire()
            if time.perf_counter() > deadline:
                return
            yield message

    accepted = 0
    parse = agent_service_pb2.StreamTelemetryResponse.FromString
    call: Any = channel.stream_stream(STREAM, None, parse)
    async for receipt in call(messages(), metadata=metadata):
        assert not receipt.refused, receipt
        assert not receipt.duplicates, receipt
        accepted += receipt.accepted
        ahead.release()
    return accepted


async def serve() -> None:
    """Answers until the parent is gone."""
    caller = Caller()
    await serve_orders(
        {
            "prepare": caller.prepare,
            "prepare_records": caller.prepare_records,
            "prepare_messages": caller.prepare_messages,
            "unary": caller.unary,
            "stream": caller.stream,
        }
    )


if __name__ == "__main__":
    uvloop.run(serve())
