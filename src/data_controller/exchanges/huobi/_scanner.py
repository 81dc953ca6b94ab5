"""The compiled half of the Huobi decoder: whole books, best prices and trades under a channel's name."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import forget_trades, remember, seen
from data_controller.exchanges.streaming.levels import mark_old, put_counted_levels, trade_ref
from data_controller.exchanges.streaming.rows import (
    REFUSED,
    UNUSUAL,
    put_quote,
    put_reset,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_SNAPSHOTS,
    C_FRAMES,
    C_QUOTES,
    C_RETIRED_CHANNEL,
    C_STALE_UPDATES,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    NEW,
    OTHER,
    QUOTES,
    RETIRED,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    OBJECT,
    TOO_MANY,
    integer,
    member,
    name,
    tape_of,
    text,
    unit_ns,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of

_CHANNEL, _TICK, _BIDS, _ASKS, _VERSION, _TS = (
    name("ch"),
    name("tick"),
    name("bids"),
    name("asks"),
    name("version"),
    name("ts"),
)
_DATA, _ID, _TRADE_ID, _AMOUNT, _PRICE = name("data"), name("id"), name("tradeId"), name("amount"), name("price")
_DIRECTION, _BUY, _SELL = name("direction"), name("buy"), name("sell")
_BID, _BID_SIZE, _ASK, _ASK_SIZE, _QUOTE_TIME, _SEQ_ID = (
    name("bid"),
    name("bidSize"),
    name("ask"),
    name("askSize"),
    name("quoteTime"),
    name("seqId"),
)
_NOTHING = np.uint64(0)
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
def _read(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, rings: Any, counters: Any) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    tick = member(tape, 0, _TICK)
    if tick == 0 or tape[tick].kind != OBJECT:
        return UNUSUAL
    at = find_stream(cells, c, text(tape, member(tape, 0, _CHANNEL)))
    cell = cells[at]
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    if cell.stream == BOOK:
        there, version = integer(tape, member(tape, tick, _VERSION))
        if there and cell.phase == CHAINED and version < cell.last:
            counters[C_STALE_UPDATES] += 1
            return stop
        r = put_reset(rows, stop)
        if r >= 0:
            r = put_counted_levels(rows, r, tape, member(tape, tick, _BIDS), 1, True)
        if r >= 0:
            r = put_counted_levels(rows, r, tape, member(tape, tick, _ASKS), -1, True)
        if r < 0:
            return r
        cells[at].phase = CHAINED
        cells[at].last = version
        counters[C_BOOK_SNAPSHOTS] += 1
        exch_ns = unit_ns(tape, member(tape, tick, _TS), _MS)
    elif cell.stream == QUOTES:
        _, number = integer(tape, member(tape, tick, _SEQ_ID))
        exch_ns = unit_ns(tape, member(tape, tick, _QUOTE_TIME), _MS)
        bid, bid_size = member(tape, tick, _BID), member(tape, tick, _BID_SIZE)
        ask, ask_size = member(tape, tick, _ASK), member(tape, tick, _ASK_SIZE)
        r = put_quote(rows, stop, tape, bid, bid_size, ask, ask_size, number, exch_ns)
        if r < 0:
            return r
        counters[C_QUOTES] += 1
    else:
        r = _read_trades(tape, member(tape, tick, _DATA), rows, stop, cell, rings, counters)
        if r < 0:
            return r
        cells[at].phase = CHAINED
        exch_ns = np.int64(0)
    return stamp(rows, stop, r, seq, now, cell.row, exch_ns)


@kernel
def _read_trades(tape: Any, t: Any, rows: Any, stop: Any, cell: Any, rings: Any, counters: Any) -> Any:
    """Trades of a list; their ids of 27 digits are not used where there is a shorter one."""
    if t == 0 or tape[t].kind != LIST:
        return REFUSED
    r = stop
    entry = np.int64(t) + 1
    end = np.int64(tape[t].after)
    while entry < end:
        short = member(tape, entry, _TRADE_ID)
        ref = trade_ref(tape, short if short != 0 else member(tape, entry, _ID))
        taker = member(tape, entry, _DIRECTION)
        side = text(tape, taker) if taker != 0 else _NOTHING
        exch_ns = unit_ns(tape, member(tape, entry, _TS), _MS)
        if ref == 0 or exch_ns == 0 or (side != _BUY and side != _SELL):
            forget_trades(rows, stop, r, rings)
            return REFUSED
        price, size = member(tape, entry, _PRICE), member(tape, entry, _AMOUNT)
        behind = put_trade(rows, r, tape, price, size, 1 if side == _BUY else -1, ref, exch_ns)
        if behind < 0:
            forget_trades(rows, stop, r, rings)
            return behind
        if seen(rings, cell.ring, ref):
            counters[C_TRADES_REPEATED] += 1
        else:
            remember(rings, cell.ring, ref)
            rows[r].part = cell.ring
            old = cell.phase == NEW and mark_old(rows[r], cell)
            counters[C_TRADE_SNAPSHOT_ROWS if old else C_TRADES] += 1
            r = behind
        entry = np.int64(tape[entry].after)
    return r
