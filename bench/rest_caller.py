"""The load generator for REST: HTTP/1.1 keep-alive at the least cost that Python can do it.

A protocol per connection sends one request, reads status and content-length, and sends the next;
it does not parse what it does not need, so that the gateway is measured and not the generator.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import cast

import uvloop

from bench.child import serve_orders

_LENGTH = b"content-length: "


class _Connection(asyncio.Protocol):
    """Sends what is left of the requests, one after the other."""

    def __init__(self, waiting: Iterator[bytes], seconds: list[float]) -> None:
        self._waiting = waiting
        self._seconds = seconds
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._started = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is ready; `send` starts it."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def send(self) -> None:
        """Sends the next request, if there is one."""
        request = next(self._waiting, None)
        if request is None:
            self.done.set_result(None)
            return
        assert self._transport is not None
        self._started = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Reads a response; once it is complete, sends the next request."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(self._received.decode()))
            return
        start = head.lower().index(_LENGTH) + len(_LENGTH)
        if len(body) < int(head[start:].partition(b"\r\n")[0]):
            return
        self._received = b""
        self._seconds.append(time.perf_counter() - self._started)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Was not expected before the end."""
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the gateway closed a connection"))

    def close(self) -> None:
        """Hangs up."""
        assert self._transport is not None
        self._transport.close()


class RestCaller:
    """Gets, as fast as answers come."""

    def __init__(self) -> None:
        """Knows no request yet."""
        self._requests: list[bytes] = []

    async def prepare(self, paths: list[str], count: int, token: str) -> None:
        """Makes the requests: the paths in turn, `count` in all."""
        made = [
            f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
            for path in paths
        ]
        self._requests = [made[number % len(made)].encode() for number in range(count)]

    async def get(self, port: int, connections: int) -> dict[str, float]:
        """Sends what was prepared over so many connections."""
        loop = asyncio.get_running_loop()
        waiting, seconds = iter(self._requests), list[float]()
        opened = []
        for _ in range(connections):
            made = await loop.create_connection(
                lambda: _Connection(waiting, seconds), "127.0.0.1", port
            )
            opened.append(made[1])
        started = time.perf_counter()
        for connection in opened:
            connection.send()
        await asyncio.gather(*(connection.done for connection in opened))
        elapsed = time.perf_counter() - started
        for connection in opened:
            connection.close()
        return {"seconds": elapsed, "p50": statistics.median(seconds), "calls": len(seconds)}


async def serve() -> None:
    """Answers until the parent is gone."""
    caller = RestCaller()
    await serve_orders({"prepare": caller.prepare, "get": caller.get})


if __name__ == "__main__":
    uvloop.run(serve())
