"""The compiled half of the Kraken v2 decoder: books, single orders, trades and best prices, with their checksums.

The wire drops the zeros at the end of a number, the checksum counts them. So prices and sizes of a book are padded to
the pair's precision: as the `instrument` channel tells it (option EXACT), else the longest one seen of the pair. The
cell's `spare` holds both, price in the low byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import forget_trades, remember, seen
from data_controller.exchanges.streaming.rows import (
    ABSURD,
    NO_ROOM,
    REFUSED,
    UNUSUAL,
    put_check,
    put_level,
    put_order,
    put_quote,
    put_reset,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_CHECKSUMS,
    C_FRAMES,
    C_HEARTBEATS,
    C_QUOTES,
    C_RETIRED_CHANNEL,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    ORDERS,
    OTHER,
    QUOTES,
    RETIRED,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    TOO_MANY,
    integer,
    iso_ns,
    member,
    mixed,
    name,
    tape_of,
    text,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of
from data_controller.market.rows import Flag, Kind

SEEN, EXACT = 0, 1
"""Options of a book's cell: its precision is the longest one seen, or known."""

_CHANNEL, _DATA, _SYMBOL, _HEARTBEAT = name("channel"), name("data"), name("symbol"), name("heartbeat")
_TRADE = name("trade")
_TYPE, _WHOLE, _UPDATE = name("type"), name("snapshot"), name("update")
_BIDS, _ASKS, _CHECKSUM, _TIME = name("bids"), name("asks"), name("checksum"), name("timestamp")
_PRICE, _QTY = name("price"), name("qty")
_EVENT, _ADD, _MODIFY, _DELETE = name("event"), name("add"), name("modify"), name("delete")
_ORDER, _LIMIT, _ORDER_QTY = name("order_id"), name("limit_price"), name("order_qty")
_SIDE, _BUY, _SELL, _TRADE_ID = name("side"), name("buy"), name("sell"), name("trade_id")
_BID, _BID_QTY, _ASK, _ASK_QTY = name("bid"), name("bid_qty"), name("ask"), name("ask_qty")
_OLD, _INEXACT = int(Flag.SNAPSHOT), int(Flag.INEXACT)
_EXPONENTS = int(Flag.PRICE_EXPONENT | Flag.SIZE_EXPONENT)
_ADD_KIND, _CHANGE_KIND, _CANCEL_KIND = int(Kind.ADD), int(Kind.CHANGE), int(Kind.CANCEL)
_MOST = 100_000_000_000_000_000


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
        n = tape_of(origin + np.int64(offsets[i]), origin + np.int64(offsets[i + 1]), tape)
        if n < 0:
            return pack(i, stop, BAD_TOKENS if n == TOO_MANY else BAD_JSON)
        r = _read(tape, rows, stop, first_seq + i, recv_ns[i], np.int64(conn[i]), cells, rings, counters)
        if r < 0:
            return leave(i, stop, r)
        counters[C_FRAMES] += 1
        stop = r
        i += 1
    return pack(i, stop, DONE)


@kernel
def _read(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, rings: Any, counters: Any) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    channel = text(tape, member(tape, 0, _CHANNEL))
    if channel == _HEARTBEAT:
        counters[C_HEARTBEATS] += 1
        return stop
    data = member(tape, 0, _DATA)
    if channel == np.uint64(0) or data == 0 or tape[data].kind != LIST:
        return UNUSUAL
    kind = text(tape, member(tape, 0, _TYPE))
    # Nothing is taken before all is known to be ours: a message may speak of several pairs.
    at = data + 1
    while at < tape[data].after:
        cell = cells[find_stream(cells, c, mixed(channel, text(tape, member(tape, at, _SYMBOL))))]
        if cell.state != RETIRED and (cell.state != LIVE or cell.stream == OTHER):
            return UNUSUAL
        at = np.int64(tape[at].after)
    if at == data + 1:
        return UNUSUAL
    if channel == _TRADE and len(rows) - stop < at - data:
        return NO_ROOM  # before any trade is remembered
    if kind != _WHOLE and kind != _UPDATE:
        return REFUSED
    r = stop
    at = data + 1
    while at < tape[data].after:
        s = find_stream(cells, c, mixed(channel, text(tape, member(tape, at, _SYMBOL))))
        cell = cells[s]
        if cell.state == RETIRED:
            counters[C_RETIRED_CHANNEL] += 1
        else:
            cells[s].heard_ns = now
            if cell.stream == BOOK or cell.stream == ORDERS:
                r = _read_book(tape, at, kind == _WHOLE, rows, r, seq, now, cells, s, counters)
            elif cell.stream == QUOTES:
                r = _read_quote(tape, at, rows, r, seq, now, cell, counters)
            else:
                behind = _read_trade(tape, at, kind == _WHOLE, rows, r, seq, now, cell, rings, counters)
                if behind < 0:
                    forget_trades(rows, stop, r, rings)
                r = behind
            if r < 0:
                return r
        at = np.int64(tape[at].after)
    if channel == _TRADE:
        for k in range(stop, r):
            rows[k].part = 0
    return r


@kernel
def _read_quote(tape: Any, t: Any, rows: Any, stop: Any, seq: Any, now: Any, cell: Any, counters: Any) -> Any:
    bid, bid_qty = member(tape, t, _BID), member(tape, t, _BID_QTY)
    ask, ask_qty = member(tape, t, _ASK), member(tape, t, _ASK_QTY)
    r = put_quote(rows, stop, tape, bid, bid_qty, ask, ask_qty, 0, iso_ns(tape, member(tape, t, _TIME)))
    if r < 0:
        return r
    counters[C_QUOTES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, 0)


@kernel
def _read_trade(
    tape: Any, t: Any, old: Any, rows: Any, stop: Any, seq: Any, now: Any, cell: Any, rings: Any, counters: Any
) -> Any:
    there, ref = integer(tape, member(tape, t, _TRADE_ID))
    side = text(tape, member(tape, t, _SIDE))
    exch_ns = iso_ns(tape, member(tape, t, _TIME))
    if not there or ref <= 0 or (side != _BUY and side != _SELL) or exch_ns == 0:
        return REFUSED
    taker = 1 if side == _BUY else -1
    r = put_trade(rows, stop, tape, member(tape, t, _PRICE), member(tape, t, _QTY), taker, ref, exch_ns)
    if r < 0:
        return r
    if seen(rings, cell.ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return stop
    if old:
        rows[stop].flags |= _OLD
    counters[C_TRADE_SNAPSHOT_ROWS if old else C_TRADES] += 1
    remember(rings, cell.ring, ref)
    stamp(rows, stop, r, seq, now, cell.row, 0)
    rows[stop].part = cell.ring
    return r


@kernel
def _put_levels(tape: Any, t: Any, rows: Any, r: Any, side: Any, snapshot: Any) -> Any:
    """SET rows of list `t` of objects with price and qty; none where `t` is 0."""
    if t == 0:
        return r
    if tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        r = put_level(rows, r, tape, member(tape, at, _PRICE), member(tape, at, _QTY), side, snapshot)
        if r < 0:
            return r
        at = np.int64(tape[at].after)
    return r


@kernel
def _put_orders(tape: Any, t: Any, rows: Any, r: Any, side: Any, snapshot: Any) -> Any:
    """ADD rows of a snapshot's orders; CHANGE and CANCEL rows of events; none where `t` is 0."""
    if t == 0:
        return r
    if tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        order = text(tape, member(tape, at, _ORDER))
        event = text(tape, member(tape, at, _EVENT))
        if order == np.uint64(0):
            return REFUSED
        kind = _ADD_KIND
        if not snapshot:
            if event == _DELETE:
                kind = _CANCEL_KIND
            elif event in (_ADD, _MODIFY):
                kind = _CHANGE_KIND
            else:
                return REFUSED
        price, qty = member(tape, at, _LIMIT), member(tape, at, _ORDER_QTY)
        r = put_order(rows, r, tape, kind, np.int64(order), price, qty, side, snapshot)
        if r < 0:
            return r
        row = rows[r - 1]
        if kind != _CANCEL_KIND and row.size == 0 and row.flags & _INEXACT == 0:
            return ABSURD
        row.exch_ns = iso_ns(tape, member(tape, at, _TIME))
        at = np.int64(tape[at].after)
    return r


@kernel
def _pad(rows: Any, first: Any, r: Any, cells: Any, at: Any) -> None:
    """Write the zeros that the wire dropped into the rows `first..r`, as far as the pair's precision is known."""
    price_scale, size_scale = np.int64(cells[at].spare & 255), np.int64(cells[at].spare >> 8 & 255)
    if cells[at].option == SEEN:
        for k in range(first, r):
            price_scale = max(price_scale, np.int64(rows[k].price_scale))
            size_scale = max(size_scale, np.int64(rows[k].size_scale))
        cells[at].spare = price_scale | size_scale << 8
    for k in range(first, r):
        row = rows[k]
        row.flags &= ~_EXPONENTS
        while row.price_scale < price_scale:
            if row.price >= _MOST:
                row.flags |= _INEXACT
                break
            row.price *= 10
            row.price_scale += 1
        while row.size_scale < size_scale:
            if row.size >= _MOST:
                row.flags |= _INEXACT
                break
            row.size *= 10
            row.size_scale += 1


@kernel
def _read_book(
    tape: Any, t: Any, whole: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any
) -> Any:
    """A snapshot or changes of one book, and the checksum of what it is then."""
    there, expected = integer(tape, member(tape, t, _CHECKSUM))
    bids, asks = member(tape, t, _BIDS), member(tape, t, _ASKS)
    if not there or (bids == 0 and asks == 0):
        return REFUSED
    r = put_reset(rows, stop) if whole else stop
    first = r
    if r >= 0 and cells[at].stream == ORDERS:
        r = _put_orders(tape, bids, rows, r, 1, whole)
        r = _put_orders(tape, asks, rows, r, -1, whole) if r >= 0 else r
    elif r >= 0:
        r = _put_levels(tape, bids, rows, r, 1, whole)
        r = _put_levels(tape, asks, rows, r, -1, whole) if r >= 0 else r
    if r < 0:
        return r
    if len(rows) - r < 1:
        return NO_ROOM
    _pad(rows, first, r, cells, at)
    row = cells[at].row
    exch_ns = iso_ns(tape, member(tape, t, _TIME))
    stamp(rows, stop, r, seq, now, row, exch_ns)
    if whole:
        cells[at].phase = CHAINED
    counters[C_BOOK_SNAPSHOTS if whole else C_BOOK_UPDATES] += 1
    counters[C_CHECKSUMS] += 1
    return put_check(rows, r, seq, now, row, expected, exch_ns)
