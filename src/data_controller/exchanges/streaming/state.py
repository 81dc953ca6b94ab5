"""What a decoder of named streams remembers between frames, as arrays: connections, streams, counters."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.streaming.rows import put_gap
from data_controller.exchanges.streaming.tape import mixed, name
from data_controller.kernels import kernel

CONN = np.dtype(
    [
        ("open", "<i8"),  # 1 while the slot belongs to this venue
        ("last_seq", "<i8"),  # venues that number a connection's messages: last number taken, -1 none
        ("held_cell", "<i8"),  # by `hold`: which stream's message waits,
        ("held_start", "<i8"),  # which rows it is,
        ("held_stop", "<i8"),
        ("held_first", "<i8"),  # and the numbers it spans
        ("held_last", "<i8"),
        ("held_prev", "<i8"),
    ]
)

CELL = np.dtype(
    [
        ("key", "<u8"),  # hash of the stream's name, 0: free
        ("conn", "<i4"),
        ("row", "<i4"),  # row of the channel table
        ("ring", "<i4"),  # row of the trade rings, trades only
        ("stream", "u1"),
        ("state", "u1"),
        ("phase", "u1"),
        ("option", "u1"),  # the venue's own
        ("last", "<i8"),  # number of the last message taken, as the venue counts
        ("heard_ns", "<i8"),  # arrival of its last frame
        ("spare", "<i8"),  # the venue's own
    ]
)

FREE, LIVE, RETIRED = 0, 1, 2
"""States of a CELL; a retired one remembers a stream whose late data is no surprise."""
BOOK, ORDERS, TRADES, QUOTES, OTHER = 1, 2, 3, 4, 5
"""Streams of a CELL: L2 book, L3 book, trades, best bid and ask, what Python reads."""
NEW, SPLICING, CHAINED, LOST = 0, 1, 2, 3
"""Phases of a book: no snapshot yet; snapshot taken, first change must fit it; changes follow each other; a change is
missing and only a snapshot mends it."""

MAX_LIVE = 4096
"""Live streams of all connections of a venue."""

COUNTERS = (
    "frames",
    "envelopes",
    "heartbeats",
    "book_snapshots",
    "book_updates",
    "checksums",
    "trades",
    "trades_repeated",
    "trades_off_book",
    "trade_snapshot_rows",
    "quotes",
    "tickers",
    "candles",
    "derivatives",
    "liquidations",
    "held",
    "held_dropped",
    "stale_updates",
    "sequence_gaps",
    "missing",
    "duplicates",
    "retired_channel",
    "unknown_channel",
    "unknown_events",
    "quarantined",
    "fetched",
    "fetched_in_vain",
)
(
    C_FRAMES,
    C_ENVELOPES,
    C_HEARTBEATS,
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_CHECKSUMS,
    C_TRADES,
    C_TRADES_REPEATED,
    C_TRADES_OFF_BOOK,
    C_TRADE_SNAPSHOT_ROWS,
    C_QUOTES,
    C_TICKERS,
    C_CANDLES,
    C_DERIVATIVES,
    C_LIQUIDATIONS,
    C_HELD,
    C_HELD_DROPPED,
    C_STALE_UPDATES,
    C_SEQUENCE_GAPS,
    C_MISSING,
    C_DUPLICATES,
    C_RETIRED_CHANNEL,
    C_UNKNOWN_CHANNEL,
    C_UNKNOWN_EVENTS,
    C_QUARANTINED,
    C_FETCHED,
    C_FETCHED_IN_VAIN,
) = range(len(COUNTERS))

HELD = -5
"""What a reader returns when its message waits for a snapshot: Python keeps the rows."""


def key_of(*names: str) -> np.uint64:
    """The key of a stream named by several texts, as `mixed` folds their hashes from the left."""
    keys = [int(name(text)) for text in names]
    value = keys[0]
    mask = 0xFFFFFFFFFFFFFFFF
    for other in keys[1:]:
        value = (value ^ (other >> 29) ^ (other * 0x9E3779B97F4A7C15 & mask)) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ (value >> 31)) or 1
    return np.uint64(value)


@kernel
def find_stream(cells: Any, conn: Any, key: Any) -> Any:
    """Index of the connection's cell of stream `key`, or of the free one that ends the search.

    `cells` has a power of two as length and is never more than half full.
    """
    mask = len(cells) - 1
    at = np.int64(mixed(key, np.uint64(conn)) >> np.uint64(20)) & mask
    while cells[at].key != np.uint64(0) and (cells[at].key != key or cells[at].conn != conn):
        at = (at + 1) & mask
    return at


@kernel
def enter_cells(old: Any, conn: Any, cells: Any) -> None:
    """Copy the cells of `old` into `cells`, which are free, leaving out those of connection `conn` (-1: none)."""
    for k in range(len(old)):
        if old[k].key != np.uint64(0) and old[k].conn != conn:
            cells[find_stream(cells, old[k].conn, old[k].key)] = old[k]


@kernel
def last_heard(cells: Any, out: Any) -> None:
    """Set `out[row]` to the arrival of the last frame of every live stream."""
    for at in range(len(cells)):
        if cells[at].state == LIVE:
            out[cells[at].row] = cells[at].heard_ns


@kernel
def gap_rows(rows: Any, r: Any, seq: Any, recv_ns: Any, conn: Any, missing: Any, cause: Any, cells: Any) -> Any:
    """A GAP row for every live stream of a connection, whose books are LOST from here on; the row behind them.

    `rows` must have room for MAX_LIVE of them.
    """
    for at in range(len(cells)):
        if cells[at].state == LIVE and cells[at].conn == conn:
            behind = put_gap(rows, r, seq, recv_ns, cells[at].row, missing, cause)
            r = behind if behind >= 0 else r
            if cells[at].phase != NEW:
                cells[at].phase = LOST
    return r


@kernel
def hold(conns: Any, c: Any, at: Any, start: Any, r: Any, first: Any, last: Any, prev: Any) -> Any:
    """Say that the message of cell `at`, rows `start..r`, waits for its book's snapshot; returns HELD.

    Rows before `start`, such as a GAP, are kept.
    """
    conns[c].held_cell = at
    conns[c].held_start = start
    conns[c].held_stop = r
    conns[c].held_first = first
    conns[c].held_last = last
    conns[c].held_prev = prev
    return HELD
