"""The compiled half of the decoders of OKX and its kin: books, best prices and trades under a channel's name.

Three protocols write the same things: OKX v5 and Bitget name the stream once (`arg`), OKX v3 and OKCoin name a table
and in each entry its instrument. How a book is proved, by `cell.option`: SEQUENCED, each change names the one before
(`prevSeqId` = its `seqId`); CHECKED, a checksum stands behind every change; WHOLE, every message is all of the book.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import forget_trades, remember, seen
from data_controller.exchanges.streaming.levels import (
    mark_old,
    number_parts,
    put_best,
    put_counted_levels,
    trade_ref,
)
from data_controller.exchanges.streaming.rows import (
    NO_ROOM,
    REFUSED,
    UNUSUAL,
    put_check,
    put_gap,
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
    C_DUPLICATES,
    C_FRAMES,
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
    SPLICING,
    find_stream,
    hold,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    OBJECT,
    TOO_MANY,
    integer,
    iso_ns,
    item,
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

SEQUENCED, CHECKED, WHOLE = 0, 1, 2

_ARG, _CHANNEL, _INSTRUMENT, _DATA, _ACTION = name("arg"), name("channel"), name("instId"), name("data"), name("action")
_TABLE, _INSTRUMENT_ID = name("table"), name("instrument_id")
_A_SNAPSHOT, _A_PARTIAL, _AN_UPDATE = name("snapshot"), name("partial"), name("update")
_ASKS, _BIDS, _CHECKSUM, _SEQ, _PREV = name("asks"), name("bids"), name("checksum"), name("seqId"), name("prevSeqId")
_TS, _TIMESTAMP = name("ts"), name("timestamp")
_TRADE_ID, _TRADE_ID_3 = name("tradeId"), name("trade_id")
_PRICE, _PRICE_3, _SIZE, _SIZE_3, _SIDE = name("px"), name("price"), name("sz"), name("size"), name("side")
_BUY, _SELL = name("buy"), name("sell")
_SNAPSHOT = int(Flag.SNAPSHOT)
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
    if data == 0 or tape[data].kind != LIST:
        return UNUSUAL
    arg = member(tape, 0, _ARG)
    entry = np.int64(data) + 1
    end = np.int64(tape[data].after)
    at = np.int64(-1)
    table = _NOTHING
    if arg != 0:
        at = find_stream(
            cells, c, mixed(text(tape, member(tape, arg, _CHANNEL)), text(tape, member(tape, arg, _INSTRUMENT)))
        )
        if cells[at].state == RETIRED:
            counters[C_RETIRED_CHANNEL] += 1
            return stop
        if cells[at].state != LIVE or cells[at].stream == OTHER:
            return UNUSUAL
    else:
        table = text(tape, member(tape, 0, _TABLE))
        if table == _NOTHING:
            return UNUSUAL
        look = entry
        while look < end:  # all of them before the first, so that none is read twice
            at = find_stream(cells, c, mixed(table, text(tape, member(tape, look, _INSTRUMENT_ID))))
            if cells[at].state != RETIRED and (cells[at].state != LIVE or cells[at].stream == OTHER):
                return UNUSUAL
            look = np.int64(tape[look].after)
    verb = text(tape, member(tape, 0, _ACTION))
    if verb != _NOTHING and verb != _A_SNAPSHOT and verb != _A_PARTIAL and verb != _AN_UPDATE:
        return REFUSED
    snapshot = verb in (_A_SNAPSHOT, _A_PARTIAL)
    alone = entry < end and np.int64(tape[entry].after) == end
    if not alone and len(rows) - stop < end - entry:
        return NO_ROOM  # before anything of an entry is kept: the frame is read again
    r = stop
    while entry < end:
        if arg == 0:
            at = find_stream(cells, c, mixed(table, text(tape, member(tape, entry, _INSTRUMENT_ID))))
        if cells[at].state == RETIRED:
            counters[C_RETIRED_CHANNEL] += 1
        else:
            cells[at].heard_ns = now
            stream = cells[at].stream
            if stream == BOOK:
                r = _read_book(tape, entry, snapshot, alone, rows, r, seq, now, c, conns, cells, at, counters)
            elif stream == QUOTES:
                r = _read_best(tape, entry, rows, r, seq, now, cells[at], counters)
            else:
                behind = _read_trade(tape, entry, snapshot, rows, r, seq, now, cells[at], rings, counters)
                if behind < 0:
                    forget_trades(rows, stop, r, rings)
                r = behind
            if r < 0:
                return r
            if arg == 0 and stream != BOOK:
                cells[at].phase = CHAINED
        entry = np.int64(tape[entry].after)
    if arg != 0 and cells[at].stream != BOOK:
        cells[at].phase = CHAINED
    return number_parts(rows, stop, r)


@kernel
def _time(tape: Any, entry: Any) -> Any:
    """The venue's time of an entry, in ms (`ts`) or as text (`timestamp`); 0 where there is none."""
    t = member(tape, entry, _TS)
    return unit_ns(tape, t, _MS) if t != 0 else iso_ns(tape, member(tape, entry, _TIMESTAMP))


@kernel
def _read_book(
    tape: Any,
    entry: Any,
    snapshot: Any,
    alone: Any,
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
    """A snapshot or a change: checked against the one before where numbered; the checksum behind it where there is."""
    cell = cells[at]
    option = cell.option
    snapshot = snapshot or option == WHOLE
    numbered, last = integer(tape, member(tape, entry, _SEQ))
    named, prev = integer(tape, member(tape, entry, _PREV))
    r = stop
    start = stop
    waits = False
    if option == SEQUENCED and not numbered:
        return UNUSUAL if snapshot else REFUSED
    if snapshot and option == SEQUENCED and cell.phase == CHAINED and last < cell.last:
        # Older than what the book holds: it came late, and what came between is lost.
        counters[C_SEQUENCE_GAPS] += 1
        cells[at].phase = LOST
        return put_gap(rows, r, seq, now, cell.row, 0, 0)
    if snapshot:
        r = put_reset(rows, r)
        if r < 0:
            return r
    elif option == SEQUENCED:
        if not named:
            return REFUSED
        if cell.phase == CHAINED:
            if prev != cell.last:
                if last == cell.last and prev == cell.spare:
                    counters[C_DUPLICATES] += 1
                    return stop
                counters[C_SEQUENCE_GAPS] += 1
                start = r = put_gap(rows, r, seq, now, cell.row, 0, 0)
                waits = True
        elif cell.phase == SPLICING:
            # One that follows it is no older, whatever its number: they begin anew after a maintenance.
            if last <= cell.last and prev != cell.last:
                counters[C_STALE_UPDATES] += 1
                return stop
            if prev > cell.last:
                counters[C_SEQUENCE_GAPS] += 1
                start = r = put_gap(rows, r, seq, now, cell.row, 0, 0)
                waits = True
        else:
            waits = True
        if r < 0:
            return r
    elif cell.phase == NEW or cell.phase == LOST:
        counters[C_STALE_UPDATES] += 1
        return stop
    r = put_counted_levels(rows, r, tape, member(tape, entry, _BIDS), 1, snapshot)
    if r >= 0:
        r = put_counted_levels(rows, r, tape, member(tape, entry, _ASKS), -1, snapshot)
    if r < 0:
        return r
    exch_ns = _time(tape, entry)
    stamp(rows, start, r, seq, now, cell.row, exch_ns)
    if waits:
        if not alone:
            return REFUSED
        cells[at].phase = NEW
        return hold(conns, c, at, start, r, np.int64(0), last, prev)
    cells[at].phase = CHAINED
    if numbered:
        cells[at].last = last
        cells[at].spare = prev
    counters[C_BOOK_SNAPSHOTS if snapshot else C_BOOK_UPDATES] += 1
    there, checksum = integer(tape, member(tape, entry, _CHECKSUM))
    if there and (option == CHECKED or checksum != 0):
        r = put_check(rows, r, seq, now, cell.row, checksum, exch_ns)
        counters[C_CHECKSUMS] += 1
    elif option == CHECKED:
        return REFUSED
    return r


@kernel
def _read_best(tape: Any, entry: Any, rows: Any, stop: Any, seq: Any, now: Any, cell: Any, counters: Any) -> Any:
    """Best bid and ask."""
    _, number = integer(tape, member(tape, entry, _SEQ))
    r = put_best(rows, stop, tape, member(tape, entry, _BIDS), 1, number)
    if r >= 0:
        r = put_best(rows, r, tape, member(tape, entry, _ASKS), -1, number)
    if r < 0:
        return r
    counters[C_QUOTES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, _time(tape, entry))


@kernel
def _read_trade(
    tape: Any,
    entry: Any,
    snapshot: Any,
    rows: Any,
    stop: Any,
    seq: Any,
    now: Any,
    cell: Any,
    rings: Any,
    counters: Any,
) -> Any:
    """A trade: an object, or Bitget's list of time, price, size, side."""
    ref = np.int64(0)
    if tape[entry].kind == LIST:
        exch_ns = unit_ns(tape, item(tape, entry, 0), _MS)
        price, size, taker = item(tape, entry, 1), item(tape, entry, 2), item(tape, entry, 3)
    elif tape[entry].kind == OBJECT:
        exch_ns = _time(tape, entry)
        t = member(tape, entry, _TRADE_ID)
        ref = trade_ref(tape, t if t != 0 else member(tape, entry, _TRADE_ID_3))
        if ref == 0:
            return REFUSED
        price, size = member(tape, entry, _PRICE), member(tape, entry, _SIZE)
        if price == 0:
            price, size = member(tape, entry, _PRICE_3), member(tape, entry, _SIZE_3)
        taker = member(tape, entry, _SIDE)
    else:
        return REFUSED
    side = text(tape, taker) if taker != 0 else _NOTHING
    if exch_ns == 0 or (side != _BUY and side != _SELL):
        return REFUSED
    r = put_trade(rows, stop, tape, price, size, 1 if side == _BUY else -1, ref, exch_ns)
    if r < 0:
        return r
    if ref != 0 and seen(rings, cell.ring, ref):
        counters[C_TRADES_REPEATED] += 1
        return stop
    old = snapshot
    if snapshot:
        rows[stop].flags |= _SNAPSHOT
    elif cell.phase == NEW:
        old = mark_old(rows[stop], cell)
    counters[C_TRADE_SNAPSHOT_ROWS if old else C_TRADES] += 1
    if ref != 0:
        remember(rings, cell.ring, ref)
    stamp(rows, stop, r, seq, now, cell.row, exch_ns)
    rows[stop].part = cell.ring
    return r
