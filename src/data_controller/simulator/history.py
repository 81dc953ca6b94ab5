"""What was traded: live trades and candles as they were made, and before the market's start a past that a seed tells.

The past is a function of seed, instrument and minute: four trades a minute along a path of layered noise that ends at
the price with which the market began. It reaches `PAST_DAYS` back, costs nothing until asked for, and is the same
whoever asks. A candle of the past is exactly its trades.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_controller.simulator import view
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.instruments import start_price
from data_controller.simulator.numbers import DECADE
from data_controller.simulator.state import CANDLES

PAST_DAYS = 90
PER_MINUTE = 4
MINUTE_MS = 60_000
TRADES_KEPT = 100_000
"""Live trades remembered an instrument."""
CANDLES_KEPT = 100_000
_OCTAVES_MIN = (4, 16, 64, 256, 1024, 4096, 16384)  # periods of the noise
_SWING = 0.0015  # of the fastest octave, relative; grows with the root of the period
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Candle(NamedTuple):
    """What was traded in a span that begins at `mts`; prices are grid indices, amounts whole numbers of 1e-8."""

    mts: int
    open: int
    close: int
    high: int
    low: int
    volume: int
    quote: int
    trades: int


class History:
    """Candles and trades of an exchange's instruments, from `PAST_DAYS` before its start until now."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.start_ms = exchange.start_ns // 1_000_000
        n = len(exchange.symbols)
        # The id before the market's first trade: ids of the past end below it, whenever they are asked for.
        market = exchange.state.market
        self._base = int(exchange.state.clock[0]["trade_id"]) - int(market["trades"].sum())
        self._live: list[deque[view.Trade]] = [deque(maxlen=TRADES_KEPT) for _ in range(n)]
        self._closed: list[dict[int, Candle]] = [{} for _ in range(n)]  # by minute's start
        self._counts: list[dict[int, tuple[int, int]]] = [{} for _ in range(n)]  # minute's start -> trades, quote
        self._seen = [0] * n
        self._minutes = [0] * n
        exchange.venues.append(self)

    @classmethod
    def of(cls, exchange: Exchange) -> History:
        """The history of an exchange, begun now where nobody asked for it before."""
        for venue in exchange.venues:
            if isinstance(venue, History):
                return venue
        return cls(exchange)

    def step(self, now_ns: int) -> None:
        """Remember what was traded since the last step."""
        market = self.exchange.state.market
        for i, total in enumerate(market["trades"].tolist()):
            if total > self._seen[i]:
                self._remember(i)
        for i, minutes in enumerate(market["minutes"].tolist()):
            if minutes > self._minutes[i]:
                self._close(i, minutes)

    def _remember(self, i: int) -> None:
        trades = view.trades_since(self.exchange, i, self._seen[i])
        self._seen[i] = trades[-1].number + 1
        self._live[i].extend(trades)
        counts = self._counts[i]
        for trade in trades:
            minute = trade.mts - trade.mts % MINUTE_MS
            count, quote = counts.get(minute, (0, 0))
            counts[minute] = count + 1, quote + worth(trade.k, abs(trade.amount))

    def _close(self, i: int, minutes: int) -> None:
        for candle in self._ring(i, max(self._minutes[i] - 1, minutes - CANDLES), minutes - 1):
            self._closed[i][candle.mts] = candle
        self._minutes[i] = minutes
        while len(self._closed[i]) > CANDLES_KEPT:
            del self._closed[i][next(iter(self._closed[i]))]

    def _ring(self, i: int, first: int, stop: int) -> list[Candle]:
        """Candles number `first` to `stop` of those that the market still holds."""
        if stop <= max(first, 0):
            return []
        rows = self.exchange.state.candles[i, np.arange(max(first, 0), stop) % CANDLES]
        names = ("mts", "open", "close", "high", "low", "volume")
        out = []
        for mts, opened, closed, high, low, volume in zip(*(rows[name].tolist() for name in names), strict=True):
            count, quote = self._counts[i].get(mts, (1, worth(closed, int(volume))))
            out.append(Candle(mts, opened, closed, high, low, int(volume), quote, count))
        return out

    # Asking

    def candles(
        self, i: int, minutes: int, start_ms: int | None, end_ms: int | None, limit: int, newest: bool | None = None
    ) -> list[Candle]:
        """Candles of so many minutes that begin within [start_ms, end_ms], oldest first, at most `limit` of them.

        Where there are more, the newest ones if `newest`, which without a start is the default.
        """
        width = minutes * MINUTE_MS
        now_ms = self.exchange.now_ns // 1_000_000
        oldest_ms = self.start_ms - PAST_DAYS * 86_400_000
        last = min(now_ms if end_ms is None else end_ms, now_ms) // width * width
        if newest is None:
            newest = start_ms is None
        first = -(-max(oldest_ms, start_ms or 0) // width) * width
        if limit < 1 or last < first:
            return []
        if newest:
            first = max(first, last - (limit + 4) * width)
        else:
            last = min(last, first + (limit + 4) * width) if last < self.start_ms else last
        merged: dict[int, Candle] = {}
        for candle in [*self._past(i, first, last + width), *self._present(i, first, last + width)]:
            at = candle.mts - candle.mts % width
            merged[at] = joined(merged[at], candle) if at in merged else candle._replace(mts=at)
        rows = [merged[at] for at in sorted(merged)]
        return rows[-limit:] if newest else rows[:limit]

    def trades(
        self, i: int, start_ms: int | None, end_ms: int | None, limit: int, oldest_first: bool = False
    ) -> list[view.Trade]:
        """Trades within [start_ms, end_ms], oldest first; of more than `limit` the newest, or the oldest ones."""
        now_ms = self.exchange.now_ns // 1_000_000
        end = now_ms if end_ms is None else min(end_ms, now_ms)
        start = max(start_ms or 0, self.start_ms - PAST_DAYS * 86_400_000)
        live = [*self._live[i], *view.trades_since(self.exchange, i, self._seen[i])]
        found = [trade for trade in live if start <= trade.mts <= end]
        past_end = min(end, self.start_ms - 1)
        if start <= past_end and (oldest_first or len(found) < limit):
            span = (limit // PER_MINUTE + 2) * MINUTE_MS
            if oldest_first:
                past = self._told(i, start, min(past_end, start + span))
            else:
                past = self._told(i, max(start, past_end - span), past_end)
            found = past + found
        return found[:limit] if oldest_first else found[-limit:]

    def trades_from(self, i: int, number: int, limit: int) -> list[view.Trade]:
        """At most `limit` trades from `number` on, oldest first; the past's numbers are below 0."""
        found: list[view.Trade] = []
        if number < 0:
            oldest_ms = self.start_ms - PAST_DAYS * 86_400_000
            minute = max((number + self._serial_of_start(i)) // PER_MINUTE, oldest_ms // MINUTE_MS)
            end_ms = (minute + limit // PER_MINUTE + 2) * MINUTE_MS
            told = self._told(i, max(minute * MINUTE_MS, oldest_ms), min(end_ms, self.start_ms - 1))
            found = [trade for trade in told if trade.number >= number]
        live = [*self._live[i], *view.trades_since(self.exchange, i, self._seen[i])]
        return [*found, *(trade for trade in live if trade.number >= number)][:limit]

    def _present(self, i: int, first_ms: int, stop_ms: int) -> list[Candle]:
        minutes = int(self.exchange.state.market[i]["minutes"])
        rows = dict(self._closed[i])
        rows |= {candle.mts: candle for candle in self._ring(i, minutes - CANDLES, minutes)}
        return [rows[mts] for mts in sorted(rows) if first_ms <= mts < stop_ms]

    # The past

    def _path(self, i: int, minutes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The price at moments given in minutes since the epoch: the first price where the market begins."""
        moments = np.concatenate([minutes, [self.start_ms / MINUTE_MS]])
        total = np.zeros(len(moments))
        for octave, period in enumerate(_OCTAVES_MIN):
            at = moments / period
            cell = np.floor(at)
            part = at - cell
            weight = part * part * (3.0 - 2.0 * part)
            ends = [_noise(self.exchange.seed, i, octave, cell + step) for step in (0, 1)]
            total += _SWING * (period / 4.0) ** 0.5 * (ends[0] * (1.0 - weight) + ends[1] * weight)
        path: NDArray[np.float64] = start_price(self.exchange.symbols[i], i) * np.exp(total[:-1] - total[-1])
        return path

    def _drawn(self, i: int, first: int, stop: int) -> tuple[NDArray[np.int64], ...]:
        """Times in ms, grid prices and signed amounts of the trades of minutes `first` to `stop`."""
        minutes = np.repeat(np.arange(first, stop), PER_MINUTE)
        place = np.tile(np.arange(PER_MINUTE), stop - first)
        serial = (minutes * PER_MINUTE + place).astype(np.float64)
        jitter = (_noise(self.exchange.seed, i, 40, serial) + 1.0) * 0.5
        mts = minutes * MINUTE_MS + ((place + jitter * 0.999) * (MINUTE_MS / PER_MINUTE)).astype(np.int64)
        index = grid_index(self._path(i, mts / MINUTE_MS))
        unit, lot = (int(self.exchange.state.market[i][name]) for name in ("unit", "lot"))
        size = (_noise(self.exchange.seed, i, 41, serial) + 1.1) * unit / lot
        amount = np.maximum(size.astype(np.int64), 100) * lot
        sign = np.where(_noise(self.exchange.seed, i, 42, serial) > 0.0, 1, -1)
        return mts, index, amount * sign

    def _told(self, i: int, start_ms: int, end_ms: int) -> list[view.Trade]:
        """The past's trades within [start_ms, end_ms]; numbered below 0, the last one -1."""
        mts, index, amount = self._drawn(i, start_ms // MINUTE_MS, min(end_ms, self.start_ms) // MINUTE_MS + 1)
        number = start_ms // MINUTE_MS * PER_MINUTE + np.arange(len(mts)) - self._serial_of_start(i)
        keep = (mts >= start_ms) & (mts <= end_ms) & (mts < self.start_ms)
        columns = (number[keep], self._base + number[keep] - 1_000_000, mts[keep], amount[keep], index[keep])
        return [view.Trade(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _serial_of_start(self, i: int) -> int:
        """How many trades the past has from the epoch's first minute to the market's start."""
        last_minute = self.start_ms // MINUTE_MS
        inside = self._drawn(i, last_minute, last_minute + 1)[0]
        return last_minute * PER_MINUTE + int((inside < self.start_ms).sum())

    def _past(self, i: int, first_ms: int, stop_ms: int) -> list[Candle]:
        """The past's candles of one minute that begin within [first_ms, stop_ms)."""
        first, stop = first_ms // MINUTE_MS, min(stop_ms, self.start_ms + MINUTE_MS) // MINUTE_MS
        if first >= stop or first_ms >= self.start_ms:
            return []
        mts, index, amount = self._drawn(i, first, stop)
        rows = []
        shape = (stop - first, PER_MINUTE)
        k, a = index.reshape(shape), np.abs(amount).reshape(shape)
        columns = (k[:, 0], k[:, -1], k.max(axis=1), k.min(axis=1), a.sum(axis=1))
        for at, (opened, closed, high, low, volume) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            quote = worth(closed, volume)
            rows.append(Candle((first + at) * MINUTE_MS, opened, closed, high, low, volume, quote, PER_MINUTE))
        if stop * MINUTE_MS > self.start_ms:  # the market began within the last of these minutes
            rows.pop()
            left = int((mts[-PER_MINUTE:] < self.start_ms).sum())
            if left:
                ks, volume = k[-1, :left].tolist(), int(a[-1, :left].sum())
                prices = (ks[0], ks[-1], max(ks), min(ks))
                rows.append(Candle((stop - 1) * MINUTE_MS, *prices, volume, worth(ks[-1], volume), left))
        return rows


def worth(k: int, amount: int) -> int:
    """Price times amount, in 1e-8, rounded down."""
    digits, power = view.digits_of(k)
    return digits * amount * int(10**power) if power >= 0 else digits * amount // int(10**-power)


def grid_of(price: Decimal) -> int:
    """The grid index of a price of at most five significant digits and eight decimals; rounded down to the latter."""
    digits, power = int(price.scaleb(8)), -8
    while digits >= 100_000:
        digits, power = digits // 10, power + 1
    return digits if power == -8 else 100_000 + (power + 7) * DECADE + digits - 10_000


def joined(a: Candle, b: Candle) -> Candle:
    """Two neighbouring spans as one."""
    high, low = max(a.high, b.high), min(a.low, b.low)
    return Candle(a.mts, a.open, b.close, high, low, a.volume + b.volume, a.quote + b.quote, a.trades + b.trades)


def grid_index(prices: NDArray[np.float64]) -> NDArray[np.int64]:
    """The nearest legal prices as grid indices."""
    power = np.floor(np.log10(prices)).astype(np.int64) - 4
    digits = np.rint(prices / 10.0**power).astype(np.int64)
    over = digits >= 100_000
    power, digits = power + over, np.where(over, 10_000, digits)
    tiny = np.maximum(np.rint(prices * 1e8).astype(np.int64), 1)
    return np.where(power <= -8, tiny, 100_000 + (power + 7) * DECADE + digits - 10_000)


def _noise(seed: int, i: int, layer: int, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A number in [-1, 1) for each whole number of `at`, seed, instrument and layer (splitmix64's mixing)."""
    salt = (seed * 0x9E3779B97F4A7C15 + i * 0xD1B54A32D192ED03 + layer * 0x8CB92BA72F3D8DD7) & 0xFFFFFFFFFFFFFFFF
    z = at.astype(np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    z = (z ^ (z >> np.uint64(30))) * _MIX_A
    z = (z ^ (z >> np.uint64(27))) * _MIX_B
    z = z ^ (z >> np.uint64(31))
    out: NDArray[np.float64] = (z >> np.uint64(11)).astype(np.float64) * (2.0 / (1 << 53)) - 1.0
    return out
