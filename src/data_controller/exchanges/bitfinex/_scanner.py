"""The compiled half of the Bitfinex decoder: runs of frames in, event rows out, anything odd handed back to Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.bitfinex._readers import (
    ABSURD,
    NO_ROOM,
    REFUSED,
    next_item,
    read_list,
    read_tail,
    read_trade,
    skip_space,
    skip_value,
)
from data_controller.exchanges.bitfinex._state import (
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_CHECKSUMS,
    C_DUPLICATES,
    C_EARLY_HEARTBEATS,
    C_FRAMES,
    C_HEARTBEATS,
    C_MISSING,
    C_MISSING_EXPLAINED,
    C_RETIRED_CHANNEL,
    C_SEQUENCE_GAPS,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADE_UPDATES_DROPPED,
    C_TRADES,
    C_TRADES_REPEATED,
    FREE,
    LIVE,
    RESERVE,
    SEQ_ALL,
    TRADES,
    find_channel,
    gap_rows,
    write_control,
    write_row,
)
from data_controller.exchanges.rings import remember, seen
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of, load_byte
from data_controller.market.numbers import scan_integer
from data_controller.market.rows import Control, Flag, Kind

DONE = 0
"""All frames asked for are consumed."""
FOREIGN = 1
"""The record is no FRAME, or its connection is not open here."""
FULL = 2
"""The buffer has no room for the frame."""
ENVELOPE = 3
"""An object: Python reads it."""
SIDE = 4
"""A ticker, candle or unknown channel: its sequence is done, Python reads the rest."""
BAD_REFUSED = 5
BAD_ABSURD = 6
BAD_LONG = 7
BAD_ROWS = 8

MAX_FRAME_BYTES = 1 << 20
BULK_UPDATES = 536870912

_FRAME = 4  # records.Kind.FRAME, which this room may not import
_HB, _CS, _TE, _TU, _LIST, _OTHER, _FTE, _FTU = 1, 2, 3, 4, 5, 6, 7, 8
_RESET = int(Kind.RESET)
_CHECK = int(Kind.CHECK)
_LAST = int(Flag.LAST)
_SNAPSHOT = int(Flag.SNAPSHOT)
_SEQUENCE_GAP = int(Control.SEQUENCE_GAP)
_DUPLICATE = int(Control.DUPLICATE)


@kernel
def _pack(i: Any, stop: Any, status: Any) -> Any:
    return (np.int64(i) << 40) | (np.int64(stop) << 8) | status


@kernel
def _tag(p: Any, end: Any) -> Any:
    """Which of hb, cs, te, tu the string at `p` is; fte and ftu are the last two of a loan."""
    if p + 4 < end and load_byte(p + 1) == 102 and load_byte(p + 2) == 116 and load_byte(p + 4) == 34:
        if load_byte(p + 3) == 101:
            return _FTE
        if load_byte(p + 3) == 117:
            return _FTU
    if p + 3 < end and load_byte(p + 3) == 34:
        a = load_byte(p + 1)
        b = load_byte(p + 2)
        if a == 104 and b == 98:
            return _HB
        if a == 99 and b == 115:
            return _CS
        if a == 116 and b == 101:
            return _TE
        if a == 116 and b == 117:
            return _TU
    return _OTHER


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
    wire_seq: Any,
    conns: Any,
    cells: Any,
    rings: Any,
    counters: Any,
) -> Any:
    """Scan records `i..hi` into `rows[stop:]`.

    Returns `index << 40 | stop << 8 | status`: the record that `status` is about, and the row behind the last one.
    """
    origin = address_of(data)
    while i < hi:
        c = np.int64(conn[i])
        if kinds[i] != _FRAME or c < 0 or c >= len(conns) or conns[c].open == 0:
            return _pack(i, stop, FOREIGN)
        if len(rows) - stop < RESERVE:
            return _pack(i, stop, FULL)
        now = recv_ns[i]
        if c < len(last_recv_ns):
            last_recv_ns[c] = now
        wire_seq[i] = 0
        end = origin + np.int64(offsets[i + 1])
        p: Any = origin + np.int64(offsets[i])
        if end - p > MAX_FRAME_BYTES:
            return _pack(i, stop, BAD_LONG)
        seq = first_seq + i
        flags = conns[c].flags

        # The head: [channel, and what its second item is.
        p = skip_space(p, end)
        if p < end and load_byte(p) == 123:
            return _pack(i, stop, ENVELOPE)
        if p >= end or load_byte(p) != 91:
            return _pack(i, stop, BAD_REFUSED)
        p, chan = scan_integer(skip_space(p + 1, end), end)
        if p < 0 or chan < 0:
            return _pack(i, stop, BAD_REFUSED)
        p = next_item(p, end)
        if p < 0 or p >= end:
            return _pack(i, stop, BAD_REFUSED)
        at = find_channel(cells, c, chan)
        cell = cells[at]
        stream = cell.stream if cell.state == LIVE else 0
        funding = stream != 0 and cell.funding != 0
        if load_byte(p) == 91:
            form = _LIST
        elif load_byte(p) == 34:
            form = _tag(p, end)
        else:
            return _pack(i, stop, BAD_REFUSED)
        tag_bytes = 4
        if funding and form in (_FTE, _FTU):
            form = _TE if form == _FTE else _TU
            tag_bytes = 5

        # The payload, written behind `stop` where it is rows; nothing is kept before the sequence agrees.
        first = stop
        r = stop
        expected = np.int64(0)
        side = False
        if form == _HB:
            p += 4
        elif stream == 0 or stream > TRADES:
            side = True
            p = skip_value(p, end)
            if p >= 0 and form != _LIST:
                p = next_item(p, end)
                if p >= 0:
                    p = skip_value(p, end)
        elif form == _LIST:
            if stream != TRADES and cell.ready == 0:
                r += 1  # room for the RESET that goes before a snapshot
            p, r = read_list(p + 1, end, rows, r, stream, cell.ready != 0, funding)
        elif form == _CS and stream != TRADES:
            p = next_item(p + 4, end)
            if p >= 0:
                p, expected = scan_integer(p, end)
                if p >= 0 and (expected < -0x80000000 or expected > 0x7FFFFFFF):
                    p = ABSURD
        elif form in (_TE, _TU) and stream == TRADES:
            p = next_item(p + tag_bytes, end)
            if p >= 0 and p < end and load_byte(p) == 91:
                p = read_trade(skip_space(p + 1, end), end, rows[r], funding)
            else:
                p = REFUSED
            r += 1
        else:
            p = REFUSED
        if p == NO_ROOM:
            return _pack(i, stop, BAD_ROWS if first == 0 else FULL)
        if p < 0:
            return _pack(i, stop, BAD_ABSURD if p == ABSURD else BAD_REFUSED)

        status, wire, stamp = read_tail(p, end, flags)
        if status < 0:
            return _pack(i, stop, BAD_REFUSED)

        if flags & SEQ_ALL:
            wire_seq[i] = wire
            missing = wire - conns[c].last_seq - 1
            if missing < 0:
                counters[C_DUPLICATES] += 1
                counters[C_FRAMES] += 1
                write_control(rows, stop, seq, now, c, cell.row if stream != 0 else -1, _DUPLICATE, chan, wire)
                stop += 1
                i += 1
                continue
            if missing > 0:
                conns[c].last_seq = wire - 1
                if missing <= conns[c].forgiven:
                    counters[C_MISSING_EXPLAINED] += missing
                else:
                    counters[C_SEQUENCE_GAPS] += 1
                    counters[C_MISSING] += missing
                    stop = gap_rows(rows, stop, seq, now, c, missing, 0, flags & BULK_UPDATES != 0, cells)
                    write_control(rows, stop, seq, now, c, -1, _SEQUENCE_GAP, 0, missing)
                    stop += 1
                    conns[c].forgiven = 0
                    continue  # the same frame again, behind its GAP rows
            conns[c].last_seq = wire
            conns[c].forgiven = 0

        # Taken: what the frame means.
        counters[C_FRAMES] += 1
        if cell.state == LIVE:
            cells[at].heard_ns = now
        if form == _HB:
            counters[C_HEARTBEATS] += 1
            if cell.state == FREE:
                counters[C_EARLY_HEARTBEATS] += 1
        elif side:
            if stream != 0 or cell.state == FREE:
                return _pack(i, stop, SIDE)
            counters[C_RETIRED_CHANNEL] += 1
        elif form == _CS:
            counters[C_CHECKSUMS] += 1
            write_row(rows, stop, seq, now, _CHECK, cell.row, expected, 0, 0)
            rows[stop].exch_ns = stamp * 1_000_000
            stop += 1
        elif form != _LIST:
            row = rows[stop]
            if seen(rings, cell.ring, row.ref):
                counters[C_TRADE_UPDATES_DROPPED if form == _TU else C_TRADES_REPEATED] += 1
            else:
                counters[C_TRADES] += 1
                remember(rings, cell.ring, row.ref)
                row.seq = seq
                row.recv_ns = now
                row.channel = cell.row
                row.part = 0
                row.flags |= _LAST
                stop += 1
        elif stream == TRADES:
            counters[C_TRADE_SNAPSHOT_ROWS] += r - first
            for k in range(first, r):
                rows[k].seq = seq
                rows[k].recv_ns = now
                rows[k].channel = cell.row
                rows[k].part = k - first
                if not seen(rings, cell.ring, rows[k].ref):
                    remember(rings, cell.ring, rows[k].ref)
            if r > first:
                rows[r - 1].flags |= _LAST
            stop = r
        else:
            stop = _take_book(rows, first, r, seq, now, stamp, cells, at, counters)
        i += 1
    return _pack(i, stop, DONE)


@kernel
def _take_book(
    rows: Any,
    first: Any,
    r: Any,
    seq: Any,
    now: Any,
    stamp: Any,
    cells: Any,
    at: Any,
    counters: Any,
) -> Any:
    """Complete a book message's rows; returns the row behind them."""
    channel = cells[at].row
    if cells[at].ready == 0:
        # A single update before any snapshot: the snapshot is lost, and the row reserved for its RESET is free.
        lost = r == first + 2 and rows[first + 1].flags & _SNAPSHOT == 0
        cells[at].ready = 1
        if lost:
            rows[first] = rows[first + 1]
            r = first + 1
        else:
            counters[C_BOOK_SNAPSHOTS] += 1
            write_row(rows, first, seq, now, _RESET, channel, 0, 0, 0)
            rows[first].flags = _SNAPSHOT
    if r == first:
        return r
    if rows[first].flags & _SNAPSHOT == 0:
        counters[C_BOOK_UPDATES] += 1
    for k in range(first, r):
        row = rows[k]
        row.seq = seq
        row.recv_ns = now
        row.exch_ns = stamp * 1_000_000
        row.channel = channel
        row.part = k - first
    rows[r - 1].flags |= _LAST
    return r
