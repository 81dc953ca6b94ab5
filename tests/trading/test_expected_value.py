from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.trading.expected_value import (
    expected_value,
    lots,
    moves,
    round_trip,
    walk_base,
    walk_quote,
)
from tests.trading.helpers import CAPACITY, Books

prices = st.integers(1, 10_000).map(lambda k: k / 100)
sizes = st.integers(1, 1_000).map(lambda k: k / 64)
sides = st.lists(st.tuples(prices, sizes), min_size=0, max_size=CAPACITY)


def side_of(levels: list[tuple[float, float]]) -> Books:
    books = Books(1)
    books.put(0, [], levels)
    return books


def test_walking_the_book_takes_the_best_levels_first() -> None:
    books = side_of([(100.0, 0.5), (101.0, 1.0), (110.0, 5.0)])
    start = int(books.books["ask0"][0])
    assert walk_quote(books.levels, start, 3, 50.0) == 0.5
    assert walk_quote(books.levels, start, 3, 100.5) == 1.0
    assert walk_base(books.levels, start, 3, 1.5) == (151.0, 1.5)
    assert walk_base(books.levels, start, 3, 2.5) == (261.0, 2.5)


def test_a_short_book_gives_no_size_and_fills_what_is_there() -> None:
    books = side_of([(100.0, 0.5), (101.0, 1.0)])
    start = int(books.books["ask0"][0])
    assert math.isnan(walk_quote(books.levels, start, 2, 151.01))
    assert walk_base(books.levels, start, 2, 9.0) == (151.0, 1.5)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("column", ["price", "size"])
def test_a_level_that_is_no_level_ends_the_walk(bad: float, column: str) -> None:
    books = side_of([(100.0, 0.5), (101.0, 1.0)])
    start = int(books.books["ask0"][0])
    books.levels[start + 1][column] = bad
    assert math.isnan(walk_quote(books.levels, start, 2, 60.0))
    assert walk_base(books.levels, start, 2, 1.0) == (50.0, 0.5)


@pytest.mark.parametrize("amount", [0.0, -1.0, math.nan])
def test_walking_for_nothing_gives_nothing(amount: float) -> None:
    books = side_of([(100.0, 0.5)])
    start = int(books.books["ask0"][0])
    assert math.isnan(walk_quote(books.levels, start, 1, amount))
    assert walk_base(books.levels, start, 1, amount) == (0.0, 0.0)


@given(sides, sizes)
@settings(max_examples=150, deadline=None)
def test_walking_for_base_agrees_with_exact_arithmetic(levels: list[tuple[float, float]], base: float) -> None:
    books = side_of(levels)
    quote, filled = walk_base(books.levels, int(books.books["ask0"][0]), len(levels), base)
    left, cost = Fraction(base), Fraction(0)
    for price, size in levels:
        take = min(left, Fraction(size))
        cost += take * Fraction(price)
        left -= take
    assert filled == float(Fraction(base) - left)
    assert quote == pytest.approx(float(cost), rel=1e-12)


@given(sides, st.integers(1, 10**6))
@settings(max_examples=150, deadline=None)
def test_walking_for_quote_is_the_inverse_of_walking_for_base(levels: list[tuple[float, float]], quote: int) -> None:
    books = side_of(levels)
    start = int(books.books["ask0"][0])
    base = walk_quote(books.levels, start, len(levels), float(quote))
    depth = sum(Fraction(p) * Fraction(s) for p, s in levels)
    if depth < quote:
        assert math.isnan(base)
    else:
        paid, filled = walk_base(books.levels, start, len(levels), base)
        assert paid == pytest.approx(quote, rel=1e-9)
        assert filled == pytest.approx(base, rel=1e-9)


def test_costs_of_a_round_trip_are_the_arithmetic_of_the_book() -> None:
    books = Books(1)
    books.put(0, [(99.0, 0.5), (98.0, 9.0)], [(101.0, 0.5), (102.0, 9.0)])
    # Buy for 101.5: 0.5 at 101, 0.5 at 102, so 1.0 at 101.5; back 0.5 at 99 and 0.5 at 98, so 1.0 at 98.5. Mid 100.
    assert round_trip(books.books[0], books.levels, 1, 101.5) == pytest.approx((1.0, 100.0, 50.0, 50.0))
    # Sell for 98.5: 0.5 at 99, 0.5 at 98; back at 101 and 102.
    assert round_trip(books.books[0], books.levels, -1, 98.5) == pytest.approx((1.0, 100.0, 50.0, 50.0))
    # Within the touch nothing slips, and the size is cut to whole 1e-8.
    size, half, slip_in, slip_out = round_trip(books.books[0], books.levels, 1, 10.0)
    assert (size, half, slip_in, slip_out) == (0.0990099, 100.0, pytest.approx(0.0, abs=1e-9), 0.0)
    assert size == lots(10.0 / 101.0)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("shallow", ["n_bid", "n_ask"])
def test_a_round_trip_needs_depth_on_both_sides(side: int, shallow: str) -> None:
    books = Books(1)
    books.put(0, [(99.0, 0.5), (98.0, 9.0)], [(101.0, 0.5), (102.0, 9.0)])
    books.books[0][shallow] = 1
    assert all(map(math.isnan, round_trip(books.books[0], books.levels, side, 100.0)))


def test_expected_value_is_the_textbook_sum() -> None:
    # 0.55 x 20 - 0.45 x 20 - 0.5 = 1.5 bps; a haircut of 0.02 costs 0.02 x (20 + 20) = 0.8 bps.
    assert expected_value(0.55, 0.45, 20.0, 20.0, 0.5, 0.0) == pytest.approx((1.5, 0.55))
    assert expected_value(0.55, 0.45, 20.0, 20.0, 0.5, 0.02) == pytest.approx((0.7, 0.53))


@pytest.mark.parametrize(
    ("barrier", "cost", "p"), [(10, 0.5, 0.525), (20, 2, 0.55), (40, 7, 0.5875), (80, 10, 0.5625), (120, 20, 7 / 12)]
)
def test_break_even_probability_of_equal_barriers_is_a_half_plus_cost_over_twice_the_barrier(
    barrier: float, cost: float, p: float
) -> None:
    assert expected_value(p, 1 - p, barrier, barrier, cost, 0.0)[0] == pytest.approx(0.0, abs=1e-9)


def test_the_bounded_probability_stays_a_probability() -> None:
    assert expected_value(0.01, 0.98, 10.0, 10.0, 0.0, 0.05) == (-10.0, 0.0)


@pytest.mark.parametrize("k", range(6))
def test_anything_nan_makes_the_expected_value_nan(k: int) -> None:
    numbers = [0.6, 0.4, 10.0, 10.0, 1.0, 0.01]
    numbers[k] = math.nan
    assert math.isnan(expected_value(*numbers)[0])


@given(st.floats(-100, 100), st.floats(0.1, 200))
@settings(max_examples=200, deadline=None)
def test_gain_and_loss_of_a_normal_return_give_back_its_mean(mean: float, sd: float) -> None:
    gain, loss = moves(mean, sd)
    z = min(max(mean / sd, -6.0), 6.0)
    up = 0.5 * math.erfc(-z / math.sqrt(2))
    assert up * gain - (1 - up) * loss == pytest.approx(z * sd, abs=1e-6 * sd)
    assert gain > 0 and loss > 0


def test_gain_of_a_return_without_drift_is_the_half_normal_mean() -> None:
    assert moves(0.0, 10.0) == pytest.approx((10 * math.sqrt(2 / math.pi),) * 2)


@pytest.mark.parametrize(("mean", "sd"), [(math.nan, 1.0), (1.0, math.nan), (1.0, 0.0), (1.0, -1.0)])
def test_moves_of_no_distribution_are_nan(mean: float, sd: float) -> None:
    assert all(map(math.isnan, moves(mean, sd)))


def test_walking_reads_nothing_beyond_the_levels_it_was_given() -> None:
    books = side_of([(100.0, 1.0), (101.0, 1.0)])
    start = int(books.books["ask0"][0])
    before = walk_base(books.levels, start, 1, 5.0)
    books.levels[start + 1] = np.zeros((), books.levels.dtype)
    assert walk_base(books.levels, start, 1, 5.0) == before == (100.0, 1.0)
