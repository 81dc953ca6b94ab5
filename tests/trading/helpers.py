"""Books written straight into the arrays of market.layout, and traders whose gate is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_controller.market.layout import BOOK, LEVEL, Proof
from data_controller.trading.rows import State
from data_controller.trading.settings import RiskSettings, TradingSettings
from data_controller.trading.trader import Trader

S = 1_000_000_000
MS = 1_000_000
T0 = 1_750_000_000 * S
CAPACITY = 8

Side = Sequence[tuple[float, float]]


class Books:
    """One book an instrument, `CAPACITY` levels a side; `put` replaces both sides, best first."""

    def __init__(self, n: int) -> None:
        self.books = np.zeros(n, BOOK)
        self.levels = np.zeros(2 * CAPACITY * n, LEVEL)
        self.book_of = np.arange(n, dtype=np.int32)
        self.books["depth"] = 2
        self.books["instrument"] = np.arange(n)
        self.books["capacity"] = CAPACITY
        self.books["bid0"] = np.arange(n) * 2 * CAPACITY
        self.books["ask0"] = self.books["bid0"] + CAPACITY

    def put(self, i: int, bids: Side, asks: Side, usable: bool = True) -> None:
        book = self.books[i]
        for start, side, count in (("bid0", bids, "n_bid"), ("ask0", asks, "n_ask")):
            lo = int(book[start])
            for k, (price, size) in enumerate(side):
                self.levels[lo + k]["price"], self.levels[lo + k]["size"] = price, size
            book[count] = len(side)
        book["usable"] = usable
        book["proof"] = Proof.PROVED if usable else Proof.BROKEN

    @property
    def view(self) -> tuple[Any, Any, Any]:
        return self.books, self.book_of, self.levels


def terms(**changed: Any) -> TradingSettings:
    """Terms in which nothing costs anything but the spread, so that each test adds what it is about."""
    free = {"fee_bps": 0.0, "latency_drift_bps": 0.0, "probability_haircut": 0.0}
    return TradingSettings(**({"latency_ms": 100, "stake_quote": 100.0} | free | changed))


def open_trader(
    n: int = 1, horizons: Sequence[int] = (60,), trading: TradingSettings | None = None, **risk: Any
) -> Trader:
    trader = Trader(trading or terms(), RiskSettings(**({"cooldown_s": 0.0} | risk)), n, horizons)
    trader.set_state(State.ACTIVE)
    trader.set_latched(False)
    trader.set_journal_ok(True)
    return trader


def outputs(n: int = 1, horizons: int = 1, mean: float = 20.0, sd: float = 20.0, p_up: float = 0.8) -> Any:
    row = np.array([p_up, 1.0 - p_up, mean, sd], np.float32)
    return np.broadcast_to(row, (n, horizons, 4)).copy()


def answer(trader: Trader, books: Books, out: Any, seq: int = 1, now_ns: int = T0, tick_ns: int | None = None) -> Any:
    ones = np.ones(len(out), np.uint8)
    tick = now_ns if tick_ns is None else tick_ns
    return trader.on_answer(seq, now_ns, tick, out, ones, ones, *books.view)
