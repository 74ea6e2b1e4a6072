"""Processes of the bench's own: one JSON line asks, one JSON line answers.

A child serves until its standard input ends, so it never outlives its parent.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

LONGEST_LINE = 2**26
"""Orders carry the ids of whole fleets."""

Handler = Callable[..., Awaitable[Any]]


class Child:
    """The parent's side of a child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Keeps the process; see `running_child`."""
        self._process = process

    async def ask(self, order: str, **arguments: Any) -> Any:
        """The child's answer.

        Raises:
            RuntimeError: If the child ended instead.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": order, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        return await self._answer()

    async def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a child ended with status {await self._process.wait()}")
        return json.loads(line)

    async def end(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@contextlib.asynccontextmanager
async def running_child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """`python -m bench.<module>`; gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"bench.{module}", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    child = Child(process)
    try:
        yield child
    finally:
        await child.end()


async def serve_orders(handlers: Mapping[str, Handler]) -> None:
    """The child's side: answers orders until the parent is gone."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        arguments = json.loads(line)
        answer = await handlers[arguments.pop("do")](**arguments)
        os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")
