"""The compiled half of the Bitstamp decoder: price changes, order events, trades; and the books that are fetched.

A price change has nothing but its time, in microseconds, which grows. An order event names itself and the one before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.rows import (
    REFUSED,
    UNUSUAL,
    put_gap,
    put_level,
    put_levels,
    put_order,
    put_reset,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_UPDATES,
    C_DUPLICATES,
    C_FRAMES,
    C_RETIRED_CHANNEL,
    C_SEQUENCE_GAPS,
    C_STALE_UPDATES,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    LOST,
    NEW,
    ORDERS,
    OTHER,
    RETIRED,
    SPLICING,
    find_stream,
    hold,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    TOO_MANY,
    decimal,
    integer,
    member,
    name,
    tape_of,
    text,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of
from data_controller.market.numbers import INEXACT
from data_controller.market.rows import Kind

LAG_US = 1_500_000
"""A fetched book may be this much older than it says: changes from so long before its time on are put behind it."""
RECORDING = 1
"""`cell.option` while a book that goes on waits for a fetched one: its changes are taken, and kept too."""

_EVENT, _CHANNEL, _DATA = name("event"), name("channel"), name("data")
_TRADE, _CREATED, _CHANGED, _DELETED = (
    name("trade"),
    name("order_created"),
    name("order_changed"),
    name("order_deleted"),
)
_MICRO = name("microtimestamp")
_BIDS, _ASKS = name("bids"), name("asks")
_ID, _TYPE, _ORDER_TYPE = name("id"), name("type"), name("order_type")
_PRICE, _PRICE_TEXT, _AMOUNT, _AMOUNT_TEXT = name("price"), name("price_str"), name("amount"), name("amount_str")
_EVENT_ID, _PRE_EVENT_ID = name("event_id"), name("pre_event_id")
_ADD = int(Kind.ADD)
_CHANGE = int(Kind.CHANGE)
_CANCEL = int(Kind.CANCEL)
_US = 1_000


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
    key = text(tape, member(tape, 0, _CHANNEL))
    at = find_stream(cells, c, key)
    cell = cells[at]
    if key == np.uint64(0):
        return UNUSUAL
    event = text(tape, member(tape, 0, _EVENT))
    if event != _DATA and event != _TRADE and event != _CREATED and event != _CHANGED and event != _DELETED:
        return UNUSUAL
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    body = member(tape, 0, _DATA)
    there, micro = integer(tape, member(tape, body, _MICRO))
    if body == 0 or not there or micro <= 0 or micro > 9_000_000_000_000_000:
        return REFUSED
    if cell.stream == BOOK and event == _DATA:
        return _read_prices(tape, body, micro, rows, stop, seq, now, c, conns, cells, at, counters)
    if cell.stream == ORDERS and event != _DATA and event != _TRADE:
        return _read_order(tape, body, event, micro, rows, stop, seq, now, c, conns, cells, at, counters)
    if event != _TRADE or cell.stream == BOOK or cell.stream == ORDERS:
        return REFUSED
    there, ref = integer(tape, member(tape, body, _ID))
    also, sells = integer(tape, member(tape, body, _TYPE))
    if not there or not also or ref <= 0 or sells < 0 or sells > 1:
        return REFUSED
    price, size = _texts(tape, body)
    r = put_trade(rows, stop, tape, price, size, 1 - 2 * sells, ref, micro * _US)
    if r < 0:
        return r
    if seen(rings, cell.ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return stop
    remember(rings, cell.ring, ref)
    counters[C_TRADES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, micro * _US)


@kernel
def _texts(tape: Any, body: Any) -> Any:
    """Price and amount as text where the message has it: its numbers are doubles."""
    price = member(tape, body, _PRICE_TEXT)
    if price == 0:
        price = member(tape, body, _PRICE)
    size = member(tape, body, _AMOUNT_TEXT)
    if size == 0:
        size = member(tape, body, _AMOUNT)
    return price, size


@kernel
def _read_prices(
    tape: Any,
    body: Any,
    micro: Any,
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
    """A change of prices; one that is older than the one before it came out of order, so something is wrong."""
    cell = cells[at]
    if cell.phase == CHAINED and micro == cell.last:
        counters[C_DUPLICATES] += 1
        return stop
    if cell.phase == SPLICING and micro <= cell.last - LAG_US:
        counters[C_STALE_UPDATES] += 1
        return stop
    start = r = stop
    broken = cell.phase == CHAINED and micro < cell.last
    if broken:
        counters[C_SEQUENCE_GAPS] += 1
        start = r = put_gap(rows, r, seq, now, cell.row, 0, 0)
    bids, asks = member(tape, body, _BIDS), member(tape, body, _ASKS)
    if bids == 0 or asks == 0:
        return REFUSED
    r = put_levels(rows, r, tape, bids, 1, False)
    if r >= 0:
        r = put_levels(rows, r, tape, asks, -1, False)
    if r < 0:
        return r
    stamp(rows, start, r, seq, now, cell.row, micro * _US)
    if broken or cell.phase == NEW or cell.phase == LOST:
        cells[at].phase = NEW
        cells[at].option = 0
        return hold(conns, c, at, start, r, micro, micro, 0)
    cells[at].phase = CHAINED
    cells[at].last = micro
    counters[C_BOOK_UPDATES] += 1
    return hold(conns, c, at, start, r, micro, micro, 0) if cell.option == RECORDING else r


@kernel
def _read_order(
    tape: Any,
    body: Any,
    event: Any,
    micro: Any,
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
    """An order event, which must name the one before it."""
    own, before = text(tape, member(tape, 0, _EVENT_ID)), text(tape, member(tape, 0, _PRE_EVENT_ID))
    if own == np.uint64(0) or before == np.uint64(0):
        return REFUSED
    last, prev = np.int64(own), np.int64(before)
    cell = cells[at]
    if cell.phase == CHAINED and last == cell.last:
        counters[C_DUPLICATES] += 1
        return stop
    start = r = stop
    broken = cell.phase == CHAINED and prev != cell.last
    if broken:
        counters[C_SEQUENCE_GAPS] += 1
        start = r = put_gap(rows, r, seq, now, cell.row, 0, 0)
    r = put_event(rows, r, tape, body, event == _DELETED)
    if r < 0:
        return r
    stamp(rows, start, r, seq, now, cell.row, micro * _US)
    if broken or cell.phase != CHAINED:
        cells[at].phase = NEW
        cells[at].option = 0
        return hold(conns, c, at, start, r, micro, last, prev)
    cells[at].last = last
    counters[C_BOOK_UPDATES] += 1
    return hold(conns, c, at, start, r, micro, last, prev) if cell.option == RECORDING else r


@kernel
def put_event(rows: Any, r: Any, tape: Any, body: Any, deleted: Any) -> Any:
    """A CHANGE or CANCEL row of an order; one without a price or with nothing left rests nowhere."""
    there, ref = integer(tape, member(tape, body, _ID))
    also, sells = integer(tape, member(tape, body, _ORDER_TYPE))
    if not there or not also or ref <= 0 or sells < 0 or sells > 1:
        return REFUSED
    price, size = _texts(tape, body)
    there, digits, _, odd, _ = decimal(tape, price)
    also, amount, _, odd_amount, _negative = decimal(tape, size)
    if not there or not also:
        return REFUSED
    side = 1 - 2 * sells
    gone = deleted or (digits == 0 and odd & INEXACT == 0) or (amount == 0 and odd_amount & INEXACT == 0)
    if not gone:
        return put_order(rows, r, tape, _CHANGE, ref, price, size, side, False)
    r = put_reset(rows, r)
    if r < 0:
        return r
    row = rows[r - 1]
    row.kind = _CANCEL
    row.side = side
    row.ref = ref
    row.flags = 0
    return r


@kernel
def read_book(body: Any, tape: Any, rows: Any, orders: Any) -> Any:
    """(rows written, its time in microseconds) of a fetched book: RESET, bids, asks; negative where it is none.

    Entries are [price, amount], or [price, amount, order id] where `orders`.
    """
    p = address_of(body)
    if tape_of(p, p + len(body), tape) < 0:
        return np.int64(REFUSED), np.int64(0)
    there, micro = integer(tape, member(tape, 0, _MICRO))
    if not there or micro <= 0 or micro > 9_000_000_000_000_000:
        return np.int64(REFUSED), np.int64(0)
    r = put_reset(rows, 0)
    for side in (1, -1):
        t = member(tape, 0, _BIDS if side > 0 else _ASKS)
        if t == 0 or tape[t].kind != LIST:
            return np.int64(REFUSED), np.int64(0)
        at = np.int64(t) + 1
        while at < tape[t].after:
            if tape[at].kind != LIST or tape[at].after < at + (4 if orders else 3):
                return np.int64(REFUSED), np.int64(0)
            size = np.int64(tape[at + 1].after)
            if orders:
                there, ref = integer(tape, np.int64(tape[size].after))
                if not there or ref <= 0:
                    return np.int64(REFUSED), np.int64(0)
                r = put_order(rows, r, tape, _ADD, ref, at + 1, size, side, True)
            else:
                r = put_level(rows, r, tape, at + 1, size, side, True)
            if r < 0:
                return np.int64(r), np.int64(0)
            at = np.int64(tape[at].after)
    return np.int64(stamp(rows, 0, r, 0, 0, 0, micro * _US)), micro
