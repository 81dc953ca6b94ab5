"""What every event adds to the open second: order flow by level, time-weighted book state, trades."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data_controller.features.layout import (
    BOOK_EVENTS,
    BUY_BASE,
    BUY_QUOTE,
    DEPTH_NS,
    EFFECTIVE_QUOTE,
    EFFECTIVE_QUOTE_BPS,
    FRESH_EVENTS,
    LEVELS_NS,
    OFI,
    QI_SIGN_NS,
    SELL_BASE,
    SELL_QUOTE,
    SPREAD_BINS,
    SPREAD_HIGH_BPS,
    SPREAD_LOW_BPS,
    TRADES,
    VALID_NS,
)
from data_controller.kernels import kernel
from data_controller.market.numbers import to_float
from data_controller.market.rows import Flag

_SNAPSHOT = int(Flag.SNAPSHOT | Flag.CHECKPOINT)
_INEXACT = int(Flag.INEXACT)
_LOG_LOW = math.log(SPREAD_LOW_BPS)
_BINS_PER_LOG = SPREAD_BINS / math.log(SPREAD_HIGH_BPS / SPREAD_LOW_BPS)


@kernel
def carry(acc: NDArray[np.void], i: int, to_ns: int) -> None:
    """Extend the integrals of `i`'s open second to `to_ns` with the book as last seen, which must be live."""
    a = acc[i]
    elapsed = to_ns - a.last_ns
    if elapsed <= 0:
        return
    a.last_ns = to_ns
    sums = a.sums
    sums[VALID_NS] += elapsed
    sums[QI_SIGN_NS] += elapsed * a.qi_sign
    sums[DEPTH_NS] += elapsed * a.depth
    sums[LEVELS_NS] += elapsed * a.levels_depth
    a.spread_ns[a.spread_bin] += elapsed


@kernel
def on_break(acc: NDArray[np.void], i: int, recv_ns: int) -> None:
    """The book became unusable at `recv_ns`: time from here on is gap until an event finds it usable again."""
    if acc[i].live == 1:
        carry(acc, i, recv_ns)
        acc[i].live = 0


@kernel
def on_book(
    acc: NDArray[np.void],
    i: int,
    books: NDArray[np.void],
    b: int,
    levels: NDArray[np.void],
    recv_ns: int,
    params: NDArray[np.void],
) -> None:
    """Take in book `b` of instrument `i` after the LAST row of a message that changed it; of every such message.

    Order flow is Cont, Kukanov, Stoikov 2014 at each level: both sides are compared with the book as last seen. A
    book that is not usable, one-sided or crossed is no market: that time is gap.
    """
    book = books[b]
    a = acc[i]
    if book.usable == 0 or book.n_bid == 0 or book.n_ask == 0:
        on_break(acc, i, recv_ns)
        return
    if not 0.0 < levels[book.bid0].price < levels[book.ask0].price:
        on_break(acc, i, recv_ns)
        return
    fresh = a.live == 0 or a.snapshot_ns != book.snapshot_ns or a.book != b
    sums = a.sums
    sums[BOOK_EVENTS] += 1.0
    n = params[0].levels
    changed = fresh
    moved = fresh or levels[book.bid0].price != a.bid_price[0] or levels[book.ask0].price != a.ask_price[0]
    first = 0 if fresh else min(n, book.touched_bid)  # better levels are as last seen
    k = book.bid0 + first
    stop = book.bid0 + book.n_bid
    for m in range(first, n):
        price = -np.inf
        size = 0.0
        if k < stop:
            price = levels[k].price
            size = levels[k].size
            k += 1
            while k < stop and levels[k].price == price:
                size += levels[k].size
                k += 1
        old_price = a.bid_price[m]
        old_size = a.bid_size[m]
        if price != old_price or size != old_size:
            changed = True
            if not fresh:
                flow = 0.0
                if price >= old_price:
                    flow += size
                if price <= old_price:
                    flow -= old_size
                sums[OFI + m] += flow
            a.bid_price[m] = price
            a.bid_size[m] = size
    first = 0 if fresh else min(n, book.touched_ask)
    k = book.ask0 + first
    stop = book.ask0 + book.n_ask
    for m in range(first, n):
        price = np.inf
        size = 0.0
        if k < stop:
            price = levels[k].price
            size = levels[k].size
            k += 1
            while k < stop and levels[k].price == price:
                size += levels[k].size
                k += 1
        old_price = a.ask_price[m]
        old_size = a.ask_size[m]
        if price != old_price or size != old_size:
            changed = True
            if not fresh:
                flow = 0.0
                if price <= old_price:
                    flow -= size
                if price >= old_price:
                    flow += old_size
                sums[OFI + m] += flow
            a.ask_price[m] = price
            a.ask_size[m] = size
    if fresh:
        sums[FRESH_EVENTS] += 1.0
        if a.live == 1:
            carry(acc, i, recv_ns)
        a.live = 1
        a.last_ns = recv_ns
        a.snapshot_ns = book.snapshot_ns
        a.book = b
    elif changed:
        carry(acc, i, recv_ns)
    if changed:
        _look(acc, i, n)
    if moved:
        _move(acc, i)


@kernel
def _move(acc: NDArray[np.void], i: int) -> None:
    """Take in new best prices: the mid, its path, the spread."""
    a = acc[i]
    bid = a.bid_price[0]
    ask = a.ask_price[0]
    mid = 0.5 * (bid + ask)
    a.mid = mid
    if a.has_mid == 0:
        a.has_mid = 1
        a.mid_high = mid
        a.mid_low = mid
    else:
        if mid > a.mid_high:
            a.mid_high = mid
        if mid < a.mid_low:
            a.mid_low = mid
    a.spread_bin = spread_bin(1e4 * (ask - bid) / mid)


@kernel
def _look(acc: NDArray[np.void], i: int, n: int) -> None:
    """Take in new sizes: the depths and the sign of the imbalance that the integrals need."""
    a = acc[i]
    bid_size = a.bid_size[0]
    ask_size = a.ask_size[0]
    a.depth = 0.5 * (bid_size + ask_size)
    total = 0.0
    for m in range(n):
        total += a.bid_size[m] + a.ask_size[m]
    a.levels_depth = 0.5 * total / n
    if bid_size > ask_size:
        a.qi_sign = 1.0
    elif bid_size < ask_size:
        a.qi_sign = -1.0
    else:
        a.qi_sign = 0.0


@kernel
def spread_bin(spread_bps: float) -> int:
    """The bin of the spread histogram that `spread_bps` (> 0) counts in."""
    if spread_bps <= SPREAD_LOW_BPS:
        return 0
    if spread_bps >= SPREAD_HIGH_BPS:
        return SPREAD_BINS - 1
    return min(int((math.log(spread_bps) - _LOG_LOW) * _BINS_PER_LOG), SPREAD_BINS - 1)


@kernel
def on_trade(acc: NDArray[np.void], i: int, rows: NDArray[np.void], r: int) -> None:
    """Take in TRADE row `r`. A SNAPSHOT row is no flow: it only says that the feed is unbroken from here on."""
    row = rows[r]
    a = acc[i]
    if a.trades_live == 0:
        a.trades_live = 1
        a.trades_last_ns = row.recv_ns
    if row.flags & _SNAPSHOT:
        return
    if row.flags & _INEXACT:
        on_trades_break(acc, i, row.recv_ns)
        return
    price = to_float(row.price, row.price_scale)
    size = to_float(row.size, row.size_scale)
    quote = price * size
    sums = a.sums
    if row.side > 0:
        sums[BUY_BASE] += size
        sums[BUY_QUOTE] += quote
    elif row.side < 0:
        sums[SELL_BASE] += size
        sums[SELL_QUOTE] += quote
    else:
        return
    if row.exch_ns == 0 or row.exch_ns != a.trade_exch_ns or row.side != a.trade_side:
        sums[TRADES] += 1.0
    a.trade_exch_ns = row.exch_ns
    a.trade_side = row.side
    if a.live == 1:
        sums[EFFECTIVE_QUOTE_BPS] += quote * (2e4 * row.side * (price - a.mid) / a.mid)
        sums[EFFECTIVE_QUOTE] += quote


@kernel
def on_trades_break(acc: NDArray[np.void], i: int, recv_ns: int) -> None:
    """The trade feed lost something at or before `recv_ns`: the open second and all until its next row are gap."""
    a = acc[i]
    if a.trades_live == 1:
        a.trades_live = 0
        a.trades_lost = 1
