"""JSON numbers as digits and scale: value and wire text both, without a float in between.

A number is `digits / 10**scale`. Where `digits < 2**53` and `scale <= 22` both are exact doubles and one IEEE
division is correctly rounded (W. Clinger, 1990), so equal decimals are equal floats. Distinct decimals of up to 15
digits are distinct floats too, which is what a book's key needs: hence PRICE_LIMIT.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.kernels import kernel
from data_controller.market._words import bit_length, load_byte, store_byte, store_word

MAX_SCALE = 22
MAX_DIGITS = 18
PRICE_LIMIT = 10**15
"""First count of price digits that is not surely its own float."""

EXPONENT = 1
"""The wire wrote an exponent."""
INEXACT = 2
"""More digits or a smaller unit than a row holds; `digits` means nothing."""
ABSURD = 4
"""10**18 or more: no market writes that."""

POWERS = np.array([10.0**k for k in range(MAX_SCALE + 1)])
_TENS = np.array([10**k for k in range(MAX_DIGITS + 1)], np.int64)

_ZEROS = np.uint64(0x3030303030303030)

TEXT_SPACE = 56
"""Bytes `write_number` may touch behind its start: the longest text and the slack of its 8-byte stores."""


@kernel
def scan_number(p: Any, end: Any) -> Any:
    """The JSON number between addresses `p` and `end`: (next, digits, scale, flags, negative).

    `next` is the address behind it, -1 where there is none; flags are EXPONENT, INEXACT and ABSURD. A zero keeps its
    scale; `-0` is negative.
    """
    negative = False
    if p < end and load_byte(p) == 45:
        negative = True
        p += 1
    first = p
    digits = np.int64(0)
    while p < end:
        c = load_byte(p) - 48
        if c < 0 or c > 9:
            break
        digits = digits * 10 + c
        p += 1
    whole = p - first
    if whole == 0 or (whole > 1 and load_byte(first) == 48):
        return np.int64(-1), np.int64(0), np.int64(0), np.int64(0), negative
    scale = np.int64(0)
    if p < end and load_byte(p) == 46:
        p += 1
        point = p
        while p < end:
            c = load_byte(p) - 48
            if c < 0 or c > 9:
                break
            digits = digits * 10 + c
            p += 1
        scale = np.int64(p - point)
        if scale == 0:
            return np.int64(-1), np.int64(0), np.int64(0), np.int64(0), negative
    flags = np.int64(0)
    exponent_follows = p < end and (load_byte(p) == 101 or load_byte(p) == 69)
    if whole + scale <= MAX_DIGITS and not exponent_follows:
        return np.int64(p), digits, scale, flags, negative
    return _scan_unusual(first, p, end, digits, whole, scale, negative)


@kernel
def _scan_unusual(first: Any, p: Any, end: Any, digits: Any, whole: Any, scale: Any, negative: Any) -> Any:
    """The rest of `scan_number` where the number is long or has an exponent."""
    flags = np.int64(0)
    significant = np.int64(0)
    for q in range(first, p):
        if load_byte(q) != 46 and (significant > 0 or load_byte(q) != 48):
            significant += 1
    exponent = np.int64(0)
    if p < end and (load_byte(p) == 101 or load_byte(p) == 69):
        p += 1
        down = False
        if p < end and (load_byte(p) == 43 or load_byte(p) == 45):
            down = load_byte(p) == 45
            p += 1
        begin = p
        while p < end and load_byte(p) >= 48 and load_byte(p) <= 57:
            if exponent < 100_000:
                exponent = exponent * 10 + (load_byte(p) - 48)
            p += 1
        if p == begin:
            return np.int64(-1), np.int64(0), np.int64(0), np.int64(0), negative
        if down:
            exponent = -exponent
            flags |= EXPONENT
    if significant == 0:
        zeros = scale if exponent == 0 and scale <= MAX_SCALE else np.int64(0)
        return np.int64(p), np.int64(0), zeros, np.int64(0), negative
    magnitude = significant - scale + exponent
    if magnitude > MAX_DIGITS:
        return np.int64(p), np.int64(0), np.int64(0), flags | ABSURD, negative
    scale = np.int64(scale - exponent)
    if significant > MAX_DIGITS or scale > MAX_SCALE:
        return np.int64(p), np.int64(0), np.int64(0), flags | INEXACT, negative
    if scale < 0:
        digits *= _TENS[-scale]
        scale = np.int64(0)
    if significant - 1 - scale >= 0:
        flags &= ~EXPONENT
    return np.int64(p), np.int64(digits), scale, flags, negative


@kernel
def scan_integer(p: Any, end: Any) -> Any:
    """The JSON integer between addresses `p` and `end`: (next, value); next is -1 where there is none of 18 digits."""
    negative = False
    if p < end and load_byte(p) == 45:
        negative = True
        p += 1
    first = p
    value = np.int64(0)
    while p < end:
        c = load_byte(p) - 48
        if c < 0 or c > 9:
            break
        value = value * 10 + c
        p += 1
    length = p - first
    if length == 0 or length > MAX_DIGITS or (length > 1 and load_byte(first) == 48):
        return np.int64(-1), np.int64(0)
    if p < end and (load_byte(p) == 46 or load_byte(p) == 101 or load_byte(p) == 69):
        return np.int64(-1), np.int64(0)
    if negative:
        value = -value
    return np.int64(p), value


@kernel
def to_float(digits: Any, scale: Any) -> Any:
    """`digits / 10**scale`; correctly rounded below 2**53 digits, within one unit in the last place above."""
    return np.float64(digits) / POWERS[scale]


@kernel
def count_digits(digits: Any) -> Any:
    """Decimal digits of a non-negative number below 10**18; 1 for 0."""
    # 1233 / 4096 is log10(2) from above, near enough for 60 bits: the guess is right or one too small.
    digits |= 1
    guess = (bit_length(np.uint64(digits)) * 1233) >> 12
    return guess + (1 if digits >= _TENS[guess] else 0)


@kernel
def _eight(value: Any) -> Any:
    """ASCII of `value` < 10**8 as 8 zero-padded digits, first digit in the lowest byte (P. Khuong, 2017)."""
    x = np.uint64(value)
    top = x // np.uint64(10000)
    x = top | ((x - top * np.uint64(10000)) << np.uint64(32))
    hundreds = ((x * np.uint64(10486)) >> np.uint64(20)) & np.uint64(0x0000007F0000007F)
    x = hundreds | ((x - hundreds * np.uint64(100)) << np.uint64(16))
    tens = ((x * np.uint64(103)) >> np.uint64(10)) & np.uint64(0x000F000F000F000F)
    x = tens | ((x - tens * np.uint64(10)) << np.uint64(8))
    return x + _ZEROS


@kernel
def _window(high: Any, low: Any, at: Any) -> Any:
    """Bytes `at` to `at + 8` of the 16 bytes `high`, `low`; anything behind them."""
    first = low if at >= 8 else high
    second = np.uint64(0) if at >= 8 else low
    shift = np.uint64(8 * at & 63)
    return (first >> shift) | ((second << np.uint64(1)) << (np.uint64(63) - shift))


@kernel
def write_number(p: Any, digits: Any, scale: Any, exponent: Any) -> Any:
    """Write the number's wire text at address `p`; returns the address behind it.

    Exponent text is JavaScript's: `1.5e-7`. Bytes up to `p + TEXT_SPACE` may be overwritten.
    """
    n = count_digits(digits)
    if exponent != 0 or n > 16 or scale > 15:
        return _write_unusual(p, digits, scale, exponent, n)
    # No branch depends on the number from here on: lengths are as good as random, and a wrong guess costs more than
    # the stores that nobody needed.
    value = np.uint64(digits)
    upper = value // np.uint64(100_000_000)
    high = _eight(upper)
    low = _eight(value - upper * np.uint64(100_000_000))
    whole = max(n - scale, 1)
    point = 16 - scale
    store_word(p, _window(high, low, point - whole))
    store_word(p + 8, _window(high, low, point - whole + 8))
    p += whole
    store_byte(p, 46)
    p += np.int64(scale > 0)
    store_word(p, _window(high, low, point))
    store_word(p + 8, _window(high, low, point + 8))
    return p + scale


@kernel
def _write_unusual(p: Any, digits: Any, scale: Any, exponent: Any, n: Any) -> Any:
    """`write_number` digit by digit: exponents, more than 16 digits, tiny units."""
    shift = n - 1 - scale
    if exponent != 0:
        if n == 1:
            store_byte(p, 48 + digits)
            p += 1
        else:
            for k in range(n, 1, -1):
                store_byte(p + k, 48 + digits % 10)
                digits //= 10
            store_byte(p, 48 + digits)
            store_byte(p + 1, 46)
            p += n + 1
        store_byte(p, 101)
        store_byte(p + 1, 45)
        p += 2
        shift = -shift
        if shift >= 10:
            store_byte(p, 48 + shift // 10)
            p += 1
        store_byte(p, 48 + shift % 10)
        return p + 1
    whole = max(n - scale, 1)
    length = whole + scale
    if scale > 0:
        for k in range(length, whole, -1):
            store_byte(p + k, 48 + digits % 10)
            digits //= 10
        store_byte(p + whole, 46)
    for k in range(whole - 1, -1, -1):
        store_byte(p + k, 48 + digits % 10)
        digits //= 10
    return p + length + (1 if scale > 0 else 0)
