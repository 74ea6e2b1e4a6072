"""A small HTTP/1.1 client that sends any bytes and reads what comes back."""

import asyncio
import contextlib
from dataclasses import dataclass

TIMEOUT_SECONDS = 60
LAST_SECONDS = 0.5
READ_BYTES = 1 << 24


class ClosedError(Exception):
    """The other side closed the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection, opened anew when it was closed."""

    def __init__(self, port: int) -> None:
        """Opens nothing yet."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes, *, head: bool = False, last: bool = False) -> Answer:
        """Sends the bytes of a request and reads the answer.

        Args:
            data: Request line, headers and body.
            head: The answer has no body.
            last: Nothing follows: an answer comes soon or the other side waits in vain.

        Raises:
            ClosedError: If there is no answer.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=READ_BYTES)
        reader, writer = self._streams
        try:
            async with asyncio.timeout(LAST_SECONDS if last else TIMEOUT_SECONDS):
                writer.write(data)
                answer = await _read(reader, head=head)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
            await self.close()
            if isinstance(error, TimeoutError) and not last:
                raise
            raise ClosedError from error
        if last or answer.headers.get("connection") == "close":
            await self.close()
        return answer

    async def close(self) -> None:
        """Closes it, if it is open."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with contextlib.suppress(ConnectionError):  # the other side was faster
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, *, head: bool) -> Answer:
    while True:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        if status >= 200:
            break
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if head or status in (204, 304):
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await _read_chunks(reader))
    if "content-length" in headers:
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
    return Answer(status, headers, await reader.read())


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
