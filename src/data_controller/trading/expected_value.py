"""Expected value of an entry in basis points, after every cost that the current book shows."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from data_controller.kernels import kernel

_SQRT_2 = math.sqrt(2.0)
_SQRT_2PI = math.sqrt(2.0 * math.pi)
_MAX_Z = 6.0
_LOT = 1e8


@kernel
def walk_quote(levels: NDArray[Any], start: int, n: int, quote: float) -> float:
    """Base units that `quote` buys (or that must be sold for it) walking `n` levels; NaN where depth is short."""
    if not quote > 0.0:
        return math.nan
    base = 0.0
    left = quote
    for k in range(start, start + n):
        price = levels[k]["price"]
        size = levels[k]["size"]
        if not (0.0 < price < math.inf and 0.0 < size < math.inf):
            return math.nan
        notional = price * size
        if notional >= left:
            return float(base + left / price)
        base += size
        left -= notional
    return math.nan


@kernel
def walk_base(levels: NDArray[Any], start: int, n: int, base: float) -> tuple[float, float]:
    """Quote units paid or received for `base`, and how much of it `n` levels filled; stops at a level that is no level.

    Where all was filled the second value is `base` itself, not a sum of parts.
    """
    quote = 0.0
    filled = 0.0
    if not 0.0 < base < math.inf:
        return quote, filled
    left = base
    for k in range(start, start + n):
        price = levels[k]["price"]
        size = levels[k]["size"]
        if not (0.0 < price < math.inf and 0.0 < size < math.inf):
            break
        if size >= left:
            return quote + left * price, base
        quote += size * price
        filled += size
        left -= size
    return quote, filled


@kernel
def lots(size: float) -> float:
    """`size` rounded down to 8 digits after the point, the finest amount that venues take."""
    return math.floor(size * _LOT) / _LOT


@kernel
def round_trip(book: Any, levels: NDArray[Any], side: int, stake: float) -> tuple[float, float, float, float]:
    """Size in base units, half spread, slippage in and slippage out in bps of the mid, for `stake` quote units.

    Slippage is how much worse than the touch the average price is, walking this book on both sides: in on the side
    that `side` takes from, out with the same size on the other. All NaN where one side's depth is short.
    """
    bid = levels[book["bid0"]]["price"]
    ask = levels[book["ask0"]]["price"]
    mid = 0.5 * (bid + ask)
    if side > 0:
        start_in, n_in, touch_in = book["ask0"], book["n_ask"], ask
        start_out, n_out, touch_out = book["bid0"], book["n_bid"], bid
    else:
        start_in, n_in, touch_in = book["bid0"], book["n_bid"], bid
        start_out, n_out, touch_out = book["ask0"], book["n_ask"], ask
    size = lots(walk_quote(levels, start_in, n_in, stake))
    paid, filled_in = walk_base(levels, start_in, n_in, size)
    back, filled_out = walk_base(levels, start_out, n_out, size)
    if not (size > 0.0 and filled_in == size and filled_out == size):
        return math.nan, math.nan, math.nan, math.nan
    half = 1e4 * 0.5 * (ask - bid) / mid
    slip_in = 1e4 * max(0.0, side * (paid / size - touch_in)) / mid
    slip_out = 1e4 * max(0.0, side * (touch_out - back / size)) / mid
    return size, half, slip_in, slip_out


@kernel
def moves(mean: float, sd: float) -> tuple[float, float]:
    """E[r | r > 0] and E[-r | r < 0] of a normal return with `mean` and `sd` (inverse Mills ratio).

    A mean beyond 6 standard deviations counts as 6: no forecast of a return is that sure. NaN where `sd` is not > 0.
    """
    if not sd > 0.0:
        return math.nan, math.nan
    z = min(max(mean / sd, -_MAX_Z), _MAX_Z)
    if not -_MAX_Z <= z <= _MAX_Z:
        return math.nan, math.nan
    density = math.exp(-0.5 * z * z) / _SQRT_2PI
    gain = sd * (z + density / (0.5 * math.erfc(-z / _SQRT_2)))
    loss = sd * (-z + density / (0.5 * math.erfc(z / _SQRT_2)))
    return gain, loss


@kernel
def expected_value(p: float, q: float, gain: float, loss: float, cost: float, haircut: float) -> tuple[float, float]:
    """EV = p_low * gain - q_high * loss - cost in bps, and p_low; what is neither good nor bad counts 0.

    `p` and `q` are the probabilities of the good and the bad outcome; `haircut` is taken from the one and added to
    the other, which bounds the probability from below. NaN where anything is NaN.
    """
    p_low = p - haircut
    if p_low < 0.0:
        p_low = 0.0
    q_high = q + haircut
    if q_high > 1.0:
        q_high = 1.0
    return p_low * gain - q_high * loss - cost, p_low
