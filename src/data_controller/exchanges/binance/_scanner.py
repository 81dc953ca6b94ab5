"""The compiled half of the Binance decoder: depth changes, trades and best prices of combined or single streams.

How changes chain, by `cell.option`: SPOT, each begins where the one before ended (`U` = its `u` + 1); FUTURES, each
names the one before (`pu` = its `u`). The first one behind a snapshot at L holds L + 1 (spot) or L (futures).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.rows import (
    REFUSED,
    UNUSUAL,
    put_gap,
    put_levels,
    put_quote,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_UPDATES,
    C_DUPLICATES,
    C_FRAMES,
    C_QUOTES,
    C_RETIRED_CHANNEL,
    C_SEQUENCE_GAPS,
    C_STALE_UPDATES,
    C_TRADES,
    C_TRADES_OFF_BOOK,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    LOST,
    NEW,
    OTHER,
    QUOTES,
    RETIRED,
    SPLICING,
    find_stream,
    hold,
)
from data_controller.exchanges.streaming.tape import (
    TOO_MANY,
    TRUE,
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

SPOT, FUTURES = 0, 1

_STREAM, _DATA = name("stream"), name("data")
_EVENT, _SYMBOL, _EVENT_TIME, _TIME = name("e"), name("s"), name("E"), name("T")
_FIRST, _LAST, _PREVIOUS = name("U"), name("u"), name("pu")
_BIDS, _ASKS = name("b"), name("a")
_BID_SIZE, _ASK_SIZE = name("B"), name("A")
_EXECUTION, _MARKET = name("X"), name("MARKET")
_PRICE, _QUANTITY, _TRADE_ID, _AGGREGATE_ID, _BUYER_MAKES = name("p"), name("q"), name("t"), name("a"), name("m")
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
    key = text(tape, member(tape, 0, _STREAM))
    body = member(tape, 0, _DATA)
    if key == np.uint64(0):
        body = np.int64(0)
        key = mixed(text(tape, member(tape, 0, _EVENT)), text(tape, member(tape, 0, _SYMBOL)))
    elif body == 0:
        return REFUSED
    at = find_stream(cells, c, key)
    cell = cells[at]
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    if cell.stream == BOOK:
        return _read_depth(tape, body, rows, stop, seq, now, c, conns, cells, at, counters)
    exch_ns = unit_ns(tape, member(tape, body, _TIME), _MS)
    if cell.stream == QUOTES:
        there, number = integer(tape, member(tape, body, _LAST))
        r = put_quote(
            rows,
            stop,
            tape,
            member(tape, body, _BIDS),
            member(tape, body, _BID_SIZE),
            member(tape, body, _ASKS),
            member(tape, body, _ASK_SIZE),
            number,
            exch_ns,
        )
        if r < 0 or not there:
            return min(r, REFUSED)
        counters[C_QUOTES] += 1
        return stamp(rows, stop, r, seq, now, cell.row, exch_ns)
    kind = member(tape, body, _EXECUTION)
    if kind != 0 and text(tape, kind) != _MARKET:
        # Not of the book: an insurance fund's, or a place holder whose price is 0.
        counters[C_TRADES_OFF_BOOK] += 1
        return stop
    there, ref = integer(tape, member(tape, body, _TRADE_ID))
    if not there:
        there, ref = integer(tape, member(tape, body, _AGGREGATE_ID))
    makes = member(tape, body, _BUYER_MAKES)
    if not there or ref <= 0 or makes == 0 or exch_ns == 0:
        return REFUSED
    side = -1 if tape[makes].kind == TRUE else 1
    r = put_trade(rows, stop, tape, member(tape, body, _PRICE), member(tape, body, _QUANTITY), side, ref, exch_ns)
    if r < 0:
        return r
    if seen(rings, cell.ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return stop
    remember(rings, cell.ring, ref)
    counters[C_TRADES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, exch_ns)


@kernel
def _read_depth(
    tape: Any,
    body: Any,
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
    there, first = integer(tape, member(tape, body, _FIRST))
    also, last = integer(tape, member(tape, body, _LAST))
    if not there or not also or first > last or first < 0:
        return REFUSED
    cell = cells[at]
    futures = cell.option == FUTURES
    prev = np.int64(0)
    if futures:
        there, prev = integer(tape, member(tape, body, _PREVIOUS))
        if not there:
            return REFUSED
    start = stop
    if cell.phase == CHAINED and last <= cell.last:
        counters[C_DUPLICATES] += 1
        return stop
    if cell.phase == SPLICING and last < cell.last + (0 if futures else 1):
        counters[C_STALE_UPDATES] += 1
        return stop
    broken = False
    if cell.phase == CHAINED:
        broken = prev != cell.last if futures else first != cell.last + 1
    elif cell.phase == SPLICING:
        broken = first > cell.last + (0 if futures else 1)
    r = stop
    if broken:
        counters[C_SEQUENCE_GAPS] += 1
        start = r = put_gap(rows, r, seq, now, cell.row, 0, 0)
    r = put_levels(rows, r, tape, member(tape, body, _BIDS), 1, False)
    if r >= 0:
        r = put_levels(rows, r, tape, member(tape, body, _ASKS), -1, False)
    if r < 0:
        return r
    exch_ns = unit_ns(tape, member(tape, body, _TIME), _MS)
    if exch_ns == 0:
        exch_ns = unit_ns(tape, member(tape, body, _EVENT_TIME), _MS)
    stamp(rows, start, r, seq, now, cell.row, exch_ns)
    if broken or cell.phase == NEW or cell.phase == LOST:
        # Where one is missing, this change is the first that waits for the next snapshot.
        cells[at].phase = NEW
        return hold(conns, c, at, start, r, first, last, prev)
    cells[at].phase = CHAINED
    cells[at].last = last
    counters[C_BOOK_UPDATES] += 1
    return r
