"""Exact arithmetic: worked values, and what holds for all of them."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.numbers import (
    MAX_SUM,
    PPB,
    divide_half_up,
    ppb_of,
    saturated,
    share_out,
)

naturals = st.integers(min_value=0, max_value=2**70)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (0, 7, 0),
        (1, 2, 1),
        (3, 2, 2),
        (5, 2, 3),
        (4, 3, 1),
        (5, 3, 2),
        (1021 * PPB, 1024, 997_070_313),  # 997,070,312.5
        (1001 * PPB, 1024, 977_539_063),  # 977,539,062.5: half to even would say 062
        (2**80, 2**80, 1),
    ],
)
def test_division_rounds_halves_up(numerator: int, denominator: int, expected: int) -> None:
    assert divide_half_up(numerator, denominator) == expected


@given(numerator=naturals, denominator=st.integers(min_value=1, max_value=2**70))
def test_a_quotient_is_the_nearest_integer(numerator: int, denominator: int) -> None:
    off = divide_half_up(numerator, denominator) - Fraction(numerator, denominator)
    assert Fraction(-1, 2) < off <= Fraction(1, 2)


@pytest.mark.parametrize(("numerator", "denominator"), [(-1, 2), (1, 0), (1, -2)])
def test_division_refuses_what_it_does_not_define(numerator: int, denominator: int) -> None:
    with pytest.raises(ValueError, match="numerator"):
        divide_half_up(numerator, denominator)


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        # Ten seats by Hare quota, the textbook example of the largest remainder method.
        (10, [47_000, 16_000, 15_900, 12_000, 6_000, 3_100], [5, 2, 1, 1, 1, 0]),
        (100, [1, 1, 1], [34, 33, 33]),
        (101, [1, 1, 1], [34, 34, 33]),
        (10, [3, 3, 1], [4, 4, 2]),
        (1, [1, 1], [1, 0]),
        (7, [0, 5, 0], [0, 7, 0]),
        (0, [2, 3], [0, 0]),
    ],
    ids=["textbook", "tie", "two left over", "remainder wins", "first of two", "zeros", "nothing"],
)
def test_what_is_left_goes_to_the_largest_remainders_then_to_the_first(
    total: int, weights: list[int], expected: list[int]
) -> None:
    assert share_out(total, weights) == expected


@given(
    total=st.integers(min_value=0, max_value=10 * PPB),
    weights=st.lists(naturals, min_size=1, max_size=8).filter(any),
)
def test_parts_add_up_and_none_is_a_whole_unit_off(total: int, weights: list[int]) -> None:
    parts = share_out(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1


@pytest.mark.parametrize("weights", [[], [0], [0, 0]])
def test_nothing_can_be_shared_without_weights(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        share_out(1, weights)


@pytest.mark.parametrize(
    ("total", "expected"),
    [(0, 0), (MAX_SUM - 1, MAX_SUM - 1), (MAX_SUM, MAX_SUM), (MAX_SUM + 1, MAX_SUM)],
)
def test_sums_stay_at_their_bound(total: int, expected: int) -> None:
    assert saturated(total) == expected == min(total, 2_305_843_009_213_693_952)


@given(
    terms=st.lists(st.integers(min_value=0, max_value=2**62), max_size=12),
    cuts=st.sets(st.integers(min_value=0, max_value=12)),
    order=st.randoms(use_true_random=False),
)
def test_a_saturated_sum_knows_no_order_and_no_grouping(
    terms: list[int], cuts: set[int], order: object
) -> None:
    shuffled = list(terms)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    total = group = 0
    for index, term in enumerate(shuffled):
        if index in cuts:
            total, group = saturated(total + group), 0
        group = saturated(group + term)
    assert saturated(total + group) == min(sum(terms), MAX_SUM)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.85", 850_000_000), ("1", PPB), ("0", 0), ("0.000000001", 1), ("10000", 10_000 * PPB)],
)
def test_parts_per_billion_of_a_decimal(value: str, expected: int) -> None:
    assert ppb_of(Decimal(value)) == expected


def test_a_decimal_finer_than_a_billionth_is_refused() -> None:
    with pytest.raises(ValueError, match="nine decimals"):
        ppb_of(Decimal("0.0000000001"))
