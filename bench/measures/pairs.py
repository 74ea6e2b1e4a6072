"""Two things measured in turns, and the median of their ratios."""

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Measure = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians over the rounds.

    Attributes:
        ours: Of the product.
        ceiling: Of what it is compared with.
        ratio: Of the ratios of each round.
    """

    ours: float
    ceiling: float
    ratio: float


async def interleave(rounds: int, ours: Measure, ceiling: Measure) -> Pair:
    """Measures both in each round, every second round in the other order."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            mine, limit = await ours(), await ceiling()
        else:
            limit, mine = await ceiling(), await ours()
        pairs.append((mine, limit))
    return Pair(
        ours=statistics.median(mine for mine, _ in pairs),
        ceiling=statistics.median(limit for _, limit in pairs),
        ratio=statistics.median(mine / limit for mine, limit in pairs),
    )
