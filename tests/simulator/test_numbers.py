"""Number text as JavaScript writes it, the price grid, and chance that is the same everywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.simulator import numbers

JAVASCRIPT = [
    (1, 0, "1"),
    (10, -1, "1"),
    (12345, -8, "0.00012345"),
    (100, -8, "0.000001"),
    (99, -8, "9.9e-7"),
    (10, -8, "1e-7"),
    (1, -8, "1e-8"),
    (-5, -8, "-5e-8"),
    (6412, -10, "6.412e-7"),
    (0, -8, "0"),
    (43210, 1, "432100"),
    (10000, -4, "1"),
    (10050, -4, "1.005"),
    (123456789012345, -8, "1234567.89012345"),
    (-1300, -3, "-1.3"),
]


@pytest.mark.parametrize(("digits", "power", "expected"), JAVASCRIPT)
def test_numbers_are_written_as_javascript_does(digits, power, expected):
    assert numbers.text(digits, power) == expected
    buffer = np.zeros(64, np.uint8)
    stop = numbers.write_number(buffer, 3, digits, power)
    assert buffer[3:stop].tobytes().decode() == expected


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**53) + 1, 2**53 - 1), st.integers(-12, 4))
def test_compiled_and_plain_text_agree_and_read_back_exactly(digits, power):
    buffer = np.zeros(64, np.uint8)
    stop = numbers.write_number(buffer, 0, digits, power)
    text = buffer[:stop].tobytes().decode()
    assert text == numbers.text(digits, power)
    assert float(text) == float(f"{digits}e{power}")


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-12, 1e15))
def test_float_text_reads_back(number):
    assert json.loads(numbers.float_text(number)) == number


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 100_000 + 11 * numbers.DECADE))
def test_grid_prices_rise_and_have_at_most_five_digits_and_eight_decimals(k):
    text = numbers.price_text(k)
    below = numbers.value(k - 1) if k > 1 else 0.0
    assert below < numbers.value(k) == float(text)
    assert numbers.position(numbers.value(k)) == pytest.approx(k, abs=1e-5)
    if "e" not in text:
        assert len(text.replace(".", "").strip("0")) <= 5
        assert len(text.partition(".")[2]) <= 8


@pytest.mark.parametrize(
    ("price", "drop", "bid", "ask"),
    [
        (43217.0, 1, "43210", "43220"),
        (43217.0, 4, "40000", "50000"),
        (99999.0, 1, "99990", "100000"),
        (1.2345, 2, "1.23", "1.24"),
        (0.00002314, 1, "0.00002314", "0.00002314"),
        (0.00002314, 3, "0.000023", "0.000024"),
        (150.0, 2, "150", "150"),
    ],
)
def test_coarse_prices_fall_for_bids_and_rise_for_asks(price, drop, bid, ask):
    k = round(numbers.position(price))
    assert numbers.price_text(numbers.coarse(k, drop, 0)) == bid
    assert numbers.price_text(numbers.coarse(k, drop, 1)) == ask


def test_chance_is_pinned():
    rng = np.array([7], np.uint64)
    assert [int(numbers.draw(rng)) for _ in range(2)] == [7191089600892374487, 309689372594955804]


def test_normal_deviates_have_mean_zero_and_variance_one():
    rng = np.array([1], np.uint64)
    sample = np.array([numbers.normal(rng) for _ in range(50_000)])
    assert abs(sample.mean()) < 4 / np.sqrt(len(sample))
    assert sample.var() == pytest.approx(1.0, abs=0.03)


def test_exponential_deviates_have_mean_one():
    rng = np.array([1], np.uint64)
    sample = np.array([numbers.exponential(rng) for _ in range(50_000)])
    assert sample.mean() == pytest.approx(1.0, abs=0.02)
    assert sample.min() >= 0
