"""The one compiled loop: rows into books, bins and watches, until something needs Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.features.accumulate import on_book, on_break, on_trade, on_trades_break
from data_controller.kernels import brief_kernel, kernel
from data_controller.market.core import BOOK_CHANGED, BROKE, CONTROL, FULL, LOST, PROVED, TRADE, apply_row
from data_controller.market.rows import Flag
from data_controller.trading.watch import touched

ROUTE = np.dtype(
    [
        ("instrument", "<i4"),  # row of the instrument table
        ("primary", "u1"),  # 1: the book that features and trading of the instrument read
        ("zero", "u1", (3,)),
        ("rows", "<i8"),
        ("messages", "<i8"),  # rows that end a message
        ("late_ns", "<i8"),  # of the last row with a time of the venue's: its arrival minus that time; 0 none yet
    ]
)
"""Where the rows of a channel go, by channel row."""

_LAST, _SNAPSHOT = int(Flag.LAST), int(Flag.SNAPSHOT)
assert _LAST == 1, "messages are counted by adding the flag"

DONE = 0
STOP_CONTROL = 1  # a CONTROL row was applied
STOP_BROKE = 2  # the row broke its channel's book
STOP_FULL = 4  # the row was not applied: its book must be widened first
STOP_LOST = 5  # something of a channel that is no book was lost
STOP_WATCH = 3  # a stop or a take-profit of the row's instrument was touched


@brief_kernel
def run(
    rows: NDArray[np.void],
    lo: int,
    hi: int,
    books: NDArray[np.void],
    levels: NDArray[np.void],
    index: NDArray[np.void],
    scratch: NDArray[np.uint8],
    routes: NDArray[np.void],
    acc: NDArray[np.void],
    feature_params: NDArray[np.void],
    watch: NDArray[np.void],
) -> Any:
    """Apply rows `lo..hi`; returns (next row, why it stopped, detail). The row before `next` stopped it."""
    for r in range(lo, hi):
        code = apply_row(rows, r, books, levels, index, scratch)
        if code == FULL:
            return r, STOP_FULL, rows[r].channel
        if rows[r].channel >= 0:
            routes[rows[r].channel].rows += 1
            routes[rows[r].channel].messages += rows[r].flags & _LAST
            if rows[r].exch_ns != 0 and rows[r].flags & _SNAPSHOT == 0:
                routes[rows[r].channel].late_ns = rows[r].recv_ns - rows[r].exch_ns
        if code in (BOOK_CHANGED, PROVED):
            c = rows[r].channel
            if routes[c].primary:
                i = routes[c].instrument
                on_book(acc, i, books, c, levels, rows[r].recv_ns, feature_params)
                if watch[i].armed == 1 and books[c].usable and books[c].n_bid > 0 and books[c].n_ask > 0:
                    why = touched(watch, i, levels[books[c].bid0].price, levels[books[c].ask0].price)
                    if why != 0:
                        return r + 1, STOP_WATCH, why
        elif code == TRADE:
            on_trade(acc, routes[rows[r].channel].instrument, rows, r)
        elif code == BROKE:
            c = rows[r].channel
            if routes[c].primary:
                on_break(acc, routes[c].instrument, rows[r].recv_ns)
            return r + 1, STOP_BROKE, books[c].broken_by
        elif code == LOST:
            if rows[r].channel >= 0:
                on_trades_break(acc, routes[rows[r].channel].instrument, rows[r].recv_ns)
                return r + 1, STOP_LOST, 0
        elif code == CONTROL:
            return r + 1, STOP_CONTROL, rows[r].ref
    return hi, DONE, 0


@brief_kernel
def first_later(recv_ns: NDArray[np.int64], lo: int, hi: int, at_ns: int) -> int:
    """Index of the first record in `lo..hi` that arrived later than `at_ns`, `hi` where none did."""
    while lo < hi:
        middle = (lo + hi) >> 1
        if recv_ns[middle] > at_ns:
            hi = middle
        else:
            lo = middle + 1
    return lo


@kernel
def _copy_level(level: Any, out: Any) -> None:
    out.price = level.price
    out.size = level.size
    out.price_digits = level.price_digits
    out.size_digits = level.size_digits
    out.ref = level.ref
    out.price_scale = level.price_scale
    out.size_scale = level.size_scale
    out.flags = level.flags
    out.text_bytes = 0
    out.text_crc = 0


@brief_kernel
def copy_books(
    books: NDArray[np.void],
    levels: NDArray[np.void],
    head: NDArray[np.int64],
    copies: NDArray[np.void],
    out: NDArray[np.void],
) -> int:
    """Copy every book to `copies` [channels] with its levels, bids then asks, in `out`; returns levels copied.

    `out` must hold the sum of all levels. What a checksum remembers of a level is no part of the book: it is 0. `head`
    [channels, 4] gets each book's proof, what proved it, and how many bids and asks it has.
    """
    n = 0
    for b in range(books.shape[0]):
        head[b, 0] = books[b].proof
        head[b, 1] = books[b].proof_by
        head[b, 2] = 0
        head[b, 3] = 0
        copies[b] = books[b]
        if books[b].depth == 0:
            continue
        copies[b].bid0 = n
        copies[b].ask0 = n + books[b].n_bid
        head[b, 2] = books[b].n_bid
        head[b, 3] = books[b].n_ask
        for i in range(books[b].n_bid):
            _copy_level(levels[books[b].bid0 + i], out[n])
            n += 1
        for i in range(books[b].n_ask):
            _copy_level(levels[books[b].ask0 + i], out[n])
            n += 1
    return n


@brief_kernel
def first_row_later(rows: NDArray[np.void], lo: int, hi: int, at_ns: int) -> int:
    """Index of the first row in `lo..hi` that arrived later than `at_ns`, `hi` where none did."""
    while lo < hi:
        middle = (lo + hi) >> 1
        if rows[middle].recv_ns > at_ns:
            hi = middle
        else:
            lo = middle + 1
    return lo
