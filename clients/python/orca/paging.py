"""Lists that come in pages, read as one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")


class Page(Protocol):
    """What every response of a List method has."""

    @property
    def next_page_token(self) -> str:
        """Token of the next page; empty on the last."""

    @property
    def total_size(self) -> int:
        """Items that match, on all pages."""


PageT = TypeVar("PageT", bound=Page)


class Pages(Generic[Item, PageT]):
    """A list that is fetched page by page while it is read.

        async for agent in client.agents.list(filter='type = "mcp"'):
            ...

    Each `async for` starts at the first page again.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[PageT]],
        items: Callable[[PageT], Iterable[Item]],
    ) -> None:
        """A list of what `items` finds in the pages that `fetch(page_token)` brings."""
        self._fetch = fetch
        self._items = items

    async def __aiter__(self) -> AsyncIterator[Item]:
        """The items, one by one."""
        async for page in self.pages():
            for item in self._items(page):
                yield item

    async def pages(self) -> AsyncIterator[PageT]:
        """The pages as the server sent them."""
        token = ""
        while True:
            page = await self._fetch(token)
            yield page
            token = page.next_page_token
            if not token:
                return

    async def collect(self, limit: int | None = None) -> list[Item]:
        """All items, or the first `limit` of them, in a list."""
        found: list[Item] = []
        async for page in self.pages():
            found.extend(self._items(page))
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    async def count(self) -> int:
        """How many items match, without reading them all."""
        return (await self._fetch("")).total_size
