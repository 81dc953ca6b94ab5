"""Numbers keep value and wire text, exactly, or say that they cannot."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.market import numbers
from data_controller.market.numbers import ABSURD, EXPONENT, INEXACT


def scan(text: str) -> tuple[int, int, int, int, bool]:
    """scan_number over `text` alone."""
    data = np.frombuffer(text.encode(), np.uint8).copy()
    end, *rest = numbers.scan_number(data.ctypes.data, data.ctypes.data + len(data))
    return (end - data.ctypes.data if end >= 0 else end, *rest)


def write(digits: int, scale: int, exponent: int) -> str:
    """write_number into a buffer that shows what it leaves alone."""
    out = np.full(16 + numbers.TEXT_SPACE, 255, np.uint8)
    end = -out.ctypes.data + numbers.write_number(
        out.ctypes.data + 8, np.int64(digits), np.int64(scale), np.int64(exponent)
    )
    assert (out[:8] == 255).all()
    assert (out[8 + numbers.TEXT_SPACE :] == 255).all()
    return out[8:end].tobytes().decode()


@pytest.mark.parametrize(
    ("text", "digits", "scale", "flags"),
    [
        ("0", 0, 0, 0),
        ("7", 7, 0, 0),
        ("0.00000121", 121, 8, 0),
        ("249013.0209708", 2490130209708, 7, 0),
        ("47.914412330000005", 47914412330000005, 15, 0),
        ("123456789012345678", 123456789012345678, 0, 0),
        ("0.0000000000000000000001", 1, 22, 0),
        ("7e-7", 7, 7, EXPONENT),
        ("1.5e-7", 15, 8, EXPONENT),
        ("2E-7", 2, 7, EXPONENT),
        ("1.23456789012e-10", 123456789012, 21, EXPONENT),
        ("1e5", 100000, 0, 0),
        ("1.5E+3", 1500, 0, 0),
    ],
)
def test_a_number_is_its_digits_and_the_places_behind_its_point(text: str, digits: int, scale: int, flags: int) -> None:
    assert scan(text) == (len(text), digits, scale, flags, False)
    assert scan("-" + text) == (len(text) + 1, digits, scale, flags, True)


@pytest.mark.parametrize(
    "text", ["", "-", ".5", "5.", "01", "-01", "1e", "1e+", "NaN", "Infinity", "+1", "e5", "null", '"1"']
)
def test_what_json_does_not_call_a_number_is_refused(text: str) -> None:
    assert scan(text)[0] == -1


@pytest.mark.parametrize("text", ["1e308", "1e18", "1234567890123456789", "9" * 400, "1e99999999999999999999"])
def test_ten_to_the_eighteen_and_more_is_absurd(text: str) -> None:
    assert scan(text)[3] & ABSURD


@pytest.mark.parametrize("text", ["1e-30", "0.12345678901234567891", "1.0000000000000000001", "1e-23"])
def test_more_digits_than_a_row_holds_are_inexact(text: str) -> None:
    assert scan(text)[3] & INEXACT
    assert not scan(text)[3] & ABSURD


def test_a_scan_stops_at_its_end_not_at_the_buffers() -> None:
    data = np.frombuffer(b"123456", np.uint8).copy()
    start = data.ctypes.data
    assert numbers.scan_number(start + 1, start + 4)[:2] == (start + 4, 234)
    assert numbers.scan_integer(start + 1, start + 4) == (start + 4, 234)


@pytest.mark.parametrize("text", ["1.0", "1e3", "", "-", "007", "1" * 19])
def test_an_integer_is_digits_only(text: str) -> None:
    data = np.frombuffer(text.encode(), np.uint8).copy()
    assert numbers.scan_integer(data.ctypes.data, data.ctypes.data + len(data))[0] == -1


def javascript(digits: int, scale: int) -> str:
    """Text as JavaScript writes the decimal: plain from 1e-6 on, with an exponent below."""
    value = Decimal(digits).scaleb(-scale)
    if value != 0 and value < Decimal("1e-6"):
        mantissa, _, exponent = f"{value:e}".partition("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:f}"


@given(st.integers(0, 10**18 - 1), st.integers(0, numbers.MAX_SCALE))
@settings(max_examples=600, deadline=None)
def test_text_survives_scan_and_write(digits: int, scale: int) -> None:
    for text in {javascript(digits, scale), f"{Decimal(digits).scaleb(-scale):f}"}:
        end, got, got_scale, flags, _ = scan(text)
        assert end == len(text)
        assert write(got, got_scale, flags & EXPONENT) == text


@given(st.integers(0, 2**53 - 1), st.integers(0, numbers.MAX_SCALE))
@settings(max_examples=300, deadline=None)
def test_the_float_is_the_nearest_one_to_the_decimal(digits: int, scale: int) -> None:
    assert numbers.to_float(np.int64(digits), np.int64(scale)) == float(Decimal(digits).scaleb(-scale))


@given(st.integers(1, numbers.PRICE_LIMIT - 1), st.integers(0, numbers.MAX_SCALE))
@settings(max_examples=300, deadline=None)
def test_neighbouring_prices_are_different_floats_and_padded_ones_equal(digits: int, scale: int) -> None:
    here = numbers.to_float(np.int64(digits), np.int64(scale))
    assert numbers.to_float(np.int64(digits + 1), np.int64(scale)) > here
    if scale < numbers.MAX_SCALE and digits * 10 < 2**53:
        assert numbers.to_float(np.int64(digits * 10), np.int64(scale + 1)) == here


@given(st.integers(0, 10**18 - 1))
@settings(max_examples=200, deadline=None)
def test_digits_are_counted(digits: int) -> None:
    assert numbers.count_digits(np.int64(digits)) == len(str(digits))


def test_digits_are_counted_on_both_sides_of_each_power_of_ten() -> None:
    counted: list[Any] = [numbers.count_digits(np.int64(10**k + d)) for k in range(1, 18) for d in (-1, 0)]
    assert counted == [n for k in range(1, 18) for n in (k, k + 1)]
