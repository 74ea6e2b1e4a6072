"""Waiting for company: work that many callers ask for at once is cheaper done together."""

import asyncio
import time
from collections.abc import Callable

ABOVE = 2  # callers that wait
SLICE_SECONDS = 0.001
MOST_SECONDS = 0.005
PEAK_DECAY = 0.98  # per batch


class Linger:
    """Lets a batch grow as long as it does grow and others are expected to come.

    How many come is judged by how many were under way lately: calls that the event loop has not
    come to yet are seen by nobody. Half of them make a batch, so that the other half is taken in
    while it is worked on. While few wait, a batch leaves at once.
    """

    def __init__(self) -> None:
        """Has seen nobody yet."""
        self._peak = 0.0  # of calls under way, lately

    async def grow(
        self,
        waiting: Callable[[], int],
        under_way: int,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Returns when the batch should leave.

        Args:
            waiting: How many callers wait for it, at this moment.
            under_way: Callers that wait for it or for one before it.
            enough: Whether it should leave in any case.
        """
        self._peak = max(under_way, self._peak * PEAK_DECAY)
        until = time.monotonic() + MOST_SECONDS
        count = waiting()
        while ABOVE <= count < self._peak / 2 and time.monotonic() < until and not enough():
            await asyncio.sleep(SLICE_SECONDS)
            if waiting() == count:
                return
            count = waiting()
