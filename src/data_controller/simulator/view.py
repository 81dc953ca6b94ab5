"""What further venues read of the market: books and trades as whole numbers, and their texts with fixed decimals."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data_controller.errors import SimulatorError
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.instruments import start_price
from data_controller.simulator.numbers import AMOUNT_EXPONENT, DECADE
from data_controller.simulator.state import TAPE

_FIRST = 100_000  # first index with five significant digits and an exponent above the lowest
AMOUNT_DECIMALS = -AMOUNT_EXPONENT
Book = tuple[dict[int, int], dict[int, int]]
"""Bids and asks, grid price -> amount in 1e-8, best first."""


class Trade(NamedTuple):
    """A trade; `number` counts an instrument's trades from 0."""

    number: int
    id: int
    mts: int
    amount: int  # above 0: the taker bought
    k: int


class Order(NamedTuple):
    """A resting order."""

    id: int
    k: int
    amount: int


def split(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol such as tBTCUSD or tDOGE:USD."""
    pair = symbol.removeprefix("t")
    base, colon, quote = pair.partition(":")
    return (base, quote) if colon else (pair[:-3], pair[-3:])


def book(exchange: Exchange, i: int) -> Book:
    """An instrument's whole book."""
    return side(exchange, i, 0), side(exchange, i, 1)


def side(exchange: Exchange, i: int, which: int) -> dict[int, int]:
    """One side (0 bids, 1 asks) of an instrument's book."""
    state = exchange.state
    rows = state.levels[i, which, : int(state.n_levels[i, which])]
    keys = rows["key"] if which else -rows["key"]
    return dict(zip(keys.tolist(), rows["amount"].tolist(), strict=True))


def orders(exchange: Exchange, i: int, which: int) -> list[Order]:
    """The resting orders of a side, best first, in their queue's order."""
    state = exchange.state
    rows = state.orders[i, which, : int(state.n_orders[i, which])]
    keys = rows["key"] if which else -rows["key"]
    return [Order(*row) for row in zip(rows["id"].tolist(), keys.tolist(), rows["amount"].tolist(), strict=True)]


def trades_since(exchange: Exchange, i: int, number: int) -> list[Trade]:
    """The trades of an instrument from `number` on, oldest first, as far as the tape still holds them."""
    total = int(exchange.state.market[i]["trades"])
    first = max(number, total - TAPE)
    if first >= total:
        return []
    numbers = np.arange(first, total)
    rows = exchange.state.tape[i, numbers & (TAPE - 1)]
    columns = (rows[name].tolist() for name in ("id", "mts", "amount", "k"))
    return [Trade(*row) for row in zip(numbers.tolist(), *columns, strict=True)]


def mid(exchange: Exchange, i: int) -> float:
    """The middle between the best prices."""
    bid, ask = exchange.top(exchange.symbols[i])
    return 0.5 * (bid + ask)


def digits_of(k: int) -> tuple[int, int]:
    """Digits and power of ten of grid price `k`, in plain Python."""
    if k < _FIRST:
        return k, AMOUNT_EXPONENT
    return 10_000 + (k - _FIRST) % DECADE, AMOUNT_EXPONENT + 1 + (k - _FIRST) // DECADE


def decimals(exchange: Exchange, i: int) -> int:
    """Digits after the point with which every price down to a tenth of the first one can be written, at most eight."""
    first = start_price(exchange.symbols[i], i)
    return max(0, min(8, 5 - math.floor(math.log10(first))))


@lru_cache(1 << 16)
def fixed_price(k: int, places: int) -> str:
    """The text of grid price `k` with so many digits after the point."""
    digits, power = digits_of(k)
    if power + places < 0:
        raise SimulatorError(f"expected a price that {places} decimals can write, was index {k}")
    return fixed(digits * 10 ** (power + places), places)


def fixed(digits: int, places: int) -> str:
    """A whole number of 10**-places as text with exactly so many digits after the point."""
    sign, digits = ("-", -digits) if digits < 0 else ("", digits)
    if places == 0:
        return f"{sign}{digits}"
    return f"{sign}{digits // 10**places}.{digits % 10**places:0{places}d}"


def fixed_amount(amount: int) -> str:
    """The text of an amount with all its eight digits after the point."""
    return fixed(amount, AMOUNT_DECIMALS)
