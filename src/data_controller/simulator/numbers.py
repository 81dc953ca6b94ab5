"""Prices, amounts and chance of the simulated market: whole numbers in, the exchange's number text out.

A price is a *grid index*: consecutive indices are consecutive legal prices. Bitfinex allows five significant digits
and at most eight decimals, so index `k` below 100,000 is `k` * 1e-8, and above it each power of ten has 90,000
prices (mantissa 10000..99999). An amount is a whole number of 1e-8. Number text follows JavaScript's rules
(ECMA-262, Number::toString): no trailing zeros, exponent form below 1e-6. Only operations that IEEE 754 rounds
exactly are used, so a seed gives the same market on every machine.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel

AMOUNT_EXPONENT = -8
TU_DELAY_NS = 60_000_000  # a `tu` follows its `te` within this time
DECADE = 90_000  # legal prices in one power of ten
_FIRST = 100_000  # first index with five significant digits and exponent -7
_MIN_EXPONENT = -8

POWERS: NDArray[np.int64] = 10 ** np.arange(19, dtype=np.int64)

_U = (np.arange(4096) + 0.5) / 4096.0
EXPONENTIAL: NDArray[np.int64] = np.array([round(-math.log(1.0 - u) * 1_000_000) for u in _U], np.int64)
"""Quantiles of the unit exponential distribution in millionths; rounded, so that no library's last bit matters."""
LOGNORMAL: NDArray[np.int64] = np.array(
    [round(math.exp(1.1 * NormalDist().inv_cdf(u)) * 1_000_000) for u in _U], np.int64
)
"""Quantiles of a lognormal distribution (median 1, sigma 1.1) in millionths."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11, _S16, _S32, _S48 = (np.uint64(s) for s in (27, 30, 31, 11, 16, 32, 48))
_LOW16 = np.uint64(0xFFFF)


@kernel
def draw(rng: Any) -> Any:
    """Next 64 random bits of the counter in `rng[0]` (splitmix64; Steele, Lea, Flood 2014)."""
    rng[0] += _GOLDEN
    z = rng[0]
    z = (z ^ (z >> _S30)) * _MIX_A
    z = (z ^ (z >> _S27)) * _MIX_B
    return z ^ (z >> _S31)


@kernel
def uniform(rng: Any) -> float:
    """A float in [0, 1) of 53 random bits."""
    return np.int64(draw(rng) >> _S11) * (1.0 / 9007199254740992.0)


@kernel
def below(rng: Any, n: int) -> Any:
    """A whole number in 0..n-1."""
    return np.int64(uniform(rng) * n)


@kernel
def normal(rng: Any) -> float:
    """Near-normal deviate, mean 0, variance 1: a centred sum of eight 16-bit uniforms (kurtosis 2.85)."""
    a = draw(rng)
    b = draw(rng)
    total = np.int64(0)
    for word in (a, b):
        total += np.int64(word & _LOW16)
        total += np.int64((word >> _S16) & _LOW16)
        total += np.int64((word >> _S32) & _LOW16)
        total += np.int64(word >> _S48)
    # Each uniform has mean 32767.5 and variance (65536**2 - 1) / 12.
    return (total - 262140.0) / 53510.92021428464


@kernel
def exponential(rng: Any) -> Any:
    """Deviate of the unit exponential distribution, from the quantile table with linear interpolation."""
    u = uniform(rng) * 4095.0
    i = np.int64(u)
    f = u - i
    return (EXPONENTIAL[i] * (1.0 - f) + EXPONENTIAL[i + 1] * f) * 1e-6


@kernel
def lognormal(rng: Any) -> Any:
    """Deviate of the lognormal distribution with median 1 and sigma 1.1."""
    return LOGNORMAL[np.int64(uniform(rng) * 4096.0)] * 1e-6


@kernel
def mantissa(k: int) -> int:
    """Digits of grid price `k`: price = mantissa * 10**exponent."""
    if k < _FIRST:
        return k
    return 10_000 + (k - _FIRST) % DECADE


@kernel
def exponent(k: int) -> int:
    """Power of ten of grid price `k`."""
    if k < _FIRST:
        return _MIN_EXPONENT
    return _MIN_EXPONENT + 1 + (k - _FIRST) // DECADE


@kernel
def grid(digits: int, power: int) -> int:
    """Grid index of digits * 10**power; `digits` has at most five digits (100000 is taken as 10000 * 10)."""
    if digits >= 100_000:
        digits //= 10
        power += 1
    if power <= _MIN_EXPONENT:
        return digits
    return _FIRST + (power - _MIN_EXPONENT - 1) * DECADE + digits - 10_000


@kernel
def position(price: float) -> float:
    """Where a real price lies on the grid, between indices; grows with the price."""
    scaled = price * 1e8
    if scaled < 100_000.0:
        return scaled
    power = 0
    while scaled >= 100_000.0:
        scaled *= 0.1
        power += 1
    # The loop's rounding is 1e-16 a step, far below a grid step.
    return _FIRST + (power - 1) * DECADE + scaled - 10_000.0


@kernel
def value(k: int) -> float:
    """The price at grid index `k`, correctly rounded."""
    power = exponent(k)
    if power >= 0:
        return np.float64(mantissa(k) * POWERS[power])
    return mantissa(k) / np.float64(POWERS[-power])


@kernel
def coarse(k: int, drop: int, side: int) -> int:
    """Grid price `k` at `drop` fewer significant digits: bids (side 0) fall to the level below, asks rise."""
    digits = mantissa(k)
    n = 1
    while n < 5 and digits >= POWERS[n]:
        n += 1
    cut = n - (5 - drop)
    if cut <= 0:
        return k
    step = POWERS[cut]
    rest = digits % step
    if rest == 0:
        return k
    digits -= rest
    if side == 1:
        digits += step
    return grid(digits, exponent(k))


@kernel
def write_int(buf: Any, pos: int, number: int) -> int:
    """Write a whole number's digits at `pos`; returns the position after."""
    if number < 0:
        buf[pos] = 45
        pos += 1
        number = -number
    n = 1
    while n < 19 and number >= POWERS[n]:
        n += 1
    for i in range(n):
        rest = number // 10
        buf[pos + n - 1 - i] = 48 + number - rest * 10
        number = rest
    return pos + n


@kernel
def write_number(buf: Any, pos: int, digits: int, power: int) -> int:
    """Write digits * 10**power as JavaScript would; returns the position after. `digits` < 2**53 keeps it exact."""
    if digits == 0:
        buf[pos] = 48
        return pos + 1
    if digits < 0:
        buf[pos] = 45
        pos += 1
        digits = -digits
    while digits % 10 == 0:
        digits //= 10
        power += 1
    n = 1
    while n < 19 and digits >= POWERS[n]:
        n += 1
    point = n + power  # the decimal point stands after this many digits
    if power >= 0:
        pos = write_int(buf, pos, digits)
        for _ in range(power):
            buf[pos] = 48
            pos += 1
        return pos
    if point > 0:
        tail = POWERS[-power]
        pos = write_int(buf, pos, digits // tail)
        buf[pos] = 46
        pos += 1
        rest = digits % tail
        for i in range(-power):
            cut = rest // 10
            buf[pos - power - 1 - i] = 48 + rest - cut * 10
            rest = cut
        return pos - power
    if point > -6:
        buf[pos] = 48
        buf[pos + 1] = 46
        pos += 2
        for _ in range(-point):
            buf[pos] = 48
            pos += 1
        return write_int(buf, pos, digits)
    tail = POWERS[n - 1]
    pos = write_int(buf, pos, digits // tail)
    if n > 1:
        buf[pos] = 46
        pos += 1
        rest = digits % tail
        for i in range(n - 1):
            cut = rest // 10
            buf[pos + n - 2 - i] = 48 + rest - cut * 10
            rest = cut
        pos += n - 1
    buf[pos] = 101
    buf[pos + 1] = 45
    return write_int(buf, pos + 2, 1 - point)


def text(digits: int, power: int) -> str:
    """The exchange's text of digits * 10**power, in plain Python: a second reading beside `write_number`."""
    sign = "-" if digits < 0 else ""
    body = str(abs(digits))
    if body == "0":
        return "0"
    stripped = body.rstrip("0")
    power += len(body) - len(stripped)
    point = len(stripped) + power
    if power >= 0:
        return sign + stripped + "0" * power
    if point > 0:
        return f"{sign}{stripped[:point]}.{stripped[point:]}"
    if point > -6:
        return f"{sign}0.{'0' * -point}{stripped}"
    lead = stripped[0] + ("." + stripped[1:] if len(stripped) > 1 else "")
    return f"{sign}{lead}e-{1 - point}"


def float_text(number: float) -> str:
    """The exchange's text of a float: shortest form that reads back, in JavaScript's layout."""
    if number == 0:
        return "0"
    digits, _, power = f"{number!r}".partition("e")
    whole, _, fraction = digits.partition(".")
    return text(int(whole + fraction), int(power or 0) - len(fraction))


def price_text(k: int) -> str:
    """The exchange's text of grid price `k`."""
    if k < _FIRST:
        return text(k, _MIN_EXPONENT)
    return text(10_000 + (k - _FIRST) % DECADE, _MIN_EXPONENT + 1 + (k - _FIRST) // DECADE)


def amount_text(amount: int) -> str:
    """The exchange's text of an amount in units of 1e-8."""
    return text(amount, AMOUNT_EXPONENT)
