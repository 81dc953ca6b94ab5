"""The compiled half of the Gemini decoder: a first message with the whole book, changes behind it, trades."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.rows import REFUSED, UNUSUAL, put_level, put_reset, put_trade, stamp
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_FRAMES,
    C_HEARTBEATS,
    C_STALE_UPDATES,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    TOO_MANY,
    integer,
    member,
    mixed,
    name,
    tape_of,
    text,
    unit_ns,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of
from data_controller.market.rows import Flag

_TYPE, _SYMBOL, _CHANGES, _TRADES_LIST = name("type"), name("symbol"), name("changes"), name("trades")
_L2, _TRADE, _HEARTBEAT = name("l2_updates"), name("trade"), name("heartbeat")
_BUY, _SELL = name("buy"), name("sell")
_ID, _TIME, _PRICE, _QUANTITY, _SIDE = (
    name("event_id"),
    name("timestamp"),
    name("price"),
    name("quantity"),
    name("side"),
)
_SNAPSHOT = int(Flag.SNAPSHOT)
_MS = 1_000_000


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
def _side(key: Any) -> Any:
    """+1 for buy, -1 for sell, else 0."""
    return 1 if key == _BUY else (-1 if key == _SELL else 0)


@kernel
def _read(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, rings: Any, counters: Any) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    kind = text(tape, member(tape, 0, _TYPE))
    if kind == _HEARTBEAT:
        counters[C_HEARTBEATS] += 1
        return stop
    if kind != _L2 and kind != _TRADE:
        return UNUSUAL
    symbol = text(tape, member(tape, 0, _SYMBOL))
    trades = find_stream(cells, c, mixed(_TRADE, symbol))
    book = find_stream(cells, c, mixed(_L2, symbol))
    if cells[trades].state != LIVE or cells[book].state != LIVE:
        return UNUSUAL
    if kind == _TRADE:
        cells[trades].heard_ns = now
        r = _put_trade(rows, stop, tape, 0)
        if r < 0:
            return r
        if seen(rings, cells[trades].ring, rows[stop].ref):
            counters[C_TRADES_REPEATED] += 1
            return stop
        remember(rings, cells[trades].ring, rows[stop].ref)
        counters[C_TRADES] += 1
        return stamp(rows, stop, r, seq, now, cells[trades].row, 0)
    cells[book].heard_ns = now
    past = member(tape, 0, _TRADES_LIST)
    whole = past != 0
    r = stop
    if whole:
        r = put_reset(rows, r)
    changes = member(tape, 0, _CHANGES)
    if r < 0 or changes == 0 or tape[changes].kind != LIST or (whole and tape[past].kind != LIST):
        return min(r, REFUSED)
    at = np.int64(changes) + 1
    end = tape[changes].after
    while at < end:
        if tape[at].kind != LIST or tape[at].after < at + 4:
            return REFUSED
        side = _side(text(tape, at + 1))
        price = np.int64(tape[at + 1].after)
        if side == 0:
            return REFUSED
        r = put_level(rows, r, tape, price, np.int64(tape[price].after), side, whole)
        if r < 0:
            return r
        at = np.int64(tape[at].after)
    if not whole:
        if cells[book].phase != CHAINED:
            counters[C_STALE_UPDATES] += 1
            return stop
        counters[C_BOOK_UPDATES] += 1
        return stamp(rows, stop, r, seq, now, cells[book].row, 0)
    last = r
    at = np.int64(past) + 1
    while at < tape[past].after:
        behind = _put_trade(rows, r, tape, at)
        if behind < 0:
            return behind
        rows[r].flags |= _SNAPSHOT
        r = behind
        at = np.int64(tape[at].after)
    stamp(rows, stop, last, seq, now, cells[book].row, 0)
    stamp(rows, last, r, seq, now, cells[trades].row, 0)
    for k in range(last, r):
        rows[k].part = k - stop
        if not seen(rings, cells[trades].ring, rows[k].ref):
            remember(rings, cells[trades].ring, rows[k].ref)
    cells[book].phase = CHAINED
    counters[C_BOOK_SNAPSHOTS] += 1
    counters[C_TRADE_SNAPSHOT_ROWS] += r - last
    return r


@kernel
def _put_trade(rows: Any, r: Any, tape: Any, t: Any) -> Any:
    """The TRADE row of object `t`; an auction's has no side."""
    there, ref = integer(tape, member(tape, t, _ID))
    exch_ns = unit_ns(tape, member(tape, t, _TIME), _MS)
    if not there or ref <= 0 or exch_ns == 0:
        return REFUSED
    side = _side(text(tape, member(tape, t, _SIDE)))
    return put_trade(rows, r, tape, member(tape, t, _PRICE), member(tape, t, _QUANTITY), side, ref, exch_ns)
