"""The compiled half of the Kraken Futures decoder: books numbered by product, and trades."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import forget_trades, remember, seen
from data_controller.exchanges.streaming.rows import (
    NO_ROOM,
    REFUSED,
    UNUSUAL,
    put_level,
    put_reset,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.sequence import DROP, MISSING, judge_change, judge_snapshot, lose
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_FRAMES,
    C_HEARTBEATS,
    C_RETIRED_CHANNEL,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    OTHER,
    RETIRED,
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

_FEED, _PRODUCT, _EVENT = name("feed"), name("product_id"), name("event")
_BOOK, _BOOK_SNAPSHOT, _HEARTBEAT = name("book"), name("book_snapshot"), name("heartbeat")
_TRADE, _TRADE_SNAPSHOT, _TRADES = name("trade"), name("trade_snapshot"), name("trades")
_SIDE, _BUY, _SELL = name("side"), name("buy"), name("sell")
_PRICE, _SIZE, _NUMBER = name("price"), name("qty"), name("seq")
_BIDS, _ASKS, _STAMP, _TIME = name("bids"), name("asks"), name("timestamp"), name("time")
_MS = 1_000_000
_SNAPSHOT = int(Flag.SNAPSHOT)


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
    feed = text(tape, member(tape, 0, _FEED))
    if member(tape, 0, _EVENT) != 0 or feed == np.uint64(0):
        return UNUSUAL
    if feed == _HEARTBEAT:
        counters[C_HEARTBEATS] += 1
        return stop
    whole = feed in (_BOOK_SNAPSHOT, _TRADE_SNAPSHOT)
    if whole:
        feed = _BOOK if feed == _BOOK_SNAPSHOT else _TRADE
    at = find_stream(cells, c, mixed(feed, text(tape, member(tape, 0, _PRODUCT))))
    cell = cells[at]
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    if cell.stream == BOOK:
        if whole:
            return _read_snapshot(tape, rows, stop, seq, now, cells, at, counters)
        return _read_change(tape, rows, stop, seq, now, cells, at, counters)
    if not whole:
        r = _put_trade(tape, 0, rows, stop, rings, cell.ring, counters)
    else:
        r = _put_old_trades(tape, rows, stop, rings, cell.ring, counters)
    if r < 0:
        return r
    return stamp(rows, stop, r, seq, now, cell.row, 0)


@kernel
def _side_of(tape: Any, t: Any) -> Any:
    """+1 buy, -1 sell, 0 where object `t` says neither."""
    side = text(tape, member(tape, t, _SIDE))
    return 1 if side == _BUY else -1 if side == _SELL else 0


@kernel
def _put_trade(tape: Any, t: Any, rows: Any, r: Any, rings: Any, ring: Any, counters: Any) -> Any:
    """The TRADE row of object `t`, known by its number; none where it was taken before."""
    there, ref = integer(tape, member(tape, t, _NUMBER))
    side, exch_ns = _side_of(tape, t), unit_ns(tape, member(tape, t, _TIME), _MS)
    if not there or ref <= 0 or side == 0 or exch_ns == 0:
        return REFUSED
    behind = put_trade(rows, r, tape, member(tape, t, _PRICE), member(tape, t, _SIZE), side, ref, exch_ns)
    if behind < 0:
        return behind
    if seen(rings, ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return r
    remember(rings, ring, ref)
    rows[r].part = ring
    counters[C_TRADES] += 1
    return behind


@kernel
def _put_old_trades(tape: Any, rows: Any, stop: Any, rings: Any, ring: Any, counters: Any) -> Any:
    """The TRADE rows of a snapshot, which lists the newest one first."""
    trades = member(tape, 0, _TRADES)
    if tape[trades].kind != LIST:
        return REFUSED
    if len(rows) - stop < tape[trades].after - trades:
        return NO_ROOM
    r = stop
    at = trades + 1
    while at < tape[trades].after:
        behind = _put_trade(tape, at, rows, r, rings, ring, counters)
        if behind < 0:
            forget_trades(rows, stop, r, rings)
            return behind
        if behind > r:
            rows[r].flags |= _SNAPSHOT
            counters[C_TRADES] -= 1
            counters[C_TRADE_SNAPSHOT_ROWS] += 1
        r = behind
        at = np.int64(tape[at].after)
    return r


@kernel
def _put_side(tape: Any, t: Any, rows: Any, r: Any, side: Any) -> Any:
    """SET rows of list `t` of objects with price and qty."""
    if t == 0 or tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        r = put_level(rows, r, tape, member(tape, at, _PRICE), member(tape, at, _SIZE), side, True)
        if r < 0:
            return r
        at = np.int64(tape[at].after)
    return r


@kernel
def _read_snapshot(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any) -> Any:
    there, number = integer(tape, member(tape, 0, _NUMBER))
    if not there or number < 0:
        return REFUSED
    verdict = judge_snapshot(cells, at, number, counters)
    if verdict == DROP:
        return stop
    if verdict == MISSING:
        return lose(cells, at, rows, stop, seq, now, counters)
    r = put_reset(rows, stop)
    if r >= 0:
        r = _put_side(tape, member(tape, 0, _BIDS), rows, r, 1)
    if r >= 0:
        r = _put_side(tape, member(tape, 0, _ASKS), rows, r, -1)
    if r < 0:
        return r
    cells[at].phase = CHAINED
    cells[at].last = number
    counters[C_BOOK_SNAPSHOTS] += 1
    return stamp(rows, stop, r, seq, now, cells[at].row, unit_ns(tape, member(tape, 0, _STAMP), _MS))


@kernel
def _read_change(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any) -> Any:
    there, number = integer(tape, member(tape, 0, _NUMBER))
    side = _side_of(tape, 0)
    if not there or number < 0 or side == 0:
        return REFUSED
    verdict = judge_change(cells, at, number, number == cells[at].last + 1, counters)
    if verdict == DROP:
        return stop
    if verdict == MISSING:
        return lose(cells, at, rows, stop, seq, now, counters)
    r = put_level(rows, stop, tape, member(tape, 0, _PRICE), member(tape, 0, _SIZE), side, False)
    if r < 0:
        return r
    cells[at].last = number
    counters[C_BOOK_UPDATES] += 1
    return stamp(rows, stop, r, seq, now, cells[at].row, unit_ns(tape, member(tape, 0, _STAMP), _MS))
