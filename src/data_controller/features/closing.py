"""How a second closes into its bin, whole minutes out of bins, and what a mismatch takes back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data_controller.features.accumulate import carry, on_book
from data_controller.features.layout import (
    BOOK_SUMS,
    MINUTE_S,
    N_SUMS,
    RETURN_STEP_S,
    SECOND_NS,
    SPREAD_BINS,
    SPREAD_RING_MINUTES,
    SPREAD_RING_S,
    STEP_SQUARED,
    STEPS,
    TRADES_VALID_NS,
)
from data_controller.kernels import brief_kernel, kernel


@brief_kernel
def end_second(
    acc: NDArray[np.void],
    closed: NDArray[np.void],
    bins: NDArray[np.void],
    second: int,
    books: NDArray[np.void],
    primary: NDArray[np.int32],
    levels: NDArray[np.void],
    params: NDArray[np.void],
) -> None:
    """End `second`, which ends at (second + 1) x 1e9 ns, for all instruments, and open the next.

    The books as last seen are carried to the end; what the second gathered is copied to `closed`, for `store`, which
    must have run before the next second ends. Seconds end in ascending order; one that is stored already is left alone.
    `primary[i]` is the row of instrument i's primary book, -1 none.
    """
    for i in range(primary.shape[0]):
        if bins[i].newest != 0 and second <= bins[i].newest:
            continue
        _close_open(acc, i, second, books, primary[i], levels, params)
        closed[i] = acc[i]
        _open_next(acc, i)


@brief_kernel
def store(
    closed: NDArray[np.void], bins: NDArray[np.void], hist: NDArray[np.void], first: int, stop: int, second: int
) -> None:
    """Make what `end_second` left of `second` the newest bin of instruments first..stop - 1.

    Seconds that were skipped become bins that know nothing.
    """
    for i in range(first, stop):
        ring = bins[i]
        if ring.newest != 0 and second <= ring.newest:
            continue
        if ring.newest == 0 or second - ring.newest > ring.log_mid.shape[0]:
            ring.first = second
        else:
            for skipped in range(ring.newest + 1, second):
                _forget_book(bins, i, skipped)
                _forget_spread(hist, i, skipped)
                ring.sums[:, skipped & (ring.log_mid.shape[0] - 1)] = 0.0
                _advance(bins, i, skipped)
        _store(closed, bins, hist, i, second)
        _advance(bins, i, second)


@kernel
def _advance(bins: NDArray[np.void], i: int, second: int) -> None:
    """Make `second`, whose cells are written, the newest closed one."""
    ring = bins[i]
    ring.newest = second
    ring.first = max(ring.first, second - ring.log_mid.shape[0] + 1)
    _step(bins, i, second)


@kernel
def _close_open(
    acc: NDArray[np.void],
    i: int,
    second: int,
    books: NDArray[np.void],
    b: int,
    levels: NDArray[np.void],
    params: NDArray[np.void],
) -> None:
    """Carry book and trade feed to the second's end.

    A book that stopped being usable without `on_break` was lost at some moment after its last change: none of the
    time since then counts. One that became usable without a message counts from the second's end.
    """
    a = acc[i]
    begin = second * SECOND_NS
    end = begin + SECOND_NS
    if a.live == 1:
        a.last_ns = max(a.last_ns, begin)
        if b >= 0 and books[b].usable == 1:
            carry(acc, i, end)
        else:
            a.live = 0
    elif b >= 0 and books[b].usable == 1:
        on_book(acc, i, books, b, levels, end, params)
    if a.trades_live == 1:
        a.sums[TRADES_VALID_NS] += end - max(a.trades_last_ns, begin)
        a.trades_last_ns = end
    if a.trades_lost == 1:
        a.sums[TRADES_VALID_NS] = 0.0


@kernel
def _store(acc: NDArray[np.void], bins: NDArray[np.void], hist: NDArray[np.void], i: int, second: int) -> None:
    a = acc[i]
    ring = bins[i]
    cell = second & (ring.log_mid.shape[0] - 1)
    for f in range(N_SUMS):
        ring.sums[f, cell] = a.sums[f]
    ring.log_mid[cell] = math.log(a.mid) if a.live == 1 else np.nan
    ring.mid_high[cell] = a.mid_high if a.has_mid == 1 else np.nan
    ring.mid_low[cell] = a.mid_low if a.has_mid == 1 else np.nan
    spread_cell = second % SPREAD_RING_S
    for k in range(SPREAD_BINS):
        hist[i].second_ns[spread_cell, k] = a.spread_ns[k]


@kernel
def _open_next(acc: NDArray[np.void], i: int) -> None:
    a = acc[i]
    for f in range(N_SUMS):
        a.sums[f] = 0.0
    for k in range(SPREAD_BINS):
        a.spread_ns[k] = 0
    a.trades_lost = 0
    a.trade_exch_ns = 0
    a.has_mid = a.live
    a.mid_high = a.mid
    a.mid_low = a.mid


@kernel
def _step(bins: NDArray[np.void], i: int, second: int) -> None:
    """Set the squared return that ends with `second`, if both of its ends are known."""
    ring = bins[i]
    mask = ring.log_mid.shape[0] - 1
    cell = second & mask
    squared = 0.0
    steps = 0.0
    if second - RETURN_STEP_S >= ring.first:
        move = 1e4 * (ring.log_mid[cell] - ring.log_mid[(second - RETURN_STEP_S) & mask])
        if move == move:
            squared = move * move
            steps = 1.0
    ring.sums[STEP_SQUARED, cell] = squared
    ring.sums[STEPS, cell] = steps


@kernel
def seal(bins: NDArray[np.void], hist: NDArray[np.void], i: int, second: int) -> None:
    """Sum the whole minutes up to `second` that are not summed yet.

    The tick does it, not the closing: a tick can be sliced over instruments, while a second closes for all at once.
    """
    ring = bins[i]
    stop = (second + 1) // MINUTE_S
    for minute in range(max(ring.sealed + 1, (ring.first + MINUTE_S - 1) // MINUTE_S), stop):
        _seal_minute(bins, i, minute)
        if minute * MINUTE_S > ring.newest - SPREAD_RING_S:
            _seal_spread_minute(hist, i, minute)
    ring.sealed = max(ring.sealed, stop - 1)


@kernel
def _seal_minute(bins: NDArray[np.void], i: int, minute: int) -> None:
    """Sum the sixty seconds of `minute`, ascending, into its cell."""
    ring = bins[i]
    mask = ring.log_mid.shape[0] - 1
    cell = minute & (ring.minute_high.shape[0] - 1)
    begin = minute * MINUTE_S
    for f in range(N_SUMS):
        total = 0.0
        for s in range(begin, begin + MINUTE_S):
            total += ring.sums[f, s & mask]
        ring.minute_sums[f, cell] = total
    highest = np.nan
    lowest = np.nan
    for s in range(begin, begin + MINUTE_S):
        high = ring.mid_high[s & mask]
        if high == high and not highest >= high:
            highest = high
        low = ring.mid_low[s & mask]
        if low == low and not lowest <= low:
            lowest = low
    ring.minute_high[cell] = highest
    ring.minute_low[cell] = lowest


@kernel
def _seal_spread_minute(hist: NDArray[np.void], i: int, minute: int) -> None:
    times = hist[i].minute_ns[minute % SPREAD_RING_MINUTES]
    for k in range(SPREAD_BINS):
        times[k] = 0
    for s in range(minute * MINUTE_S, (minute + 1) * MINUTE_S):
        seconds = hist[i].second_ns[s % SPREAD_RING_S]
        for k in range(SPREAD_BINS):
            times[k] += seconds[k]


@kernel
def _forget_book(bins: NDArray[np.void], i: int, second: int) -> None:
    """Make the book's part of a bin one that knows nothing."""
    ring = bins[i]
    cell = second & (ring.log_mid.shape[0] - 1)
    for f in BOOK_SUMS:
        ring.sums[f, cell] = 0.0
    ring.log_mid[cell] = np.nan
    ring.mid_high[cell] = np.nan
    ring.mid_low[cell] = np.nan


@kernel
def _forget_spread(hist: NDArray[np.void], i: int, second: int) -> None:
    times = hist[i].second_ns[second % SPREAD_RING_S]
    for k in range(SPREAD_BINS):
        times[k] = 0


@kernel
def invalidate(
    bins: NDArray[np.void], hist: NDArray[np.void], acc: NDArray[np.void], i: int, from_ns: int, to_ns: int
) -> None:
    """Take back what the book of instrument `i` gave in (from_ns, to_ns], where a checksum proved it wrong.

    Every second the span touches becomes gap, the open one included; trades stand. Call it beside `on_break`.
    """
    ring = bins[i]
    if ring.newest == 0 or to_ns > (ring.newest + 1) * SECOND_NS:
        _forget_open(acc, i, to_ns)
    if ring.newest == 0:
        return
    oldest = max(from_ns // SECOND_NS, ring.first)
    newest = min((to_ns - 1) // SECOND_NS, ring.newest)
    if newest < oldest:
        return
    for s in range(oldest, newest + 1):
        _forget_book(bins, i, s)
    # Cells of the shorter spread ring older than its length hold younger seconds by now.
    for s in range(max(oldest, ring.newest - SPREAD_RING_S + 1), newest + 1):
        _forget_spread(hist, i, s)
    for s in range(oldest, min(newest + RETURN_STEP_S, ring.newest) + 1):
        _step(bins, i, s)
    # Minutes from the first one touched on are summed anew at the next tick.
    ring.sealed = min(ring.sealed, oldest // MINUTE_S - 1)


@kernel
def _forget_open(acc: NDArray[np.void], i: int, to_ns: int) -> None:
    a = acc[i]
    for f in BOOK_SUMS:
        a.sums[f] = 0.0
    for k in range(SPREAD_BINS):
        a.spread_ns[k] = 0
    a.has_mid = 0
    a.last_ns = max(a.last_ns, to_ns)
