"""Work that repeats as long as the server lives.

A job survives a database that is away, and nothing else: any other exception ends the server,
loudly, because a job that died in silence would be worse.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from orca_server.domain.errors import Unavailable

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0

log = structlog.get_logger(__name__)


async def repeat(
    name: str,
    work: Callable[[], Awaitable[None]],
    interval_seconds: float,
    wake: asyncio.Event | None = None,
) -> None:
    """Does the work, waits, and does it again; while the database is away it tries with backoff.

    Args:
        name: For the log.
        work: One round.
        interval_seconds: Pause after a round that went well; the most after one that did not.
        wake: Ends a pause after a round that went well.
    """
    backoff = FIRST_BACKOFF_SECONDS
    while True:
        try:
            await work()
        except Unavailable as error:
            if backoff == FIRST_BACKOFF_SECONDS:
                log.warning("job_waits", job=name, cause=error.message)
            await asyncio.sleep(min(backoff, interval_seconds))
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
        else:
            if backoff != FIRST_BACKOFF_SECONDS:
                log.info("job_resumes", job=name)
            backoff = FIRST_BACKOFF_SECONDS
            await _pause(interval_seconds, wake)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    """Waits, unless it is woken."""
    if wake is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
    wake.clear()
