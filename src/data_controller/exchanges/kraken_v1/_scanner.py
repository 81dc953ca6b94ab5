"""The compiled half of the Kraken v1 decoder: books with their checksums, trades and spreads, as lists.

A frame is `[id, payload, ..., name, pair]`. A book's first payload has `as` and `bs`; later ones `a`, `b` or both, in
one object or two, and in the last one the checksum `c`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.streaming.rows import (
    REFUSED,
    UNUSUAL,
    put_check,
    put_level,
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
    C_TRADES,
    CHAINED,
    LIVE,
    OTHER,
    QUOTES,
    RETIRED,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    OBJECT,
    STRING,
    TOO_MANY,
    integer,
    item,
    member,
    mixed,
    name,
    seconds_ns,
    tape_of,
    text,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of

_EVENT, _HEARTBEAT = name("event"), name("heartbeat")
_ALL_ASKS, _ALL_BIDS, _ASKS, _BIDS, _CHECKSUM = name("as"), name("bs"), name("a"), name("b"), name("c")
_BUY, _SELL = name("b"), name("s")


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
        r = _read(tape, rows, stop, first_seq + i, recv_ns[i], np.int64(conn[i]), cells, counters)
        if r < 0:
            return leave(i, stop, r)
        counters[C_FRAMES] += 1
        stop = r
        i += 1
    return pack(i, stop, DONE)


@kernel
def _read(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, counters: Any) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    if tape[0].kind == OBJECT:
        if text(tape, member(tape, 0, _EVENT)) == _HEARTBEAT:
            counters[C_HEARTBEATS] += 1
            return stop
        return UNUSUAL
    if tape[0].kind != LIST:
        return REFUSED
    pair = stream = np.int64(0)
    t = np.int64(1)
    while t < tape[0].after:
        stream, pair = pair, t
        t = np.int64(tape[t].after)
    if stream < 3 or tape[pair].kind != STRING or tape[stream].kind != STRING:
        return REFUSED
    at = find_stream(cells, c, mixed(text(tape, stream), text(tape, pair)))
    cell = cells[at]
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    payload = np.int64(tape[1].after)
    if cell.stream == BOOK:
        return _read_book(tape, payload, stream, rows, stop, seq, now, cells, at, counters)
    if tape[payload].kind != LIST:
        return REFUSED
    if cell.stream == QUOTES:
        exch_ns = seconds_ns(tape, item(tape, payload, 2))
        bid, bid_size = item(tape, payload, 0), item(tape, payload, 3)
        ask, ask_size = item(tape, payload, 1), item(tape, payload, 4)
        r = put_quote(rows, stop, tape, bid, bid_size, ask, ask_size, 0, exch_ns)
        counters[C_QUOTES] += 1 if r >= 0 else 0
    else:
        r = _put_trades(tape, payload, rows, stop, counters)
    return r if r < 0 else stamp(rows, stop, r, seq, now, cell.row, 0)


@kernel
def _put_trades(tape: Any, payload: Any, rows: Any, stop: Any, counters: Any) -> Any:
    """TRADE rows of [price, volume, time, side, ...]; the venue gives trades no id."""
    r = stop
    at = payload + 1
    end = tape[payload].after
    while at < end:
        side = text(tape, item(tape, at, 3))
        exch_ns = seconds_ns(tape, item(tape, at, 2))
        if (side != _BUY and side != _SELL) or exch_ns == 0:
            return REFUSED
        taker = 1 if side == _BUY else -1
        r = put_trade(rows, r, tape, item(tape, at, 0), item(tape, at, 1), taker, 0, exch_ns)
        if r < 0:
            return r
        at = np.int64(tape[at].after)
    counters[C_TRADES] += r - stop
    return r


@kernel
def _put_side(tape: Any, t: Any, rows: Any, r: Any, side: Any, snapshot: Any) -> Any:
    """SET rows of list `t` of [price, volume, time, ...], each with its own time; none where `t` is 0."""
    if t == 0:
        return r
    if tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        if tape[at].kind != LIST or tape[at].after < at + 4:
            return REFUSED
        r = put_level(rows, r, tape, at + 1, at + 2, side, snapshot)
        if r < 0:
            return r
        rows[r - 1].exch_ns = seconds_ns(tape, at + 3)
        at = np.int64(tape[at].after)
    return r


@kernel
def _read_book(
    tape: Any, payload: Any, end: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any
) -> Any:
    """A snapshot, or changes and the checksum behind them."""
    row = cells[at].row
    asks, bids = member(tape, payload, _ALL_ASKS), member(tape, payload, _ALL_BIDS)
    if asks != 0 or bids != 0:
        r = put_reset(rows, stop)
        if r >= 0:
            r = _put_side(tape, asks, rows, r, -1, True)
        if r >= 0:
            r = _put_side(tape, bids, rows, r, 1, True)
        if r < 0:
            return r
        cells[at].phase = CHAINED
        counters[C_BOOK_SNAPSHOTS] += 1
        return stamp(rows, stop, r, seq, now, row, 0)
    r = stop
    check = np.int64(0)
    while payload < end:
        if tape[payload].kind != OBJECT:
            return REFUSED
        r = _put_side(tape, member(tape, payload, _ASKS), rows, r, -1, False)
        if r >= 0:
            r = _put_side(tape, member(tape, payload, _BIDS), rows, r, 1, False)
        if r < 0:
            return r
        check = member(tape, payload, _CHECKSUM)
        payload = np.int64(tape[payload].after)
    there, expected = integer(tape, check)
    if not there or r == stop:
        return REFUSED
    stamp(rows, stop, r, seq, now, row, 0)
    counters[C_BOOK_UPDATES] += 1
    counters[C_CHECKSUMS] += 1
    return put_check(rows, r, seq, now, row, expected, rows[r - 1].exch_ns)
