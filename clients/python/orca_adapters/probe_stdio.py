"""A started MCP server, as a transport of the `mcp` library.

The library has one too; this one gives the command exactly the environment it is given, bounds
what it may print, tells what it printed that was no MCP, and leaves nobody of its process group.
"""

import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import mcp_types
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from orca_adapters.probe_limits import Limits

Incoming = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]

MAX_LINE_BYTES = 8 * 1024 * 1024
"""The longest message that is read; a longer one is no MCP."""
_GRACE_SECONDS = 1.0
_POLL_SECONDS = 0.01
_ERROR_TAIL_BYTES = 4096
_CLOSED = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError)


@dataclass(frozen=True, slots=True)
class Start:
    """How a server is started.

    Attributes:
        command: Program and arguments.
        environment: All of its environment.
        folder: Where it runs.
        limits: What it may use.
    """

    command: Sequence[str]
    environment: dict[str, str]
    folder: Path
    limits: Limits

    @property
    def arguments(self) -> list[str]:
        """The command under its limits."""
        ours = [sys.executable, "-I", "-m", "orca_adapters.probe_limits", self.limits.to_json()]
        return [*ours, *self.command]


@dataclass(slots=True)
class Seen:
    """What was seen of a started server.

    Attributes:
        messages: Lines that were JSON-RPC.
        garbage: Lines that were not, or one that never ended.
        exit_code: Of the program; negative: the signal; None: it had to be killed.
        last_words: The last line that it wrote to standard error.
    """

    messages: int = 0
    garbage: int = 0
    exit_code: int | None = None
    last_words: str = ""


@asynccontextmanager
async def started(start: Start, seen: Seen) -> AsyncIterator[Streams]:
    """The streams of a server that runs as long as the context does.

    Raises:
        OSError: If not even our own interpreter can be started there.
    """
    with tempfile.TemporaryFile() as errors:
        process = await anyio.open_process(
            start.arguments,
            stderr=errors,
            cwd=start.folder,
            env=start.environment,
            start_new_session=True,
        )
        to_session, from_server = anyio.create_memory_object_stream[Incoming](0)
        to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            async with (
                to_session,
                from_server,
                to_server,
                from_session,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(_read, process, to_session, seen)
                tasks.start_soon(_write, process, from_session)
                try:
                    yield from_server, to_server
                finally:
                    with anyio.CancelScope(shield=True):
                        seen.exit_code = await _stop(process)
                    tasks.cancel_scope.cancel()
        finally:
            _kill_group(process.pid)
            seen.last_words = _last_line(errors.fileno())


async def _read(process: Process, to_session: MemoryObjectSendStream[Incoming], seen: Seen) -> None:
    """Hands on what the server prints, line by line."""
    assert process.stdout is not None  # noqa: S101 - it was opened with pipes
    buffer = bytearray()
    with suppress(*_CLOSED):
        async with to_session:
            while len(buffer) <= MAX_LINE_BYTES:
                chunk = await process.stdout.receive()
                searched = len(buffer)
                buffer += chunk
                while (end := buffer.find(b"\n", searched)) >= 0:
                    line, searched = bytes(buffer[:end]), 0
                    del buffer[: end + 1]
                    if line.strip():
                        await to_session.send(_parse(line, seen))
            seen.garbage += 1
    seen.garbage += bool(buffer.strip()) and seen.messages == 0


def _parse(line: bytes, seen: Seen) -> Incoming:
    try:
        message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError as error:
        seen.garbage += 1
        return error
    seen.messages += 1
    return SessionMessage(message)


async def _write(process: Process, from_session: MemoryObjectReceiveStream[SessionMessage]) -> None:
    """Sends what the session says; ends when nobody listens, which the reader then sees too."""
    assert process.stdin is not None  # noqa: S101 - it was opened with pipes
    with suppress(*_CLOSED):
        async for each in from_session:
            text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
            await process.stdin.send(text.encode() + b"\n")


async def _stop(process: Process) -> int | None:
    """Ends the server as MCP asks: close its input, wait, then signals to the whole group."""
    assert process.stdin is not None  # noqa: S101 - it was opened with pipes
    with suppress(*_CLOSED):
        await process.stdin.aclose()
    code = await _exit_of(process)
    if code is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await _exit_of(process)
    _kill_group(process.pid)
    await _exit_of(process)
    _close(process)
    return code


async def _exit_of(process: Process) -> int | None:
    """Its exit code, if it ends within the grace; not `wait`, which waits for its pipes too."""
    with anyio.move_on_after(_GRACE_SECONDS):
        while process.returncode is None:  # noqa: ASYNC110 - nothing tells of it without pipes
            await anyio.sleep(_POLL_SECONDS)
    return process.returncode


def _close(process: Process) -> None:
    """Closes the pipes, even one that somebody who left the group holds open.

    Nothing public reaches asyncio's transport; the mcp library walks the same way.
    """
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        transport.close()


def _kill_group(pid: int) -> None:
    """Kills whoever is left of the group, whose number is the pid of its first process."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _last_line(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _ERROR_TAIL_BYTES, max(0, size - _ERROR_TAIL_BYTES))
    lines = [line.strip() for line in tail.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
