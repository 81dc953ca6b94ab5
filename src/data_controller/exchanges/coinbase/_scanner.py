"""The compiled half of the Coinbase decoder: price levels, matches, and single orders by their product's sequence.

Every message of the `full` channel has the next number of its product, also those that change no book. A `match`
takes its size off the maker's order, which is a REDUCE row: what is left of it the venue does not say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.rows import (
    ABSURD,
    NO_ROOM,
    REFUSED,
    UNUSUAL,
    put_gap,
    put_level,
    put_levels,
    put_numbers,
    put_order,
    put_plain,
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
    C_HEARTBEATS,
    C_RETIRED_CHANNEL,
    C_SEQUENCE_GAPS,
    C_STALE_UPDATES,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    NEW,
    ORDERS,
    RETIRED,
    SPLICING,
    TRADES,
    find_stream,
    hold,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    NULL,
    TOO_MANY,
    decimal,
    integer,
    iso_ns,
    item,
    member,
    mixed,
    name,
    tape_of,
    text,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of
from data_controller.market.rows import Flag, Kind

LEVEL2, MATCHES, FULL, TICKER = name("level2"), name("matches"), name("full"), name("ticker")
_TYPE, _PRODUCT, _SEQUENCE, _TIME = name("type"), name("product_id"), name("sequence"), name("time")
_SNAPSHOT, _UPDATE, _HEARTBEAT = name("snapshot"), name("l2update"), name("heartbeat")
_MATCH, _LAST_MATCH, _TICKER = name("match"), name("last_match"), name("ticker")
_RECEIVED, _ACTIVATE, _OPEN, _DONE, _CHANGE = (
    name("received"),
    name("activate"),
    name("open"),
    name("done"),
    name("change"),
)
_BIDS, _ASKS, _CHANGES = name("bids"), name("asks"), name("changes")
_BUY, _SELL, _SIDE = name("buy"), name("sell"), name("side")
_PRICE, _SIZE, _TRADE_ID = name("price"), name("size"), name("trade_id")
_ORDER, _MAKER, _LEFT = name("order_id"), name("maker_order_id"), name("remaining_size")
_OLD_SIZE, _NEW_SIZE, _NEW_PRICE = name("old_size"), name("new_size"), name("new_price")
_OLD = int(Flag.SNAPSHOT)
_ADD_KIND, _CHANGE_KIND, _REDUCE_KIND, _CANCEL_KIND = (
    int(Kind.ADD),
    int(Kind.CHANGE),
    int(Kind.REDUCE),
    int(Kind.CANCEL),
)


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
    kind = text(tape, member(tape, 0, _TYPE))
    product = text(tape, member(tape, 0, _PRODUCT))
    if kind == np.uint64(0) or product == np.uint64(0):
        return UNUSUAL
    if kind in (_UPDATE, _SNAPSHOT):
        at = find_stream(cells, c, mixed(LEVEL2, product))
        if cells[at].state == RETIRED:
            counters[C_RETIRED_CHANNEL] += 1
            return stop
        if cells[at].state != LIVE or cells[at].stream != BOOK:
            return UNUSUAL
        cells[at].heard_ns = now
        return _read_levels(tape, kind == _SNAPSHOT, rows, stop, seq, now, cells, at, counters)
    if kind == _HEARTBEAT:
        counters[C_HEARTBEATS] += 1
        for stream in (LEVEL2, MATCHES, FULL, TICKER):
            at = find_stream(cells, c, mixed(stream, product))
            if cells[at].state == LIVE:
                cells[at].heard_ns = now
        return stop
    matched = kind in (_MATCH, _LAST_MATCH)
    if not (matched or kind in (_RECEIVED, _OPEN, _DONE, _CHANGE, _ACTIVATE)):
        return UNUSUAL
    return _read_order(tape, kind, product, matched, rows, stop, seq, now, c, conns, cells, rings, counters)


@kernel
def _read_order(
    tape: Any,
    kind: Any,
    product: Any,
    matched: Any,
    rows: Any,
    stop: Any,
    seq: Any,
    now: Any,
    c: Any,
    conns: Any,
    cells: Any,
    rings: Any,
    counters: Any,
) -> Any:
    """A message about an order: for the product's L3 book, its trades, or both."""
    book = find_stream(cells, c, mixed(FULL, product))
    trades = find_stream(cells, c, mixed(MATCHES, product))
    booked = cells[book].state == LIVE and cells[book].stream == ORDERS and kind != _LAST_MATCH
    traded = matched and cells[trades].state == LIVE and cells[trades].stream == TRADES
    if not booked and not traded:
        if cells[book].state == RETIRED or (matched and cells[trades].state == RETIRED):
            counters[C_RETIRED_CHANNEL] += 1
            return stop
        return UNUSUAL
    exch_ns = iso_ns(tape, member(tape, 0, _TIME))
    r = stop
    if traded:
        cells[trades].heard_ns = now
        r = _put_match(tape, kind == _LAST_MATCH, rows, r, exch_ns, rings, cells[trades].ring, counters)
        if r < 0:
            return r
        stamp(rows, stop, r, seq, now, cells[trades].row, exch_ns)
    if booked:
        cells[book].heard_ns = now
        return _follow(tape, kind, rows, r, seq, now, c, conns, cells, book, exch_ns, counters)
    return r


@kernel
def _side_of(tape: Any, t: Any) -> Any:
    """+1 buy, -1 sell, 0 where string `t` says neither."""
    side = text(tape, t)
    return 1 if side == _BUY else -1 if side == _SELL else 0


@kernel
def _put_match(tape: Any, old: Any, rows: Any, r: Any, exch_ns: Any, rings: Any, ring: Any, counters: Any) -> Any:
    """The TRADE row of a match, none where it was taken before; `side` in the message is the maker's."""
    there, ref = integer(tape, member(tape, 0, _TRADE_ID))
    maker = _side_of(tape, member(tape, 0, _SIDE))
    if not there or ref <= 0 or maker == 0 or exch_ns == 0:
        return REFUSED
    behind = put_trade(rows, r, tape, member(tape, 0, _PRICE), member(tape, 0, _SIZE), -maker, ref, exch_ns)
    if behind < 0:
        return behind
    if seen(rings, ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return r
    if len(rows) - behind < 2:
        return NO_ROOM
    remember(rings, ring, ref)
    if old:
        rows[r].flags |= _OLD
    counters[C_TRADE_SNAPSHOT_ROWS if old else C_TRADES] += 1
    return behind


@kernel
def _read_levels(
    tape: Any, whole: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any
) -> Any:
    """A snapshot of price levels, or changes of some as [side, price, size]."""
    r = stop
    if whole:
        bids, asks = member(tape, 0, _BIDS), member(tape, 0, _ASKS)
        if bids == 0 or asks == 0:
            return REFUSED
        r = put_reset(rows, r)
        if r >= 0:
            r = put_levels(rows, r, tape, bids, 1, True)
        if r >= 0:
            r = put_levels(rows, r, tape, asks, -1, True)
    else:
        changes = member(tape, 0, _CHANGES)
        if changes == 0 or tape[changes].kind != LIST:
            return REFUSED
        change = changes + 1
        while change < tape[changes].after and r >= 0:
            side = _side_of(tape, item(tape, change, 0))
            if side == 0:
                return REFUSED
            r = put_level(rows, r, tape, item(tape, change, 1), item(tape, change, 2), side, False)
            change = np.int64(tape[change].after)
    if r < 0:
        return r
    if whole:
        cells[at].phase = CHAINED
    counters[C_BOOK_SNAPSHOTS if whole else C_BOOK_UPDATES] += 1
    return stamp(rows, stop, r, seq, now, cells[at].row, iso_ns(tape, member(tape, 0, _TIME)))


@kernel
def _follow(
    tape: Any,
    kind: Any,
    rows: Any,
    start: Any,
    seq: Any,
    now: Any,
    c: Any,
    conns: Any,
    cells: Any,
    at: Any,
    exch_ns: Any,
    counters: Any,
) -> Any:
    """A message of the L3 book: checked against the one before, or kept until the snapshot is there."""
    there, number = integer(tape, member(tape, 0, _SEQUENCE))
    if not there or number <= 0:
        return REFUSED
    phase = cells[at].phase
    chained = phase in (CHAINED, SPLICING)
    if chained and number <= cells[at].last:
        counters[C_DUPLICATES if phase == CHAINED else C_STALE_UPDATES] += 1
        return start
    r = start
    broken = chained and number != cells[at].last + 1
    if broken:
        counters[C_SEQUENCE_GAPS] += 1
        start = r = put_gap(rows, r, seq, now, cells[at].row, number - cells[at].last - 1, 0)
    r = _put_order(tape, kind, rows, r)
    if r < 0:
        return r
    stamp(rows, start, r, seq, now, cells[at].row, exch_ns)
    if broken or not chained:
        cells[at].phase = NEW
        return hold(conns, c, at, start, r, number, number, 0)
    cells[at].phase = CHAINED
    cells[at].last = number
    counters[C_BOOK_UPDATES] += 1
    return r


@kernel
def _put_order(tape: Any, kind: Any, rows: Any, r: Any) -> Any:
    """What a message does to the L3 book: one row, or none."""
    if kind in (_RECEIVED, _ACTIVATE):
        return r
    if r >= len(rows):
        return NO_ROOM
    side = _side_of(tape, member(tape, 0, _SIDE))
    order = text(tape, member(tape, 0, _MAKER if kind == _MATCH else _ORDER))
    if side == 0 or order == np.uint64(0):
        return REFUSED
    ref = np.int64(order)
    price = member(tape, 0, _PRICE)
    if kind == _OPEN:
        return _put_rest(tape, rows, r, _CHANGE_KIND, ref, price, member(tape, 0, _LEFT), side)
    if kind == _MATCH:
        return put_order(rows, r, tape, _REDUCE_KIND, ref, price, member(tape, 0, _SIZE), side, False)
    if kind == _DONE:
        put_plain(rows, r, 0, 0, _CANCEL_KIND, 0, ref, 0, 0)
        rows[r].flags = 0
        rows[r].side = side
        return r + 1
    moved = member(tape, 0, _NEW_PRICE)
    size = member(tape, 0, _NEW_SIZE)
    if moved != 0:
        return _put_rest(tape, rows, r, _CHANGE_KIND, ref, moved, size, side)
    if size == 0 or price == 0 or tape[price].kind == NULL:
        return r  # a market order, which does not rest
    return _put_less(tape, rows, r, ref, price, size, side)


@kernel
def _put_rest(tape: Any, rows: Any, r: Any, kind: Any, ref: Any, price: Any, size: Any, side: Any) -> Any:
    behind = put_order(rows, r, tape, kind, ref, price, size, side, False)
    if behind >= 0 and rows[r].size == 0 and rows[r].flags == 0:
        return ABSURD
    return behind


@kernel
def _put_less(tape: Any, rows: Any, r: Any, ref: Any, price: Any, size: Any, side: Any) -> Any:
    """A REDUCE row by what lies between the old and the new size; the order may not rest yet."""
    bad = put_numbers(rows[r], tape, price, size)
    if bad:
        return bad
    there, old, old_scale, odd, negative = decimal(tape, member(tape, 0, _OLD_SIZE))
    new, new_scale = np.int64(rows[r].size), np.int64(rows[r].size_scale)
    if not there or odd != 0 or negative:
        return REFUSED
    while new_scale < old_scale and new < 100_000_000_000_000_000:
        new, new_scale = new * 10, new_scale + 1
    while old_scale < new_scale and old < 100_000_000_000_000_000:
        old, old_scale = old * 10, old_scale + 1
    if new_scale != old_scale or old < new:
        return REFUSED
    if old == new:
        return r
    rows[r].kind = _REDUCE_KIND
    rows[r].side = side
    rows[r].ref = ref
    rows[r].size = old - new
    rows[r].size_scale = old_scale
    return r + 1


@kernel
def snapshot_of_orders(body: Any, tape: Any, rows: Any) -> Any:
    """(rows written, sequence) of a fetched level-3 book: RESET, bids, asks; the first is negative where it is none."""
    p = address_of(body)
    if tape_of(p, p + len(body), tape) < 0:
        return np.int64(REFUSED), np.int64(0)
    there, number = integer(tape, member(tape, 0, _SEQUENCE))
    if not there or number < 0:
        return np.int64(REFUSED), np.int64(0)
    r = put_reset(rows, 0)
    for side in (1, -1):
        orders = member(tape, 0, _BIDS if side > 0 else _ASKS)
        if orders == 0 or tape[orders].kind != LIST:
            return np.int64(REFUSED), np.int64(0)
        at = orders + 1
        while at < tape[orders].after:
            order = text(tape, item(tape, at, 2))
            if order == np.uint64(0):
                return np.int64(REFUSED), np.int64(0)
            price, size = item(tape, at, 0), item(tape, at, 1)
            r = put_order(rows, r, tape, _ADD_KIND, np.int64(order), price, size, side, True)
            if r < 0:
                return np.int64(r), np.int64(0)
            if rows[r - 1].size == 0:
                return np.int64(REFUSED), np.int64(0)
            at = np.int64(tape[at].after)
    return np.int64(stamp(rows, 0, r, 0, 0, 0, iso_ns(tape, member(tape, 0, _TIME)))), number
