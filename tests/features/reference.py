"""Every feature computed the slow, obvious way from the raw events: what the kernels are compared with."""

from __future__ import annotations

import bisect
import math
import statistics
from dataclasses import dataclass

from data_controller.features.declarations import FEATURES
from data_controller.features.layout import SECOND_NS, SPREAD_BINS, SPREAD_HIGH_BPS, SPREAD_LOW_BPS
from tests.features.stream import START_S, Book, Break, Event, Levels, Trade, TradesLost, Wrong

LEVELS = 10
ORDER_SIZE_QUOTE = 1000.0


@dataclass(frozen=True)
class State:
    bids: Levels
    asks: Levels

    @property
    def mid(self) -> float:
        return (self.bids[0][0] + self.asks[0][0]) / 2

    @property
    def spread_bps(self) -> float:
        return 1e4 * (self.asks[0][0] - self.bids[0][0]) / self.mid

    def level(self, m: int) -> tuple[float, float, float, float]:
        bid = self.bids[m] if m < len(self.bids) else (-math.inf, 0.0)
        ask = self.asks[m] if m < len(self.asks) else (math.inf, 0.0)
        return *bid, *ask


@dataclass(frozen=True)
class Segment:
    begin: int
    end: int
    state: State


def flow(old: State, new: State, m: int) -> float:
    """Cont, Kukanov, Stoikov 2014, as printed."""
    pb0, qb0, pa0, qa0 = old.level(m)
    pb1, qb1, pa1, qa1 = new.level(m)
    return (pb1 >= pb0) * qb1 - (pb1 <= pb0) * qb0 - (pa1 <= pa0) * qa1 + (pa1 >= pa0) * qa0


class Reference:
    """The events up to a tick, as segments of book states, flows, trades and spans of trade feed."""

    def __init__(self, events: list[Event], tick_s: int) -> None:
        self.tick = tick_s * SECOND_NS
        self.segments: list[Segment] = []
        self.flows: list[tuple[int, list[float]]] = []
        self.looks: list[tuple[int, float]] = []  # mids at events
        self.trades: list[Trade] = []
        self.feed: list[tuple[int, int]] = []
        self.lost_seconds: set[int] = set()
        self.wiped: list[tuple[int, int]] = []
        state: State | None = None
        since = feed_since = 0
        feed_live = False
        self.last_book_ns = 0
        self.usable = False
        for event in [e for e in events if e.ns <= self.tick]:
            if isinstance(event, Book):
                self.last_book_ns = event.ns
                fine = event.usable and event.bids and event.asks and event.bids[0][0] < event.asks[0][0]
                new = State(event.bids, event.asks) if fine else None
                if state is not None:
                    self.segments.append(Segment(since, event.ns, state))
                    if new is not None and not event.snapshot:
                        self.flows.append((event.ns, [flow(state, new, m) for m in range(LEVELS)]))
                if new is not None:
                    self.looks.append((event.ns, new.mid))
                state, since = new, event.ns
                self.usable = event.usable
            elif isinstance(event, Break | Wrong):
                if state is not None:
                    self.segments.append(Segment(since, event.ns, state))
                state = None
                self.usable = False
                if isinstance(event, Wrong):
                    self.wiped.append((event.since_ns // SECOND_NS * SECOND_NS, event.ns))
            elif isinstance(event, Trade):
                if not feed_live:
                    feed_live, feed_since = True, event.ns
                if not event.snapshot:
                    self.trades.append(event)
            elif isinstance(event, TradesLost) and feed_live:
                self.feed.append((feed_since, event.ns))
                feed_live = False
                self.lost_seconds.add((event.ns - 1) // SECOND_NS)
        if state is not None:
            self.segments.append(Segment(since, self.tick, state))
        if feed_live:
            self.feed.append((feed_since, self.tick))
        self.state = state
        self.whole = [s for s in self.segments if s.end > s.begin]
        self.begins = [s.begin for s in self.whole]
        for low, high in self.wiped:
            self.segments = [piece for s in self.segments for piece in _cut(s, low, high)]
            self.flows = [(ns, f) for ns, f in self.flows if not low < ns <= high]
            self.looks = [(ns, mid) for ns, mid in self.looks if not low < ns <= high]

    # pieces

    def clipped(self, window: int) -> list[Segment]:
        low = self.tick - window * SECOND_NS
        return [
            Segment(max(s.begin, low), s.end, s.state)
            for s in self.segments
            if s.end > low and s.end > max(s.begin, low)
        ]

    def integral(self, window: int, value: object) -> float:
        return math.fsum((s.end - s.begin) * value(s.state) for s in self.clipped(window))  # type: ignore[operator]

    def known(self, window: int) -> int:
        return sum(s.end - s.begin for s in self.clipped(window))

    def feed_known(self, window: int) -> int:
        total = 0
        for second in range(self.tick // SECOND_NS - window, self.tick // SECOND_NS):
            if second in self.lost_seconds:
                continue
            low, high = second * SECOND_NS, (second + 1) * SECOND_NS
            total += sum(max(0, min(end, high) - max(begin, low)) for begin, end in self.feed)
        return total

    def ofi(self, window: int, m: int = 0) -> float:
        low = self.tick - window * SECOND_NS
        return math.fsum(f[m] for ns, f in self.flows if ns > low)

    def mid_at(self, back_s: int) -> float | None:
        """The mid at the boundary `back_s` before the tick, None where unknown."""
        boundary = self.tick - back_s * SECOND_NS
        if any(low < boundary <= high for low, high in self.wiped):
            return None
        if boundary == self.tick:
            return self.state.mid if self.state else None
        k = bisect.bisect_right(self.begins, boundary) - 1
        return self.whole[k].state.mid if k >= 0 and boundary < self.whole[k].end else None

    def traded(self, window: int, side: int, quote: bool, ago: int = 0) -> float:
        high = self.tick - ago * SECOND_NS
        low = high - window * SECOND_NS
        return math.fsum(
            (t.size / 1000) * (t.price / 100 if quote else 1.0)
            for t in self.trades
            if low < t.ns <= high and t.side == side
        )

    def log_move(self, back: int, step: int) -> float | None:
        new, old = self.mid_at(back), self.mid_at(back + step)
        return None if new is None or old is None else 1e4 * math.log(new / old)

    def step_variance(self, window: int) -> float | None:
        moves = [self.log_move(back, 5) for back in range(window - 4)]
        squares = [move * move for move in moves if move is not None]
        return math.fsum(squares) / len(squares) if squares else None

    # features

    def values(self, first_s: int = START_S) -> dict[str, float | None]:
        """All columns; None where a value is invalid. `first_s` is the first second that was closed."""
        age = self.tick // SECOND_NS - first_s
        result: dict[str, float | None] = {}
        for feature in FEATURES:
            found = self._feature(feature.name)
            if feature.warm_up_s > age:
                found = (None,) * len(feature.column_names)
            allowed = feature.max_gap_fraction * feature.window_s * SECOND_NS
            if feature.window_s:
                whole = feature.window_s * SECOND_NS
                if "book" in feature.inputs and whole - self.known(feature.window_s) > allowed:
                    found = (None,) * len(feature.column_names)
                if "trades" in feature.inputs and whole - self.feed_known(feature.window_s) > allowed:
                    found = (None,) * len(feature.column_names)
            result.update(zip(feature.column_names, found, strict=True))
        return result

    def _feature(self, name: str) -> tuple[float | None, ...]:
        head, _, tail = name.rpartition("_")
        window = int(tail) if tail.isdigit() else 0
        if head == "r":
            return (self.log_move(0, window),)
        if head == "ofi":
            known = self.known(window)
            depth = self.integral(window, lambda s: (s.bids[0][1] + s.asks[0][1]) / 2)
            return (self.ofi(window) / (depth / known) if known else None,)
        if head == "tfi":
            buys, sells = self.traded(window, 1, False), self.traded(window, -1, False)
            return ((buys - sells) / (buys + sells) if buys + sells else 0.0,)
        if head == "rv":
            variance = self.step_variance(window)
            return (None if variance is None else math.sqrt(window / 5 * variance),)
        if head.startswith("spread_q"):
            return (self.quantile(window, int(head[8:]) / 100),)
        return getattr(self, "_" + name)()  # type: ignore[no-any-return]

    def quantile(self, window: int, q: float) -> float | None:
        times = [0] * SPREAD_BINS
        for s in self.clipped(window):
            position = math.log(s.state.spread_bps / SPREAD_LOW_BPS) / math.log(SPREAD_HIGH_BPS / SPREAD_LOW_BPS)
            times[min(max(int(position * SPREAD_BINS), 0), SPREAD_BINS - 1)] += s.end - s.begin
        target, below = q * sum(times), 0
        for k, time in enumerate(times):
            if time and below + time >= target:
                share = (k + (target - below) / time) / SPREAD_BINS
                return SPREAD_LOW_BPS * (SPREAD_HIGH_BPS / SPREAD_LOW_BPS) ** share
            below += time
        return None

    def _vwap_distance_300(self) -> tuple[float | None]:
        base = self.traded(300, 1, False) + self.traded(300, -1, False)
        quote = self.traded(300, 1, True) + self.traded(300, -1, True)
        return (1e4 * math.log(self.state.mid / (quote / base)) if self.state and base else None,)

    def _range_position_3600(self) -> tuple[float | None]:
        low_ns = self.tick - 3600 * SECOND_NS
        mids = [s.state.mid for s in self.clipped(3600)] + [mid for ns, mid in self.looks if ns > low_ns]
        if not mids or self.state is None:
            return (None,)
        low, high = min(mids), max(mids)
        return ((self.state.mid - low) / (high - low) if high > low else 0.5,)

    def _spread(self) -> tuple[float | None]:
        return (self.state.spread_bps if self.state else None,)

    def _cost_to_trade(self) -> tuple[float | None]:
        if self.state is None:
            return (None,)
        mid = self.state.mid
        buy, sell = _walk(self.state.asks), _walk(self.state.bids)
        return (None if buy is None or sell is None else 1e4 * ((buy - mid) / mid + (mid - sell) / mid) / 2,)

    def _band(self, bps: float | None) -> tuple[float, float, float]:
        assert self.state
        mid, share = self.state.mid, (bps or 0.0) / 1e4
        bids = [(p, q) for p, q in self.state.bids if p >= (mid * (1 - share) if bps else self.state.bids[0][0])]
        asks = [(p, q) for p, q in self.state.asks if p <= (mid * (1 + share) if bps else self.state.asks[0][0])]
        quote = math.fsum(p * q for p, q in bids + asks)
        return math.fsum(q for _, q in bids), math.fsum(q for _, q in asks), quote

    def _imbalance(self, bps: float | None) -> tuple[float | None]:
        if self.state is None:
            return (None,)
        bid, ask, _ = self._band(bps)
        return ((bid - ask) / (bid + ask) if bid + ask else None,)

    def _qi_best(self) -> tuple[float | None]:
        return self._imbalance(None)

    def _qi_5bps(self) -> tuple[float | None]:
        return self._imbalance(5.0)

    def _qi_25bps(self) -> tuple[float | None]:
        return self._imbalance(25.0)

    def _microprice_minus_mid(self) -> tuple[float | None]:
        if self.state is None:
            return (None,)
        _, bid, _, ask = self.state.level(0)
        bucket = min(int(bid / (bid + ask) * 10), 9)
        return ((2 * (bucket + 0.5) / 10 - 1) * self.state.spread_bps / 2,)

    def _log_depth_5bps(self) -> tuple[float | None]:
        return (math.log1p(self._band(5.0)[2]) if self.state else None,)

    def _qi_persistence_900(self) -> tuple[float | None]:
        known = self.known(900)
        signs = self.integral(900, lambda s: (s.bids[0][1] > s.asks[0][1]) - (s.bids[0][1] < s.asks[0][1]))
        return (signs / known if known else None,)

    def _integrated_ofi_60(self) -> tuple[float | None]:
        known = self.known(60)
        if not known:
            return (None,)
        depth = self.integral(
            60, lambda s: math.fsum(s.level(m)[1] + s.level(m)[3] for m in range(LEVELS)) / 2 / LEVELS
        )
        return (math.fsum(self.ofi(60, m) / LEVELS for m in range(LEVELS)) / (depth / known),)

    def _trade_rate_60(self) -> tuple[float | None]:
        low = self.tick - 60 * SECOND_NS
        count, last = 0, None
        for trade in (t for t in self.trades if t.ns > low):
            key = ((trade.ns - 1) // SECOND_NS, trade.exch_ns, trade.side)
            if trade.exch_ns == 0 or key != last:
                count += 1
            last = key
        return (count / 60,)

    def _volume_300_over_median(self) -> tuple[float | None]:
        volumes = [self.traded(300, 1, True, k * 300) + self.traded(300, -1, True, k * 300) for k in range(12)]
        median = statistics.median(volumes)
        return (volumes[0] / median if median > 0 else None,)

    def _kyle_lambda_900(self) -> tuple[float | None]:
        pairs = []
        for k in range(180):
            move = self.log_move(5 * k, 5)
            if move is not None:
                signed = self.traded(5, 1, True, 5 * k) - self.traded(5, -1, True, 5 * k)
                pairs.append((signed / 1e6, move))
        if len(pairs) < 30 or len({x for x, _ in pairs}) == 1:
            return (None,)
        return (statistics.linear_regression([x for x, _ in pairs], [y for _, y in pairs]).slope,)

    def _rv_300_over_rv_3600(self) -> tuple[float | None]:
        short, long = self.step_variance(300), self.step_variance(3600)
        return (math.sqrt(short / long) if long and short is not None else None,)

    def _leader_r_5(self) -> tuple[float | None]:
        return (self.log_move(0, 5),)

    def _hour(self) -> tuple[float, float]:
        angle = 2 * math.pi * (self.tick // SECOND_NS % 86_400) / 86_400
        return math.sin(angle), math.cos(angle)

    def _quality(self) -> tuple[float | None, float, float]:
        age = (self.tick - self.last_book_ns) / 1e6 if self.last_book_ns else None
        return age, 1 - self.known(60) / (60 * SECOND_NS), float(self.usable)


def _cut(segment: Segment, low: int, high: int) -> list[Segment]:
    """`segment` without (low, high]."""
    pieces = [
        Segment(segment.begin, min(segment.end, low), segment.state),
        Segment(max(segment.begin, high), segment.end, segment.state),
    ]
    return [piece for piece in pieces if piece.end > piece.begin]


def _walk(side: Levels) -> float | None:
    """Mean price of trading ORDER_SIZE_QUOTE, best level first."""
    left, base = ORDER_SIZE_QUOTE, 0.0
    for price, size in side:
        take = min(left, price * size)
        base += take / price
        left -= take
        if left <= 0:
            return ORDER_SIZE_QUOTE / base
    return None
