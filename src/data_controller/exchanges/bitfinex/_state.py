"""What the Bitfinex decoder remembers between frames, as arrays: connections, channel ids, trade ids, counters."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.kernels import kernel
from data_controller.market.rows import Flag, Kind

TIMESTAMP = 32768
SEQ_ALL = 65536
OB_CHECKSUM = 131072
"""Bits of `conf`: what the venue appends to each message, and whether it sends checksums."""

CONN = np.dtype(
    [
        ("open", "<i8"),  # 1 while the slot belongs to this venue
        ("flags", "<i8"),  # conf flags acknowledged on it
        ("last_seq", "<i8"),  # last sequence number taken, 0 none
        ("forgiven", "<i8"),  # frames quarantined since then: their numbers are missing, and their channels told
        ("live", "<i8"),  # subscribed channels
        ("paused", "<i8"),  # 1 from the venue's word that maintenance begins to its word that it is over
    ]
)

CELL = np.dtype(
    [
        ("chan", "<i8"),  # the venue's channel id
        ("heard_ns", "<i8"),  # arrival of its last frame, heartbeats included
        ("row", "<i4"),  # row of the channel table
        ("ring", "<i4"),  # row of the trade rings, trades only
        ("stream", "u1"),
        ("state", "u1"),
        ("ready", "u1"),  # 1: the snapshot came, or may have been lost; lists are bulk updates now
        ("funding", "u1"),  # 1: of a currency that is lent, not of a pair
        ("zero", "u1", (4,)),
    ]
)
assert CELL.itemsize == 32

FREE, LIVE, RETIRED = 0, 1, 2
"""States of a CELL; a retired one remembers an id whose late data is no surprise."""
BOOK_PRICES, BOOK_ORDERS, TRADES, TICKER, CANDLES, DERIVATIVE, LIQUIDATIONS = 1, 2, 3, 4, 5, 6, 7
"""Streams of a CELL."""

CELLS = 256
"""Cells a connection, open addressing."""
MAX_LIVE = 100
"""Live channels a connection; the venue allows 25 to 30."""
MAX_USED = 192
"""Live and retired cells a connection; the retired are forgotten when it is reached."""
RESERVE = 2 * MAX_LIVE + 8
"""Free rows a frame needs at least: every channel's GAP twice, and controls."""

COUNTERS = (
    "frames",
    "heartbeats",
    "early_heartbeats",
    "checksums",
    "trades",
    "trade_snapshot_rows",
    "trade_updates_dropped",
    "trades_repeated",
    "book_snapshots",
    "book_updates",
    "duplicates",
    "sequence_gaps",
    "missing",
    "missing_explained",
    "retired_channel",
    "unknown_channel",
    "quarantined",
    "envelopes",
    "unknown_events",
    "tickers",
    "candles",
    "derivatives",
    "liquidations",
)
(
    C_FRAMES,
    C_HEARTBEATS,
    C_EARLY_HEARTBEATS,
    C_CHECKSUMS,
    C_TRADES,
    C_TRADE_SNAPSHOT_ROWS,
    C_TRADE_UPDATES_DROPPED,
    C_TRADES_REPEATED,
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_DUPLICATES,
    C_SEQUENCE_GAPS,
    C_MISSING,
    C_MISSING_EXPLAINED,
    C_RETIRED_CHANNEL,
    C_UNKNOWN_CHANNEL,
    C_QUARANTINED,
    C_ENVELOPES,
    C_UNKNOWN_EVENTS,
    C_TICKERS,
    C_CANDLES,
    C_DERIVATIVES,
    C_LIQUIDATIONS,
) = range(len(COUNTERS))

_LAST = int(Flag.LAST)
_GAP = int(Kind.GAP)
_CONTROL = int(Kind.CONTROL)


def home(chan: int) -> int:
    """First cell to look at for a channel id; as `find_channel` computes it."""
    return (chan * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 56


@kernel
def find_channel(cells: Any, conn: Any, chan: Any) -> Any:
    """Index of the connection's cell for channel id `chan`, or of the free one that ends the search."""
    base = np.int64(conn) * CELLS
    at = np.int64((np.uint64(chan) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(56))
    while cells[base + at].state != FREE and cells[base + at].chan != chan:
        at = (at + 1) & (CELLS - 1)
    return base + at


@kernel
def last_heard(cells: Any, out: Any) -> None:
    """Set `out[row]` to the arrival of the last frame of every live channel."""
    for at in range(len(cells)):
        if cells[at].state == LIVE:
            out[cells[at].row] = cells[at].heard_ns


@kernel
def write_row(
    rows: Any, r: Any, seq: Any, recv_ns: Any, kind: Any, channel: Any, ref: Any, price: Any, size: Any
) -> None:
    """Fill a row that is its whole message; numbers are plain integers."""
    row = rows[r]
    row.seq = seq
    row.recv_ns = recv_ns
    row.exch_ns = 0
    row.price = price
    row.size = size
    row.ref = ref
    row.channel = channel
    row.part = 0
    row.price_scale = 0
    row.size_scale = 0
    row.kind = kind
    row.side = 0
    row.flags = _LAST


@kernel
def write_control(
    rows: Any,
    r: Any,
    seq: Any,
    recv_ns: Any,
    conn: Any,
    channel: Any,
    code: Any,
    price: Any,
    size: Any,
) -> None:
    """Fill a CONTROL row."""
    write_row(rows, r, seq, recv_ns, _CONTROL, channel, code, price, size)
    rows[r].part = conn


@kernel
def gap_rows(
    rows: Any,
    r: Any,
    seq: Any,
    recv_ns: Any,
    conn: Any,
    missing: Any,
    broken_by: Any,
    bulk: Any,
    cells: Any,
) -> Any:
    """Append a GAP row for every live channel of a connection; returns the row behind them.

    Where bulk updates are in force, a channel that waits for its snapshot may have lost it just now, and its next
    list could be either: it counts as an update, so that the book stays broken until it is subscribed again.
    """
    base = np.int64(conn) * CELLS
    for at in range(base, base + CELLS):
        if cells[at].state == LIVE:
            write_row(rows, r, seq, recv_ns, _GAP, cells[at].row, missing, 0, broken_by)
            r += 1
            if bulk:
                cells[at].ready = 1
    return r
