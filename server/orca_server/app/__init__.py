"""The composition root: builds every part, runs them, and drains them in order."""

import asyncio
from collections.abc import Callable

from orca_server.app.parts import build_context
from orca_server.app.server import Addresses, CannotStart, Server
from orca_server.settings import Settings

__all__ = ["Addresses", "CannotStart", "serve"]


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    started: Callable[[Addresses], None] = lambda addresses: None,
) -> None:
    """Serves until stop is set, then drains.

    Args:
        settings: As loaded.
        stop: Ends it.
        started: Called once calls are answered.

    Raises:
        CannotStart: If an address cannot be had.
        ExceptionGroup: If a job died; the server was drained then, too.
    """
    server = Server(build_context(settings))
    try:
        started(await server.start())
        await server.run(stop)
    finally:
        await server.close()
