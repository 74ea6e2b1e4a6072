"""Exact arithmetic of scores: integers in parts per billion, divided once.

Sums are integer sums, so they do not depend on the order in which rows arrive; SQL and
Python then agree to equality, not to a tolerance.
"""

from collections.abc import Sequence
from decimal import Decimal

PPB = 1_000_000_000

# Sums of facts stay at this once they reach it. For terms >= 0 the smaller of the true sum
# and this bound is the same whatever the order and the grouping of the terms, and two such
# sums still fit into 64 bits.
MAX_SUM = 2**61


def saturated(total: int) -> int:
    """The sum, at most `MAX_SUM`."""
    return min(total, MAX_SUM)


def divide_half_up(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest integer, halves up.

    Raises:
        ValueError: If numerator < 0 or denominator < 1.
    """
    if numerator < 0 or denominator < 1:
        raise ValueError(f"need numerator >= 0, denominator >= 1: {numerator}/{denominator}")
    return (2 * numerator + denominator) // (2 * denominator)


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Splits `total` in proportion to `weights` into integers that add up to it exactly.

    Largest remainder: each part is rounded down, then what is missing goes one by one to
    the parts with the largest remainders, ties to the one that stands first.

    Args:
        total: What is split, >= 0.
        weights: One per part, >= 0, not all 0.

    Raises:
        ValueError: If the weights sum to less than 1.

    Source: the largest remainder method (Hamilton), as used to apportion seats.
    """
    whole = sum(weights)
    if whole < 1:
        raise ValueError("need a positive sum of weights")
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts


def ppb_of(value: Decimal) -> int:
    """A ratio as parts per billion.

    Raises:
        ValueError: If it has more than nine decimals.
    """
    scaled = value * PPB
    if scaled != scaled.to_integral_value():
        raise ValueError(f"more than nine decimals: {value}")
    return int(scaled)
