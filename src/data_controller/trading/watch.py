"""Watched prices: stop and take-profit of each position, looked at after every change of a book."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.trading.rows import Reason

_NOTHING = int(Reason.NONE)
_STOP = int(Reason.STOP)
_TAKE_PROFIT = int(Reason.TAKE_PROFIT)


@kernel
def touched(watch: NDArray[Any], i: int, bid: float, ask: float) -> int:
    """Reason.STOP or TAKE_PROFIT where the price at which instrument `i` could be left has reached it, else NONE.

    A long is left at the bid, a short at the ask. A stop wins a tie. A NaN or missing (0) price touches nothing.
    """
    w = watch[i]
    if w["armed"] != 1 or not (bid > 0.0 and ask > 0.0):
        return _NOTHING
    if w["side"] > 0:
        if bid <= w["stop"]:
            return _STOP
        if bid >= w["take_profit"]:
            return _TAKE_PROFIT
    elif w["side"] < 0:
        if ask >= w["stop"]:
            return _STOP
        if ask <= w["take_profit"]:
            return _TAKE_PROFIT
    return _NOTHING


@kernel
def arm(watch: NDArray[Any], i: int, side: int, price: float, stop_bps: float, take_profit_bps: float) -> None:
    """Watch a position of `side` entered at `price`."""
    w = watch[i]
    w["armed"] = 1
    w["side"] = side
    w["stop"] = price * (1.0 - side * stop_bps * 1e-4)
    w["take_profit"] = price * (1.0 + side * take_profit_bps * 1e-4)


@kernel
def disarm(watch: NDArray[Any], i: int) -> None:
    """Stop watching instrument `i`."""
    w = watch[i]
    w["armed"] = 0
    w["side"] = 0
    w["stop"] = 0.0
    w["take_profit"] = 0.0
