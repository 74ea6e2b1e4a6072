"""The same client without async: it runs on a loop of its own, in a thread of its own.

Nothing is written twice: a part of the async client is wrapped as it is, a coroutine is
awaited on that loop, and what is iterated with `async for` is iterated with `for`.
"""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from orca.client import Client, connect
from orca.paging import Pages

T = TypeVar("T")


class _Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="orca-client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C above all: the work must not go on unseen
            future.cancel()
            raise

    def close(self) -> None:
        """Stops the loop when its generators are closed."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncPart:
    """A part of the async client, such as `agents`: the same methods, without `await`."""

    def __init__(self, part: object, loop: _Loop) -> None:
        """Made by the client."""
        self._part = part
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._part, name)
        if not callable(method):
            raise AttributeError(name)

        def call(*args: object, **kwargs: object) -> object:
            return _plain(method(*args, **kwargs), self._loop)

        call.__name__ = name
        call.__doc__ = method.__doc__
        return call

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._part) if not name.startswith("_")]


class SyncPages:
    """A list that is fetched page by page while it is read with `for`."""

    def __init__(self, pages: Pages[Any, Any], loop: _Loop) -> None:
        """Made by the client."""
        self._pages = pages
        self._loop = loop

    def __iter__(self) -> Iterator[Any]:
        return _iterate(aiter(self._pages), self._loop)

    def pages(self) -> Iterator[Any]:
        """The pages as the server sent them."""
        return _iterate(self._pages.pages(), self._loop)

    def collect(self, limit: int | None = None) -> list[Any]:
        """All items, or the first `limit` of them, in a list."""
        return self._loop.run(self._pages.collect(limit))

    def count(self) -> int:
        """How many items match, without reading them all."""
        return self._loop.run(self._pages.count())


class SyncClient:
    """A connection to one server, without async. Use `connect_sync`, and `with` to close it.

    Attributes:
        agents: The inventory of agents.
        telemetry: What agents did.
        violations: Policy violations that agents report.
        drift: How agents differ from what was accepted.
        workflows: The inventory of what runs by itself.
        events: What happened to the runs of workflows.
        runs: What those events come to.
        registry: Registries of MCP servers.
        trust: How far the fleet may be trusted.
        reports: The state of the fleet for people.
        system: The server's own health and status.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        """Made by `connect_sync`; `make` is called on the private loop."""
        self._loop = _Loop()
        try:
            self._client = self._loop.run(_made(make))
        except BaseException:  # whatever it was, the thread must not stay behind
            self._loop.close()
            raise
        self.agents = SyncPart(self._client.agents, self._loop)
        self.telemetry = SyncPart(self._client.telemetry, self._loop)
        self.violations = SyncPart(self._client.violations, self._loop)
        self.drift = SyncPart(self._client.drift, self._loop)
        self.workflows = SyncPart(self._client.workflows, self._loop)
        self.events = SyncPart(self._client.events, self._loop)
        self.runs = SyncPart(self._client.runs, self._loop)
        self.registry = SyncPart(self._client.registry, self._loop)
        self.trust = SyncPart(self._client.trust, self._loop)
        self.reports = SyncPart(self._client.reports, self._loop)
        self.system = SyncPart(self._client.system, self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel and ends the thread."""
        self._loop.run(self._client.close())
        self._loop.close()


def connect_sync(address: str | None = None, **options: Any) -> SyncClient:
    """A client without async; takes what `connect` takes.

        with orca.connect_sync() as client:
            for agent in client.agents.list():
                print(agent.name, agent.trust_level)

    Raises:
        ConfigurationError: As `connect` does.
    """
    return SyncClient(lambda: connect(address, **options))


async def _made(make: Callable[[], Client]) -> Client:
    return make()


def _plain(result: object, loop: _Loop) -> object:
    if inspect.iscoroutine(result):
        return loop.run(result)
    if isinstance(result, Pages):
        return SyncPages(result, loop)
    if isinstance(result, AsyncIterator):
        return _iterate(result, loop)
    return result


def _iterate(items: AsyncIterator[T], loop: _Loop) -> Iterator[T]:
    async def next_item() -> tuple[T] | None:
        async for item in items:
            return (item,)
        return None

    try:
        while (found := loop.run(next_item())) is not None:
            yield found[0]
    finally:
        if inspect.isasyncgen(items):
            loop.run(items.aclose())
