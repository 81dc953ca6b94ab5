"""Events for the feature engine, a market whose book is written straight into the arrays, and a driver."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from data_controller.features import parameters
from data_controller.features.accumulate import on_book, on_break, on_trade, on_trades_break
from data_controller.features.catalogue import COLUMNS
from data_controller.features.closing import end_second, invalidate, store
from data_controller.features.compute import compute_all
from data_controller.features.layout import SECOND_NS
from data_controller.features.observe import observe_all
from data_controller.features.settings import FeatureSettings
from data_controller.features.state import FeatureState
from data_controller.market.layout import BOOK, LEVEL
from data_controller.market.rows import EVENT, Flag, Kind

START_S = 1_700_000_010
"""Not the head of a minute, so that windows have edges."""

CAPACITY = 64
Levels = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Book:
    """A message left the book like this; `usable` False: it may not be acted on."""

    ns: int
    bids: Levels
    asks: Levels
    usable: bool = True
    snapshot: bool = False


@dataclass(frozen=True)
class Break:
    ns: int


@dataclass(frozen=True)
class Wrong:
    """A checksum at `ns` proved the book wrong since `since_ns`."""

    ns: int
    since_ns: int


@dataclass(frozen=True)
class Trade:
    ns: int
    side: int
    price: int  # hundredths
    size: int  # thousandths
    exch_ns: int = 0
    snapshot: bool = False


@dataclass(frozen=True)
class TradesLost:
    ns: int


Event = Book | Break | Wrong | Trade | TradesLost


@cache
def default_parameters() -> parameters.Parameters:
    return parameters.load_parameters()


def new_state(instruments: int = 1, **settings: object) -> FeatureState:
    return FeatureState(instruments, FeatureSettings.model_validate(settings), default_parameters())


@dataclass
class Market:
    """One book a row; `depth` 3 splits every level into orders of equal price."""

    instruments: int = 1
    depth: int = 2
    books: NDArray[np.void] = field(init=False)
    levels: NDArray[np.void] = field(init=False)

    def __post_init__(self) -> None:
        self.books = np.zeros(self.instruments, BOOK)
        self.levels = np.zeros(self.instruments * 2 * CAPACITY, LEVEL)
        for b in range(self.instruments):
            self.books[b]["depth"] = self.depth
            self.books[b]["bid0"] = 2 * b * CAPACITY
            self.books[b]["ask0"] = (2 * b + 1) * CAPACITY

    def put(self, event: Book, b: int = 0) -> None:
        book = self.books[b]
        for count, first, side in (("n_bid", "bid0", event.bids), ("n_ask", "ask0", event.asks)):
            orders = [order for level in side for order in self._orders(level)]
            assert len(orders) <= CAPACITY
            book[count] = len(orders)
            cells = self.levels[int(book[first]) : int(book[first]) + len(orders)]
            cells["price"] = [price for price, _ in orders]
            cells["size"] = [size for _, size in orders]
        book["usable"] = event.usable
        book["updated_ns"] = event.ns
        if event.snapshot:
            book["snapshot_ns"] = event.ns

    def _orders(self, level: tuple[float, float]) -> list[tuple[float, float]]:
        price, size = level
        return [(price, size / 4), (price, size - size / 4)] if self.depth == 3 else [level]


class Engine:
    """Feeds events in order as the pipeline's loop does: seconds close before the first event after them."""

    def __init__(self, market: Market | None = None, state: FeatureState | None = None, start_s: int = START_S) -> None:
        self.market = market or Market()
        self.state = state or new_state(self.market.instruments)
        self.primary = np.arange(self.market.instruments, dtype=np.int32)
        self.second = start_s  # the open one
        self.tick_every = 0

    def feed(self, *events: Event, i: int = 0) -> Engine:
        s, m = self.state, self.market
        for event in events:
            self.close_until(event.ns - 1)
            match event:
                case Book():
                    m.put(event, i)
                    on_book(s.acc, i, m.books, i, m.levels, event.ns, s.params)
                case Break():
                    m.books[i]["usable"] = 0
                    on_break(s.acc, i, event.ns)
                case Wrong():
                    m.books[i]["usable"] = 0
                    on_break(s.acc, i, event.ns)
                    invalidate(s.bins, s.hist, s.acc, i, event.since_ns, event.ns)
                case Trade():
                    on_trade(s.acc, i, trade_row(event), 0)
                case TradesLost():
                    on_trades_break(s.acc, i, event.ns)
        return self

    def close_until(self, ns: int) -> None:
        """Close every second that ends at or before `ns`."""
        while (self.second + 1) * SECOND_NS <= ns:
            self.close(self.second)
            self.second += 1
            if self.tick_every and self.second % self.tick_every == 0:
                self.compute()

    def close(self, second: int) -> None:
        s, m, n = self.state, self.market, len(self.primary)
        end_second(s.acc, s.closed, s.bins, second, m.books, self.primary, m.levels, s.params)
        store(s.closed, s.bins, s.hist, 0, n, second)

    def compute(self) -> None:
        s, m, n = self.state, self.market, len(self.primary)
        observe_all(s.obs, m.books, self.primary, m.levels, s.closed, 0, n, self.second * SECOND_NS, s.params)
        compute_all(s.bins, s.hist, s.obs, 0, n, self.second - 1, s.params, s.values, s.valid)

    def tick(self, at_s: int) -> Engine:
        """Close up to the tick at `at_s` and compute it."""
        self.close_until(at_s * SECOND_NS)
        self.compute()
        return self

    def value(self, name: str, i: int = 0) -> float | None:
        """The column's value, None where it is invalid (and then 0)."""
        c = COLUMNS.index(name)
        if not self.state.valid[i, c]:
            assert self.state.values[i, c] == 0.0
            return None
        return float(self.state.values[i, c])

    def row(self, i: int = 0) -> dict[str, float | None]:
        return {name: self.value(name, i) for name in COLUMNS}


def trade_row(trade: Trade) -> NDArray[np.void]:
    rows = np.zeros(1, EVENT)
    row = rows[0]
    row["recv_ns"], row["exch_ns"], row["kind"], row["side"] = trade.ns, trade.exch_ns, Kind.TRADE, trade.side
    row["price"], row["price_scale"], row["size"], row["size_scale"] = trade.price, 2, trade.size, 3
    row["flags"] = Flag.LAST | (Flag.SNAPSHOT if trade.snapshot else 0)
    return rows


def at(seconds: float) -> int:
    """Nanoseconds of `seconds` after the start."""
    return START_S * SECOND_NS + round(seconds * SECOND_NS)


def ladder(mid: float, half: float = 0.05, sizes: tuple[float, ...] = (1.0, 2.0, 3.0)) -> tuple[Levels, Levels]:
    """A symmetric book around `mid`."""
    bids = tuple((round(mid - half - 0.01 * k, 6), size) for k, size in enumerate(sizes))
    asks = tuple((round(mid + half + 0.01 * k, 6), size) for k, size in enumerate(sizes))
    return bids, asks


def random_events(seed: int, seconds: float, rate: float, faults: float) -> list[Event]:
    """A market of `seconds` with about `rate` events a second; `faults` is the share of events that are faults."""
    rng = np.random.default_rng(seed)
    bids: dict[int, float] = {}
    asks: dict[int, float] = {}
    middle = 10_000
    last_match = at(0)
    usable = True
    now = float(rng.uniform(0.0, 0.9))
    events: list[Event] = []

    def book(ns: int, snapshot: bool = False) -> Book:
        return Book(
            ns,
            tuple((p / 100, q) for p, q in sorted(bids.items(), reverse=True)),
            tuple((p / 100, q) for p, q in sorted(asks.items())),
            True,
            snapshot,
        )

    def refill() -> None:
        for side, sign in ((bids, -1), (asks, 1)):
            side.clear()
            for k in range(int(rng.integers(3, 14))):
                side[middle + sign * (1 + k + int(rng.integers(0, 2)) * 20)] = float(rng.integers(1, 50)) / 8

    refill()
    events.append(book(at(now), snapshot=True))
    while now < seconds:
        ns = at(now)
        dice = rng.uniform()
        if not usable and rng.uniform() < 0.5:
            refill()
            events.append(book(ns, snapshot=True))
            usable = True
            last_match = ns
        elif dice < faults:
            kind = rng.integers(0, 4)
            if kind == 0 and usable:
                events.append(Break(ns))
                usable = False
            elif kind == 1 and usable:
                events.append(Wrong(ns, last_match))
                usable = False
            elif kind == 2:
                events.append(TradesLost(ns))
            else:
                refill()
                events.append(book(ns, snapshot=True))
                usable = True
                last_match = ns
        elif dice < 0.3:
            side = 1 if rng.uniform() < 0.5 else -1
            exch_ns = int(now) * 1_000_000 if rng.uniform() < 0.5 else 0
            price, size = middle + side * int(rng.integers(0, 4)), int(rng.integers(1, 5000))
            events.append(Trade(ns, side, price, size, exch_ns, bool(rng.uniform() < 0.02)))
        elif usable:
            side_map, sign = (bids, -1) if rng.uniform() < 0.5 else (asks, 1)
            action = rng.uniform()
            best = (max if sign < 0 else min)(side_map) if side_map else middle + sign
            if action < 0.2:
                side_map.pop(best, None)
            elif action < 0.6:
                side_map[best - sign * int(rng.integers(0, 4))] = float(rng.integers(1, 50)) / 8
            else:
                side_map[best + sign * int(rng.integers(0, 12))] = float(rng.integers(1, 50)) / 8
            middle += int(rng.integers(-1, 2))
            if len(side_map) > 25 or (bids and asks and max(bids) >= min(asks) and rng.uniform() < 0.7):
                refill()
                events.append(book(ns, snapshot=True))
            else:
                events.append(book(ns))
            if rng.uniform() < 0.05:
                last_match = ns
        step = rng.exponential(1.0 / rate)
        if rng.uniform() < 0.02:
            step += rng.uniform(0.0, 20.0)
        now += step
        if rng.uniform() < 0.05:
            now = float(np.ceil(now))
        elif rng.uniform() < 0.05:
            now -= step
    return events
