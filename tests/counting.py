"""A connection that counts its statements."""

from typing import Any


class CountingConnection:
    """Hands statements on and counts them."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.count = 0

    async def fetch(self, *args: Any) -> Any:
        self.count += 1
        return await self._connection.fetch(*args)

    async def fetchrow(self, *args: Any) -> Any:
        self.count += 1
        return await self._connection.fetchrow(*args)

    async def fetchval(self, *args: Any) -> Any:
        self.count += 1
        return await self._connection.fetchval(*args)
