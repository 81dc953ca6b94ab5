"""The compiled half of the KuCoin decoder: changes of books and trades under a topic.

Each entry of a change has a number of its own, and a message the first and the last of them. An entry of price 0
changes nothing but the count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.levels import long_ns, mark_old, number_parts, trade_ref
from data_controller.exchanges.streaming.rows import (
    REFUSED,
    UNUSUAL,
    put_gap,
    put_level,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_UPDATES,
    C_DUPLICATES,
    C_FRAMES,
    C_MISSING,
    C_RETIRED_CHANNEL,
    C_SEQUENCE_GAPS,
    C_STALE_UPDATES,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    NEW,
    RETIRED,
    SPLICING,
    TRADES,
    find_stream,
    hold,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    OBJECT,
    TOO_MANY,
    decimal,
    integer,
    member,
    name,
    tape_of,
    text,
    unit_ns,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of

_TOPIC, _DATA, _CHANGES, _BIDS, _ASKS = name("topic"), name("data"), name("changes"), name("bids"), name("asks")
_FIRST, _LAST, _TIME = name("sequenceStart"), name("sequenceEnd"), name("time")
_SIDE, _PRICE, _SIZE, _TRADE_ID = name("side"), name("price"), name("size"), name("tradeId")
_BUY, _SELL = name("buy"), name("sell")
_NOTHING = np.uint64(0)
_ALL = np.int64(-1)
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
        r = _read(tape, rows, stop, first_seq + i, recv_ns[i], np.int64(conn[i]), conns, cells, rings, counters)
        if r < 0:
            return leave(i, stop, r)
        counters[C_FRAMES] += 1
        stop = r
        i += 1
    return pack(i, stop, DONE)


@kernel
def _read(
    tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, conns: Any, cells: Any, rings: Any, counters: Any
) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows` or HELD."""
    data = member(tape, 0, _DATA)
    if data == 0 or tape[data].kind != OBJECT:
        return UNUSUAL
    at = find_stream(cells, c, text(tape, member(tape, 0, _TOPIC)))
    cell = cells[at]
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or (cell.stream != BOOK and cell.stream != TRADES):
        return UNUSUAL
    cells[at].heard_ns = now
    if cell.stream == BOOK:
        return _read_changes(tape, data, rows, stop, seq, now, c, conns, cells, at, counters)
    ref = trade_ref(tape, member(tape, data, _TRADE_ID))
    taker = member(tape, data, _SIDE)
    side = text(tape, taker) if taker != 0 else _NOTHING
    exch_ns = long_ns(tape, member(tape, data, _TIME))
    if ref == 0 or exch_ns == 0 or (side != _BUY and side != _SELL):
        return REFUSED
    sign = 1 if side == _BUY else -1
    r = put_trade(rows, stop, tape, member(tape, data, _PRICE), member(tape, data, _SIZE), sign, ref, exch_ns)
    if r < 0:
        return r
    if seen(rings, cell.ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return stop
    remember(rings, cell.ring, ref)
    old = cell.phase == NEW and mark_old(rows[stop], cell)
    counters[C_TRADE_SNAPSHOT_ROWS if old else C_TRADES] += 1
    cells[at].phase = CHAINED
    return stamp(rows, stop, r, seq, now, cell.row, exch_ns)


@kernel
def _put_changes(rows: Any, r: Any, tape: Any, t: Any, side: Any, after: Any, waits: Any) -> Any:
    """SET rows of list `t` of [price, size, number] whose number is above `after`; `ref` is the number if it waits."""
    if t == 0 or tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = np.int64(tape[t].after)
    while at < end:
        behind = np.int64(tape[at].after)
        if tape[at].kind != LIST or behind < at + 4:
            return REFUSED
        size = np.int64(tape[at + 1].after)
        there, number = integer(tape, np.int64(tape[size].after))
        priced, digits, _, flags, _ = decimal(tape, at + 1)
        if not there or number < 0 or not priced:
            return REFUSED
        if number > after and (digits != 0 or flags != 0):
            r = put_level(rows, r, tape, at + 1, size, side, False)
            if r < 0:
                return r
            if waits:
                rows[r - 1].ref = number
        at = behind
    return r


@kernel
def _read_changes(
    tape: Any,
    data: Any,
    rows: Any,
    stop: Any,
    seq: Any,
    now: Any,
    c: Any,
    conns: Any,
    cells: Any,
    at: Any,
    counters: Any,
) -> Any:
    """A change of a book: checked against the one before, or kept until the snapshot is there."""
    there, first = integer(tape, member(tape, data, _FIRST))
    also, last = integer(tape, member(tape, data, _LAST))
    if not there or not also or first > last or first < 0:
        return REFUSED
    cell = cells[at]
    r = stop
    start = stop
    after = _ALL
    waits = True
    if cell.phase == CHAINED or cell.phase == SPLICING:
        if last <= cell.last:
            counters[C_DUPLICATES if cell.phase == CHAINED else C_STALE_UPDATES] += 1
            return stop
        waits = first > cell.last + 1 or (cell.phase == CHAINED and first <= cell.last)
        if waits:
            missing = max(first - cell.last - 1, np.int64(0))
            counters[C_SEQUENCE_GAPS] += 1
            counters[C_MISSING] += missing
            start = r = put_gap(rows, r, seq, now, cell.row, missing, 0)
            if r < 0:
                return r
        else:
            after = np.int64(cell.last)
    changes = member(tape, data, _CHANGES)
    r = _put_changes(rows, r, tape, member(tape, changes, _BIDS) if changes != 0 else 0, 1, after, waits)
    if r >= 0:
        r = _put_changes(rows, r, tape, member(tape, changes, _ASKS), -1, after, waits)
    if r < 0:
        return r
    stamp(rows, start, r, seq, now, cell.row, unit_ns(tape, member(tape, data, _TIME), _MS))
    if waits:
        cells[at].phase = NEW
        return hold(conns, c, at, start, r, first, last, np.int64(0))
    cells[at].phase = CHAINED
    cells[at].last = last
    counters[C_BOOK_UPDATES] += 1
    return number_parts(rows, stop, r)
