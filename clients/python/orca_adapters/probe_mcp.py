"""Looks at one MCP server and says what it is, whatever it does."""

import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

import anyio
import httpx2
import mcp
import mcp_types
from mcp.client._transport import TransportStreams  # the library names it nowhere else
from mcp.client.streamable_http import streamable_http_client

from orca_adapters.probe_stdio import Seen, Start, started

MAX_TOOLS = 500
_MAX_PAGES = 50
_CONNECT_SECONDS = 10.0
_AUTH = frozenset({401, 403, 407})
_GATEWAY = frozenset({502, 503, 504})
_UNSUPPORTED_VERSION = mcp_types.UNSUPPORTED_PROTOCOL_VERSION


class State(StrEnum):
    """What a probe found."""

    SPEAKS_MCP = "speaks-mcp"
    """It answered as an MCP server."""
    NOT_MCP = "not-mcp"
    """It answers, but not as an MCP server."""
    UNREACHABLE = "unreachable"
    """Nobody answers: it cannot be connected to, ends at once, or is silent."""
    AUTH_REQUIRED = "auth-required"
    """It wants credentials that we do not have (401, 403): alive."""
    METHOD_NOT_ALLOWED = "method-not-allowed"
    """It does not take POST there (405): alive."""
    RATE_LIMITED = "rate-limited"
    """It has had enough of us (429): alive."""
    UNSUPPORTED_VERSION = "unsupported-version"
    """It speaks an MCP that we do not: alive."""
    NOT_TRIED = "not-tried"
    """We had no way to try: that says nothing about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found out.

    Attributes:
        state: The verdict.
        message: For people; may quote the server.
        failed: Whether the probe's request to a server that speaks MCP failed.
        latency_ms: Of initialize and tools/list together; None unless both were answered.
        initialize_ms: Of the first of them.
        version: Of the server, as it says.
        server_name: The server, as it calls itself.
        protocol: Version of MCP that was agreed on.
        tools: What it offers; None if that is not known.
        http_status: Last status of an HTTP server that refused.
    """

    state: State
    message: str = ""
    failed: bool = False
    latency_ms: float | None = None
    initialize_ms: float | None = None
    version: str = ""
    server_name: str = ""
    protocol: str = ""
    tools: tuple[mcp_types.Tool, ...] | None = None
    http_status: int | None = None


@dataclass(slots=True)
class _Progress:
    """How far a conversation came.

    Attributes:
        found: The finding so far, once the server has introduced itself.
        http: Status of each HTTP response to a POST.
        not_mcp: What it said that is no MCP.
    """

    found: Finding | None = None
    http: list[int] = field(default_factory=list)
    not_mcp: int = 0


async def probe_http(url: str, headers: Mapping[str, str], timeout_seconds: float) -> Finding:
    """What answers at a URL of streamable HTTP."""
    progress = _Progress()

    async def note(response: httpx2.Response) -> None:
        if response.request.method == "POST":
            progress.http.append(response.status_code)

    timeout = httpx2.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds))
    hooks = {"response": [note]}

    @asynccontextmanager
    async def transport() -> AsyncIterator[TransportStreams]:
        async with (
            httpx2.AsyncClient(headers=dict(headers), timeout=timeout, event_hooks=hooks) as client,
            streamable_http_client(url, http_client=client) as streams,
        ):
            yield streams

    error = await _converse(transport(), progress, timeout_seconds)
    return _conclude_http(progress, error, timeout_seconds)


async def probe_stdio(start: Start, timeout_seconds: float) -> Finding:
    """What a started command answers."""
    progress, seen = _Progress(), Seen()
    error = await _converse(started(start, seen), progress, timeout_seconds)
    progress.not_mcp += seen.garbage
    return _conclude_stdio(progress, seen, error, timeout_seconds)


async def _converse(
    transport: AbstractAsyncContextManager[TransportStreams],
    progress: _Progress,
    timeout_seconds: float,
) -> BaseException | None:
    """Initializes and lists tools, noting how far it comes; what stopped it, if anything.

    A TimeoutError stands for the end of our patience.
    """
    client = mcp.Client(
        transport,
        client_info=mcp_types.Implementation(name="orca-probe", version="1"),
        read_timeout_seconds=timeout_seconds,
        cache=None,
    )
    try:
        with anyio.fail_after(timeout_seconds):
            began = time.perf_counter()
            async with client:
                initialized = time.perf_counter()
                progress.found = _introduced(client, (initialized - began) * 1000)
                tools = await _list_tools(client)
                took = (time.perf_counter() - began) * 1000
                progress.found = _completed(progress.found, tools, took)
    except Exception as error:  # noqa: BLE001 - a foreign server may break the library in any way
        return error
    return None


def _introduced(client: mcp.Client, initialize_ms: float) -> Finding:
    info = client.server_info
    return Finding(
        State.SPEAKS_MCP,
        initialize_ms=initialize_ms,
        version=info.version if info else "",
        server_name=info.name if info else "",
        protocol=client.protocol_version,
    )


def _completed(found: Finding, tools: tuple[mcp_types.Tool, ...], took_ms: float) -> Finding:
    return replace(found, tools=tools, latency_ms=took_ms)


async def _list_tools(client: mcp.Client) -> tuple[mcp_types.Tool, ...]:
    """Its tools, the first MAX_TOOLS of them; none if it does not claim to have any."""
    if client.server_capabilities.tools is None:
        return ()
    tools: list[mcp_types.Tool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor or len(tools) >= MAX_TOOLS:
            break
    return tuple(tools[:MAX_TOOLS])


def _conclude_http(
    progress: _Progress, error: BaseException | None, timeout_seconds: float
) -> Finding:
    if error is None and progress.found is not None:
        return progress.found
    status = progress.http[-1] if progress.http else None
    for refusals, state, message in _REFUSALS:
        if status in refusals:
            return Finding(state, f"HTTP {status}: {message}", http_status=status)
    if progress.found is not None:
        return _failed_later(progress.found, error)
    if _is_unsupported_version(error):
        return Finding(State.UNSUPPORTED_VERSION, _words(error), http_status=status)
    if status is None or status in _GATEWAY:
        silent = _is_timeout(error)
        message = f"no answer in {timeout_seconds:g} s" if silent else _words(error)
        if status is not None:
            message = f"HTTP {status}: the gateway has no server"
        return Finding(State.UNREACHABLE, message, http_status=status)
    return Finding(
        State.NOT_MCP, f"HTTP {status}, but not MCP: {_words(error)}", http_status=status
    )


_REFUSALS = (
    (_AUTH, State.AUTH_REQUIRED, "it wants credentials"),
    (frozenset({405}), State.METHOD_NOT_ALLOWED, "it does not take POST there"),
    (frozenset({429}), State.RATE_LIMITED, "it limits our rate"),
)


def _conclude_stdio(
    progress: _Progress, seen: Seen, error: BaseException | None, timeout_seconds: float
) -> Finding:
    if error is None and progress.found is not None:
        return progress.found
    if progress.found is not None:
        return _failed_later(progress.found, error)
    if _is_unsupported_version(error):
        return Finding(State.UNSUPPORTED_VERSION, _words(error))
    last_words = f"; it said: {seen.last_words}" if seen.last_words else ""
    if progress.not_mcp or seen.messages:
        return Finding(State.NOT_MCP, f"it answers, but not MCP{last_words}")
    if _is_timeout(error):
        return Finding(State.UNREACHABLE, f"no answer in {timeout_seconds:g} s{last_words}")
    how = _ended(seen.exit_code)
    return Finding(State.UNREACHABLE, f"{how} without an answer{last_words}")


def _failed_later(found: Finding, error: BaseException | None) -> Finding:
    """It introduced itself as an MCP server and then failed: that counts as an error."""
    return replace(found, failed=True, message=f"tools/list failed: {_words(error)}")


def _ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "it closed its output"
    if exit_code < 0:
        return f"it was ended by {signal.Signals(-exit_code).name}"
    return f"it ended with code {exit_code}"


def _is_timeout(error: BaseException | None) -> bool:
    return _any_of(error, lambda each: isinstance(each, TimeoutError | httpx2.TimeoutException))


def _is_unsupported_version(error: BaseException | None) -> bool:
    return _any_of(
        error,
        lambda each: (
            (isinstance(each, mcp.MCPError) and each.code == _UNSUPPORTED_VERSION)
            or (isinstance(each, RuntimeError) and "protocol version" in str(each))
        ),
    )


def _any_of(error: BaseException | None, is_it: Callable[[BaseException], bool]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_any_of(each, is_it) for each in error.exceptions)
    return error is not None and is_it(error)


def _words(error: BaseException | None) -> str:
    """The error in one line; of a group the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None:
        return "it says nothing"
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
