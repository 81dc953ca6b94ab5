"""What a tick sees of the live book: spread, imbalances, microprice, depth, cost to trade, age."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_controller.features.layout import BAND_NARROW_BPS, BAND_WIDE_BPS
from data_controller.kernels import brief_kernel, kernel

_NS_PER_MS = 1e6


@brief_kernel
def observe_all(
    obs: NDArray[np.void],
    books: NDArray[np.void],
    primary: NDArray[np.int32],
    levels: NDArray[np.void],
    acc: NDArray[np.void],
    first: int,
    stop: int,
    now_ns: int,
    params: NDArray[np.void],
) -> None:
    """`observe` for instruments first..stop - 1."""
    for i in range(first, stop):
        observe(obs, i, books, primary[i], levels, acc, now_ns, params)


@kernel
def observe(
    obs: NDArray[np.void],
    i: int,
    books: NDArray[np.void],
    b: int,
    levels: NDArray[np.void],
    acc: NDArray[np.void],
    now_ns: int,
    params: NDArray[np.void],
) -> None:
    """Fill `obs[i]` from book `b` (-1 none) as it stands at `now_ns`, after the second that ends there was closed."""
    o = obs[i]
    o.now_ns = now_ns
    o.live = 0
    o.proof_ok = 0
    o.has_book = 1 if b >= 0 else 0
    o.feed_age_ms = np.nan
    _know_nothing(obs, i)
    if b < 0:
        return
    book = books[b]
    o.proof_ok = book.usable
    if book.updated_ns > 0:
        o.feed_age_ms = (now_ns - book.updated_ns) / _NS_PER_MS
    # The open second's state says the same of the book, and also that the events before this tick were taken in.
    if acc[i].live == 0 or book.usable == 0 or book.n_bid == 0 or book.n_ask == 0:
        return
    bid = levels[book.bid0].price
    ask = levels[book.ask0].price
    if not 0.0 < bid < ask:
        return
    o.live = 1
    o.bid = bid
    o.ask = ask
    o.bid_size = _size_down_to(levels, book.bid0, book.n_bid, bid)
    o.ask_size = _size_up_to(levels, book.ask0, book.n_ask, ask)
    mid = 0.5 * (bid + ask)
    o.mid = mid
    o.spread_bps = 1e4 * (ask - bid) / mid
    o.qi_best = imbalance(o.bid_size, o.ask_size)
    narrow = BAND_NARROW_BPS * 1e-4
    wide = BAND_WIDE_BPS * 1e-4
    o.qi_narrow = imbalance(
        _size_down_to(levels, book.bid0, book.n_bid, mid * (1.0 - narrow)),
        _size_up_to(levels, book.ask0, book.n_ask, mid * (1.0 + narrow)),
    )
    o.qi_wide = imbalance(
        _size_down_to(levels, book.bid0, book.n_bid, mid * (1.0 - wide)),
        _size_up_to(levels, book.ask0, book.n_ask, mid * (1.0 + wide)),
    )
    o.depth_narrow = _quote_within(levels, book.bid0, book.n_bid, mid, narrow) + _quote_within(
        levels, book.ask0, book.n_ask, mid, narrow
    )
    o.microprice_bps = microprice_bps(o.bid_size, o.ask_size, o.spread_bps, params)
    size = params[0].order_size_quote
    buy = walk(levels, book.ask0, book.n_ask, size)
    sell = walk(levels, book.bid0, book.n_bid, size)
    o.cost_buy_bps = 1e4 * (buy - mid) / mid
    o.cost_sell_bps = 1e4 * (mid - sell) / mid


@kernel
def _know_nothing(obs: NDArray[np.void], i: int) -> None:
    o = obs[i]
    o.bid = np.nan
    o.ask = np.nan
    o.bid_size = np.nan
    o.ask_size = np.nan
    o.mid = np.nan
    o.spread_bps = np.nan
    o.qi_best = np.nan
    o.qi_narrow = np.nan
    o.qi_wide = np.nan
    o.microprice_bps = np.nan
    o.depth_narrow = np.nan
    o.cost_buy_bps = np.nan
    o.cost_sell_bps = np.nan


@kernel
def _size_down_to(levels: NDArray[np.void], begin: int, count: int, price: float) -> float:
    """Size of the bids at `price` or better."""
    total = 0.0
    for k in range(begin, begin + count):
        if levels[k].price < price:
            break
        total += levels[k].size
    return total


@kernel
def _size_up_to(levels: NDArray[np.void], begin: int, count: int, price: float) -> float:
    """Size of the asks at `price` or better."""
    total = 0.0
    for k in range(begin, begin + count):
        if levels[k].price > price:
            break
        total += levels[k].size
    return total


@kernel
def _quote_within(levels: NDArray[np.void], begin: int, count: int, mid: float, band: float) -> float:
    """Price x size of one side's entries within the share `band` of the mid."""
    low = mid * (1.0 - band)
    high = mid * (1.0 + band)
    total = 0.0
    for k in range(begin, begin + count):
        if not low <= levels[k].price <= high:
            break
        total += levels[k].price * levels[k].size
    return total


@kernel
def imbalance(bid_size: float, ask_size: float) -> float:
    """(B - A) / (B + A), NaN where both are 0. Gould, Bonart 2016."""
    total = bid_size + ask_size
    if total <= 0.0:
        return np.nan
    return (bid_size - ask_size) / total


@kernel
def microprice_bps(bid_size: float, ask_size: float, spread_bps: float, params: NDArray[np.void]) -> float:
    """Microprice minus mid in bps by the table of the parameter file. Stoikov 2018."""
    p = params[0]
    buckets = p.micro_buckets
    bucket = min(int(bid_size / (bid_size + ask_size) * buckets), buckets - 1)
    state = 0
    while state < p.micro_states - 1 and spread_bps >= p.micro_edges_bps[state]:
        state += 1
    return float(p.micro_table[state, bucket] * 0.5 * spread_bps)


@kernel
def walk(levels: NDArray[np.void], begin: int, count: int, quote: float) -> float:
    """Mean price of taking `quote` worth from one side, best first; NaN where the side is not deep enough."""
    left = quote
    base = 0.0
    for k in range(begin, begin + count):
        worth = levels[k].price * levels[k].size
        if worth >= left:
            return float(quote / (base + left / levels[k].price))
        left -= worth
        base += levels[k].size
    return np.nan
