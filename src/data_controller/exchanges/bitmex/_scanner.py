"""The compiled half of the BitMEX decoder: tables of levels by id, trades, best prices.

A level's price comes with its first row only, so prices are remembered by id, in a table that the scan is given last.
A change of an id that is not there, or a second first row, tells that a message is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
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
    C_FRAMES,
    C_QUOTES,
    C_SEQUENCE_GAPS,
    C_STALE_UPDATES,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    LOST,
    OTHER,
    QUOTES,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    NULL,
    TOO_MANY,
    decimal,
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

ENTRY = np.dtype(
    [
        ("key", "<u8"),  # of the level's id and its book's cell, 0: free
        ("price", "<i8"),
        ("row", "<i4"),  # of the channel table
        ("round", "<i4"),  # which of the book's snapshots knew it, see `cell.spare`
        ("scale", "<i1"),
        ("side", "<i1"),  # 0: the level is gone, its price is known still
        ("flags", "<u2"),
        ("zero", "<i4"),
    ]
)
"""What is remembered of a level. `entries[0]` is no level: its `price` counts the entries in use."""
GROW = 32
"""Status of a scan that needs a longer table."""
_FULL = -10

_TABLE, _ACTION, _DATA, _FILTER = name("table"), name("action"), name("data"), name("filter")
_PARTIAL, _INSERT, _UPDATE, _DELETE = name("partial"), name("insert"), name("update"), name("delete")
_SYMBOL, _ID, _SIDE, _SIZE, _PRICE = name("symbol"), name("id"), name("side"), name("size"), name("price")
_BUY, _SELL = name("Buy"), name("Sell")
_TIME, _MATCH = name("timestamp"), name("trdMatchID")
_BID, _BID_SIZE, _ASK, _ASK_SIZE = name("bidPrice"), name("bidSize"), name("askPrice"), name("askSize")
_SNAPSHOT = int(Flag.SNAPSHOT)
_SET = int(Kind.SET)
_QUOTE = int(Kind.QUOTE)


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
    entries: Any,
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
        r = _read(tape, rows, stop, first_seq + i, recv_ns[i], np.int64(conn[i]), cells, rings, counters, entries)
        if r == _FULL:
            return pack(i, stop, GROW)
        if r < 0:
            return leave(i, stop, r)
        counters[C_FRAMES] += 1
        stop = r
        i += 1
    return pack(i, stop, DONE)


@kernel
def find_entry(entries: Any, key: Any) -> Any:
    """Index of the entry of `key`, or of the free one that ends the search; never 0."""
    mask = len(entries) - 1
    at = np.int64(key >> np.uint64(20)) & mask
    while at == 0 or (entries[at].key != np.uint64(0) and entries[at].key != key):
        at = (at + 1) & mask
    return at


@kernel
def enter_entries(old: Any, cells: Any, entries: Any) -> None:
    """Copy what live books' last snapshots know from `old` into `entries`, which are free."""
    count = np.int64(0)
    for k in range(1, len(old)):
        if old[k].key != np.uint64(0) and old[k].side != 0:
            for at in range(len(cells)):
                cell = cells[at]
                if cell.state == LIVE and cell.row == old[k].row and cell.spare == old[k].round:
                    entries[find_entry(entries, old[k].key)] = old[k]
                    count += 1
                    break
    entries[0].price = count


@kernel
def _read(
    tape: Any,
    rows: Any,
    stop: Any,
    seq: Any,
    now: Any,
    c: Any,
    cells: Any,
    rings: Any,
    counters: Any,
    entries: Any,
) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`, or _FULL."""
    table, action = text(tape, member(tape, 0, _TABLE)), text(tape, member(tape, 0, _ACTION))
    data = member(tape, 0, _DATA)
    if table == np.uint64(0) or action == np.uint64(0) or data == 0 or tape[data].kind != LIST:
        return UNUSUAL
    first = np.int64(data) + 1
    end = tape[data].after
    symbol = text(tape, member(tape, first if first < end else member(tape, 0, _FILTER), _SYMBOL))
    if symbol == np.uint64(0):
        return UNUSUAL if first < end else stop
    at = find_stream(cells, c, mixed(table, symbol))
    if cells[at].state != LIVE or cells[at].stream == OTHER:
        return UNUSUAL
    item, items = first, np.int64(0)
    while item < end:
        # The protocol lets a message speak of several symbols; none was ever seen to.
        if text(tape, member(tape, item, _SYMBOL)) != symbol:
            return REFUSED
        item = np.int64(tape[item].after)
        items += 1
    cells[at].heard_ns = now
    if cells[at].stream == BOOK:
        if 2 * (entries[0].price + items) > len(entries):
            return _FULL
        return _read_book(tape, data, action, rows, stop, seq, now, cells, at, counters, entries)
    if action != _PARTIAL and action != _INSERT:
        return REFUSED
    cell = cells[at]
    r = stop
    item = first
    while item < end:
        if cell.stream == QUOTES:
            r = _put_quotes(rows, r, tape, item)
        else:
            side = _side(text(tape, member(tape, item, _SIDE)))
            match = text(tape, member(tape, item, _MATCH))
            exch_ns = iso_ns(tape, member(tape, item, _TIME))
            if side == 0 or match == np.uint64(0) or exch_ns == 0:
                return REFUSED
            price, size = member(tape, item, _PRICE), member(tape, item, _SIZE)
            r = put_trade(rows, r, tape, price, size, side, np.int64(match), exch_ns)
        if r < 0:
            return r
        item = np.int64(tape[item].after)
    if cell.stream == QUOTES:
        counters[C_QUOTES] += 1
        return stamp(rows, stop, r, seq, now, cell.row, 0)
    last = stop
    for k in range(stop, r):
        if seen(rings, cell.ring, rows[k].ref):
            counters[C_TRADES_REPEATED] += 1
            continue
        remember(rings, cell.ring, rows[k].ref)
        if k != last:
            rows[last] = rows[k]
        if action == _PARTIAL:
            rows[last].flags |= _SNAPSHOT
            counters[C_TRADE_SNAPSHOT_ROWS] += 1
        else:
            counters[C_TRADES] += 1
        last += 1
    return stamp(rows, stop, last, seq, now, cell.row, 0)


@kernel
def _side(key: Any) -> Any:
    """+1 for Buy, -1 for Sell, else 0."""
    return 1 if key == _BUY else (-1 if key == _SELL else 0)


@kernel
def _put_quotes(rows: Any, r: Any, tape: Any, t: Any) -> Any:
    """QUOTE rows of object `t`; a side without orders is null or absent."""
    exch_ns = iso_ns(tape, member(tape, t, _TIME))
    if exch_ns == 0:
        return REFUSED
    for side in (1, -1):
        price = member(tape, t, _BID if side > 0 else _ASK)
        size = member(tape, t, _BID_SIZE if side > 0 else _ASK_SIZE)
        if price == 0 or size == 0 or tape[price].kind == NULL or tape[size].kind == NULL:
            continue
        if r >= len(rows):
            return NO_ROOM
        bad = put_numbers(rows[r], tape, price, size)
        if bad:
            return bad
        rows[r].kind = _QUOTE
        rows[r].side = side
        rows[r].exch_ns = exch_ns
        r += 1
    return r


@kernel
def _read_book(
    tape: Any,
    data: Any,
    action: Any,
    rows: Any,
    stop: Any,
    seq: Any,
    now: Any,
    cells: Any,
    at: Any,
    counters: Any,
    entries: Any,
) -> Any:
    """The levels of a snapshot or a change; nothing is remembered before all of them are read."""
    cell = cells[at]
    whole = action == _PARTIAL
    if not whole and cell.phase != CHAINED:
        counters[C_STALE_UPDATES] += 1
        return stop
    if action != _PARTIAL and action != _INSERT and action != _UPDATE and action != _DELETE:
        return REFUSED
    start = stop
    r = put_reset(rows, stop) if whole else stop
    lost = False
    end = tape[data].after
    item = np.int64(data) + 1
    while item < end and r >= 0:
        r = _put_item(tape, item, action, rows, r, cell, entries)
        if r == _UNKNOWN:
            lost = True
            break
        item = np.int64(tape[item].after)
    if lost:
        counters[C_SEQUENCE_GAPS] += 1
        cells[at].phase = LOST
        return put_gap(rows, stop, seq, now, cell.row, 0, 0)
    if r < 0:
        return r
    if whole:
        cells[at].spare = (cell.spare + 1) & 0x3FFFFFFF
    item = np.int64(data) + 1
    while item < end:
        _note_item(tape, item, action, cells[at], entries)
        item = np.int64(tape[item].after)
    if whole:
        cells[at].phase = CHAINED
        counters[C_BOOK_SNAPSHOTS] += 1
    else:
        counters[C_BOOK_UPDATES] += 1
    return stamp(rows, start, r, seq, now, cell.row, 0)


_UNKNOWN = -11


@kernel
def _put_item(tape: Any, t: Any, action: Any, rows: Any, r: Any, cell: Any, entries: Any) -> Any:
    """The rows of one level, or _UNKNOWN where it contradicts what is remembered."""
    there, ref = integer(tape, member(tape, t, _ID))
    side = _side(text(tape, member(tape, t, _SIDE)))
    if not there or side == 0:
        return REFUSED
    entry = entries[find_entry(entries, mixed(np.uint64(ref), np.uint64(cell.row)))]
    known = entry.side != 0 and entry.round == cell.spare
    size = member(tape, t, _SIZE)
    if action in (_PARTIAL, _INSERT):
        if action == _INSERT and known:
            return _UNKNOWN
        r = put_level(rows, r, tape, member(tape, t, _PRICE), size, side, action == _PARTIAL)
        return r
    if not known:
        return _UNKNOWN
    if r + 2 > len(rows):
        return NO_ROOM
    gone = action == _DELETE
    if gone or entry.side != side:
        r = _put_known(rows, r, entry, entry.side, 0, 0)
    if gone:
        return r
    there, digits, scale, odd, negative = decimal(tape, size)
    if not there or odd != 0 or negative:
        return REFUSED
    return _put_known(rows, r, entry, side, digits, scale)


@kernel
def _put_known(rows: Any, r: Any, entry: Any, side: Any, size: Any, scale: Any) -> Any:
    """A SET row at a remembered price."""
    row = rows[r]
    row.kind = _SET
    row.side = side
    row.price = entry.price
    row.price_scale = entry.scale
    row.size = size
    row.size_scale = scale
    row.flags = entry.flags
    row.ref = 0
    row.exch_ns = 0
    return r + 1


@kernel
def _note_item(tape: Any, t: Any, action: Any, cell: Any, entries: Any) -> None:
    """Remember what `_put_item` has read of one level."""
    _, ref = integer(tape, member(tape, t, _ID))
    key = mixed(np.uint64(ref), np.uint64(cell.row))
    entry = entries[find_entry(entries, key)]
    if action == _DELETE:
        entry.side = 0
        return
    entry.side = _side(text(tape, member(tape, t, _SIDE)))
    if action == _UPDATE:
        return
    if entry.key == np.uint64(0):
        entries[0].price += 1
    entry.key = key
    _, digits, scale, odd, _ = decimal(tape, member(tape, t, _PRICE))
    entry.price = digits
    entry.scale = scale
    entry.flags = 8 if odd & 1 else 0
    entry.row = cell.row
    entry.round = cell.spare
