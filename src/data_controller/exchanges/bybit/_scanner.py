"""The compiled half of the Bybit decoders: books, best prices and trades under a topic.

How a book is written, by `cell.option`: NUMBERED (v5), levels whose messages are counted by `u`; LISTED (2021), entries
with an id that are deleted, updated and inserted, and that nothing counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import forget_trades, remember, seen
from data_controller.exchanges.streaming.levels import mark_old, number_parts, put_best, put_counted_levels, trade_ref
from data_controller.exchanges.streaming.rows import (
    NO_ROOM,
    REFUSED,
    UNUSUAL,
    put_gap,
    put_level,
    put_numbers,
    put_reset,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_DUPLICATES,
    C_FRAMES,
    C_MISSING,
    C_QUOTES,
    C_RETIRED_CHANNEL,
    C_SEQUENCE_GAPS,
    C_STALE_UPDATES,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    LOST,
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
from data_controller.market.rows import Flag, Kind

NUMBERED, LISTED = 0, 1

_TOPIC, _TYPE, _DATA, _TS, _CTS = name("topic"), name("type"), name("data"), name("ts"), name("cts")
_A_SNAPSHOT, _A_DELTA = name("snapshot"), name("delta")
_BIDS, _ASKS, _UPDATE = name("b"), name("a"), name("u")
_ORDER_BOOK, _DELETE, _CHANGE, _INSERT = name("order_book"), name("delete"), name("update"), name("insert")
_PRICE, _SIZE, _SIDE, _MICROS = name("price"), name("size"), name("side"), name("timestamp_e6")
_BUY, _SELL = name("Buy"), name("Sell")
_T, _S, _V, _P, _I = name("T"), name("S"), name("v"), name("p"), name("i")
_TRADE_MS, _TRADE_ID = name("trade_time_ms"), name("trade_id")
_SET = int(Kind.SET)
_SIZE_EXPONENT = int(Flag.SIZE_EXPONENT)
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
    data = member(tape, 0, _DATA)
    if data == 0:
        return UNUSUAL
    at = find_stream(cells, c, text(tape, member(tape, 0, _TOPIC)))
    cell = cells[at]
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    if cell.stream == BOOK:
        verb = text(tape, member(tape, 0, _TYPE))
        if verb != _A_SNAPSHOT and verb != _A_DELTA:
            return REFUSED
        if cell.option == NUMBERED:
            r = _read_numbered(tape, data, verb == _A_SNAPSHOT, rows, stop, seq, now, cells, at, counters)
        else:
            r = _read_listed(tape, data, verb == _A_SNAPSHOT, rows, stop, seq, now, cells, at, counters)
    elif cell.stream == QUOTES:
        _, number = integer(tape, member(tape, data, _UPDATE))
        r = put_best(rows, stop, tape, member(tape, data, _BIDS), 1, number)
        if r >= 0:
            r = put_best(rows, r, tape, member(tape, data, _ASKS), -1, number)
        if r >= 0:
            counters[C_QUOTES] += 1
            r = stamp(rows, stop, r, seq, now, cell.row, _time(tape))
    else:
        r = _read_trades(tape, data, rows, stop, seq, now, cell, rings, counters)
        cells[at].phase = CHAINED
    return r if r < 0 else number_parts(rows, stop, r)


@kernel
def _time(tape: Any) -> Any:
    """The matching engine's time of a v5 message, else when it was sent; 0 where there is neither."""
    exch_ns = unit_ns(tape, member(tape, 0, _CTS), _MS)
    return exch_ns if exch_ns != 0 else unit_ns(tape, member(tape, 0, _TS), _MS)


@kernel
def _read_numbered(
    tape: Any, data: Any, snapshot: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any
) -> Any:
    """A v5 book: a snapshot, or a change whose `u` is one more than the one before."""
    cell = cells[at]
    there, update = integer(tape, member(tape, data, _UPDATE))
    if not there or update < 0:
        return REFUSED
    r = stop
    if snapshot and 1 < update < cell.last and cell.phase == CHAINED:
        # Older than what the book holds: it came late, and what came between is lost.
        counters[C_SEQUENCE_GAPS] += 1
        cells[at].phase = LOST
        return put_gap(rows, r, seq, now, cell.row, 0, 0)
    if snapshot or update == 1:  # 1: the service was restarted, and this is all of the book
        snapshot = True
        r = put_reset(rows, r)
        if r < 0:
            return r
    elif cell.phase == NEW or cell.phase == LOST:
        counters[C_STALE_UPDATES] += 1
        return stop
    elif update == cell.last:
        counters[C_DUPLICATES] += 1
        return stop
    elif update != cell.last + 1:
        counters[C_SEQUENCE_GAPS] += 1
        missing = max(update - cell.last - 1, np.int64(0))
        counters[C_MISSING] += missing
        cells[at].phase = LOST
        return put_gap(rows, r, seq, now, cell.row, missing, 0)
    r = put_counted_levels(rows, r, tape, member(tape, data, _BIDS), 1, snapshot)
    if r >= 0:
        r = put_counted_levels(rows, r, tape, member(tape, data, _ASKS), -1, snapshot)
    if r < 0:
        return r
    cells[at].phase = CHAINED
    cells[at].last = update
    counters[C_BOOK_SNAPSHOTS if snapshot else C_BOOK_UPDATES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, _time(tape))


@kernel
def _put_entries(rows: Any, r: Any, tape: Any, t: Any, deleted: Any, snapshot: Any) -> Any:
    """SET rows of list `t` of entries with price, side and (where not `deleted`) size."""
    if t == 0 or tape[t].kind != LIST:
        return REFUSED
    entry = np.int64(t) + 1
    end = np.int64(tape[t].after)
    while entry < end:
        taker = member(tape, entry, _SIDE)
        side = text(tape, taker) if taker != 0 else _NOTHING
        if side != _BUY and side != _SELL:
            return REFUSED
        price = member(tape, entry, _PRICE)
        sign = 1 if side == _BUY else -1
        if deleted:
            if r >= len(rows):
                return NO_ROOM
            row = rows[r]
            bad = put_numbers(row, tape, price, price)
            if bad:
                return bad
            row.kind = _SET
            row.side = sign
            row.size = 0
            row.size_scale = 0
            row.flags = row.flags & ~np.uint32(_SIZE_EXPONENT)
            r += 1
        else:
            r = put_level(rows, r, tape, price, member(tape, entry, _SIZE), sign, snapshot)
            if r < 0:
                return r
        entry = np.int64(tape[entry].after)
    return r


@kernel
def _read_listed(
    tape: Any, data: Any, snapshot: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any
) -> Any:
    """A book of 2021: a snapshot as a list, or lists of what is deleted, updated and inserted."""
    cell = cells[at]
    r = stop
    if snapshot:
        r = put_reset(rows, r)
        if r >= 0:
            entries = data if tape[data].kind == LIST else member(tape, data, _ORDER_BOOK)
            r = _put_entries(rows, r, tape, entries, False, True)
    elif cell.phase == NEW or cell.phase == LOST:
        counters[C_STALE_UPDATES] += 1
        return stop
    elif tape[data].kind != OBJECT:
        return REFUSED
    else:
        r = _put_entries(rows, r, tape, member(tape, data, _DELETE), True, False)
        if r >= 0:
            r = _put_entries(rows, r, tape, member(tape, data, _CHANGE), False, False)
        if r >= 0:
            r = _put_entries(rows, r, tape, member(tape, data, _INSERT), False, False)
    if r < 0:
        return r
    cells[at].phase = CHAINED
    counters[C_BOOK_SNAPSHOTS if snapshot else C_BOOK_UPDATES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, unit_ns(tape, member(tape, 0, _MICROS), 1000))


@kernel
def _read_trades(
    tape: Any, data: Any, rows: Any, stop: Any, seq: Any, now: Any, cell: Any, rings: Any, counters: Any
) -> Any:
    """Trades, in v5's short names or in those of 2021."""
    if tape[data].kind != LIST:
        return REFUSED
    r = stop
    entry = np.int64(data) + 1
    end = np.int64(tape[data].after)
    while entry < end:
        t = member(tape, entry, _P)
        if t != 0:
            exch_ns = unit_ns(tape, member(tape, entry, _T), _MS)
            size, taker, ref = member(tape, entry, _V), member(tape, entry, _S), member(tape, entry, _I)
        else:
            t = member(tape, entry, _PRICE)
            exch_ns = unit_ns(tape, member(tape, entry, _TRADE_MS), _MS)
            size, taker, ref = member(tape, entry, _SIZE), member(tape, entry, _SIDE), member(tape, entry, _TRADE_ID)
        side = text(tape, taker) if taker != 0 else _NOTHING
        number = trade_ref(tape, ref)
        if exch_ns == 0 or number == 0 or (side != _BUY and side != _SELL):
            forget_trades(rows, stop, r, rings)
            return REFUSED
        behind = put_trade(rows, r, tape, t, size, 1 if side == _BUY else -1, number, exch_ns)
        if behind < 0:
            forget_trades(rows, stop, r, rings)
            return behind
        if seen(rings, cell.ring, number):
            counters[C_TRADES_REPEATED] += 1
        else:
            remember(rings, cell.ring, number)
            rows[r].part = cell.ring
            old = cell.phase == NEW and mark_old(rows[r], cell)
            counters[C_TRADE_SNAPSHOT_ROWS if old else C_TRADES] += 1
            r = behind
        entry = np.int64(tape[entry].after)
    return stamp(rows, stop, r, seq, now, cell.row, np.int64(0))
