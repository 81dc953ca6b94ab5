"""The compiled half of the decoder of Bitstamp's 2015 log: frames are an event's name, a space, and JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.bitstamp._scanner import put_event
from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.rows import REFUSED, UNUSUAL, put_levels, put_reset, put_trade, stamp
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_FRAMES,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    LOST,
    find_stream,
)
from data_controller.exchanges.streaming.tape import TOO_MANY, hash_of, integer, member, name, tape_of, unit_ns
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of, load_byte
from data_controller.market.numbers import PRICE_LIMIT

ORDERS, TRADES, TOP = name("live_orders"), name("live_trades"), name("order_book")
"""Keys of the three streams."""

_CREATED, _CHANGED, _DELETED = name("order_created"), name("order_changed"), name("order_deleted")
_TRADE, _ORDER_BOOK = name("trade"), name("order_book")
_BIDS, _ASKS, _DATETIME = name("bids"), name("asks"), name("datetime")
_ID, _PRICE, _AMOUNT = name("id"), name("price"), name("amount")
_LONGEST_EVENT = 32
_UNIT = 8
"""Digits behind the point of the smallest amount; what a double's text has beyond them is noise."""
_S = 1_000_000_000


@brief_kernel
def scan(
    first_seq: Any,
    i: Any,
    hi: Any,
    kinds: Any,
    conn: Any,
    recv_ns: Any,
    offsets: Any,
    data: Any,
    rows: Any,
    stop: Any,
    last_recv_ns: Any,
    conns: Any,
    cells: Any,
    rings: Any,
    counters: Any,
    tape: Any,
) -> Any:
    """Scan records `i..hi` into `rows[stop:]`; see `streaming.scanning` for what it returns."""
    origin = address_of(data)
    while i < hi:
        status = enter(i, kinds, conn, conns, rows, stop, recv_ns, last_recv_ns)
        if status:
            return pack(i, stop, status)
        begin, end = origin + np.int64(offsets[i]), origin + np.int64(offsets[i + 1])
        p = begin
        while p < end and p - begin < _LONGEST_EVENT and load_byte(p) != 32:
            p += 1
        n = tape_of(p, end, tape)
        if n < 0:
            return pack(i, stop, BAD_TOKENS if n == TOO_MANY else BAD_JSON)
        r = _read(
            hash_of(begin, p), tape, rows, stop, first_seq + i, recv_ns[i], np.int64(conn[i]), cells, rings, counters
        )
        if r < 0:
            return leave(i, stop, r)
        counters[C_FRAMES] += 1
        stop = r
        i += 1
    return pack(i, stop, DONE)


@kernel
def _read(
    event: Any, tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, rings: Any, counters: Any
) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    orders = event in (_CREATED, _CHANGED, _DELETED)
    at = find_stream(cells, c, ORDERS if orders else (TRADES if event == _TRADE else TOP))
    if (not orders and event != _TRADE and event != _ORDER_BOOK) or cells[at].state != LIVE:
        return UNUSUAL
    cells[at].heard_ns = now
    cell = cells[at]
    r = stop
    if orders:
        if cell.phase == LOST:
            return stop
        if cell.phase != CHAINED:
            # There never is a first book: it begins empty and fills with what is created.
            r = put_reset(rows, r)
            cells[at].phase = CHAINED
            counters[C_BOOK_SNAPSHOTS] += 1
            stamp(rows, stop, r, seq, now, cell.row, 0)
        first = r
        r = put_event(rows, r, tape, 0, event == _DELETED)
        if r < 0:
            return r
        counters[C_BOOK_UPDATES] += 1
        # The time of a change or an end is the order's own beginning: no time of the event.
        exch_ns = unit_ns(tape, member(tape, 0, _DATETIME), _S) if event == _CREATED else np.int64(0)
        return stamp(rows, first, r, seq, now, cell.row, exch_ns)
    if event == _ORDER_BOOK:
        bids, asks = member(tape, 0, _BIDS), member(tape, 0, _ASKS)
        if bids == 0 or asks == 0:
            return REFUSED
        r = put_reset(rows, r)
        r = put_levels(rows, r, tape, bids, 1, True)
        if r >= 0:
            r = put_levels(rows, r, tape, asks, -1, True)
        if r < 0:
            return r
        cells[at].phase = CHAINED
        counters[C_BOOK_SNAPSHOTS] += 1
        return stamp(rows, stop, r, seq, now, cell.row, 0)
    there, ref = integer(tape, member(tape, 0, _ID))
    if not there or ref <= 0:
        return REFUSED
    r = put_trade(rows, r, tape, member(tape, 0, _PRICE), member(tape, 0, _AMOUNT), 0, ref, 0)
    if r < 0:
        return r
    row = rows[stop]
    row.price, row.price_scale = _plain(row.price, row.price_scale)
    row.size, row.size_scale = _plain(row.size, row.size_scale)
    row.flags = 0 if row.price < PRICE_LIMIT else row.flags
    if seen(rings, cell.ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return stop
    remember(rings, cell.ring, ref)
    counters[C_TRADES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, 0)


@kernel
def _plain(digits: Any, scale: Any) -> Any:
    """(digits, scale) of a double's text as the amount it stands for: rounded to _UNIT digits, without end zeros."""
    digits, scale = np.int64(digits), np.int64(scale)
    while scale > _UNIT + 1:
        digits //= 10
        scale -= 1
    if scale > _UNIT:
        digits = (digits + 5) // 10
        scale -= 1
    while scale > 0 and digits % 10 == 0:
        digits //= 10
        scale -= 1
    return digits, scale
