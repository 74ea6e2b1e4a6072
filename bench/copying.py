"""The ceiling of streams: raw COPY of the same rows, encoded before the clock starts."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import asyncpg
import uvloop

from bench import records
from bench.child import serve_orders
from orca_server.domain.access import DEFAULT_TENANT

CHUNK = 65536


async def serve(url: str, connections: int) -> None:
    """Answers until the parent is gone."""
    opened = [await asyncpg.connect(url) for _ in range(connections)]
    prepared: list[bytes] = []

    async def prepare(agents: list[str], first: int, messages: int) -> None:
        """Encodes the rows of these messages, a share per connection."""
        prepared.clear()
        share = messages // connections
        for number in range(connections):
            requests = records.stream_requests(agents, first + number * share, share)
            rows = [row for each in requests for row in records.rows_of(each.records)]
            prepared.append(records.copy_bytes(DEFAULT_TENANT, rows))

    async def copy() -> float:
        """Seconds until all connections have committed one COPY each."""
        started = time.perf_counter()
        await asyncio.gather(*(_copy(c, data) for c, data in zip(opened, prepared, strict=True)))
        return time.perf_counter() - started

    await serve_orders({"prepare": prepare, "copy": copy})
    for connection in opened:
        await connection.close()


async def _copy(connection: asyncpg.Connection, data: bytes) -> None:
    await connection.copy_to_table(
        "telemetry", source=_chunks(data), columns=records.COPY_COLUMNS, format="binary"
    )


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
