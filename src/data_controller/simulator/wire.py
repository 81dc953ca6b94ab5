"""Wire text of the simulated exchange: snapshots, differences between two windows of a book, trades, checksums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.simulator.matching import key_of
from data_controller.simulator.numbers import AMOUNT_EXPONENT, coarse, exponent, mantissa, write_int, write_number
from data_controller.simulator.state import (
    ASK,
    BID,
    BOOK,
    CHECK,
    HEARTBEAT,
    OB_CHECKSUM,
    RAW,
    SEQ_ALL,
    SNAPSHOT,
    TAPE,
    TE,
    TIMESTAMP,
    TRADES,
    TU,
    UPDATE,
    ZERO,
)

FRAME_MAX = 1 << 15
"""Bytes that one frame may need at most: a raw snapshot of 2 * 250 orders, 60 bytes each."""
CHECKSUM_LEVELS = 25


def _crc_tables() -> NDArray[np.uint32]:
    tables = np.zeros((4, 256), np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
        tables[0, byte] = crc
    for t in range(1, 4):
        for byte in range(256):
            crc = int(tables[t - 1, byte])
            tables[t, byte] = crc >> 8 ^ int(tables[0, crc & 255])
    return tables


CRC: NDArray[np.uint32] = _crc_tables()
"""CRC-32 (IEEE 802.3, reflected), four bytes at a time."""


@kernel
def crc32(buf: Any, start: int, stop: int) -> Any:
    """CRC-32 of `buf[start:stop]`, unsigned."""
    crc = np.int64(0xFFFFFFFF)
    i = start
    while i + 4 <= stop:
        word = crc ^ (
            np.int64(buf[i]) | np.int64(buf[i + 1]) << 8 | np.int64(buf[i + 2]) << 16 | np.int64(buf[i + 3]) << 24
        )
        crc = np.int64(
            CRC[3, word & 255] ^ CRC[2, (word >> 8) & 255] ^ CRC[1, (word >> 16) & 255] ^ CRC[0, (word >> 24) & 255]
        )
        i += 4
    while i < stop:
        crc = (crc >> 8) ^ np.int64(CRC[0, (crc ^ np.int64(buf[i])) & 255])
        i += 1
    return crc ^ np.int64(0xFFFFFFFF)


@kernel
def begin(state: Any, row: int) -> int:
    """Open a frame of a channel: `[chanId,`; returns the position after."""
    buf = state.data
    pos = state.clock[0].pos
    buf[pos] = 91
    pos = write_int(buf, pos + 1, state.channels[row].chan_id)
    buf[pos] = 44
    return pos + 1


@kernel
def finish(state: Any, row: int, kind: int, pos: int) -> None:
    """Close a frame: sequence and time as its connection's flags ask, `]`, and its line in the index."""
    buf = state.data
    clock = state.clock[0]
    channel = state.channels[row]
    connection = state.connections[channel.conn]
    seq = 0
    if connection.flags & SEQ_ALL:
        connection.seq += 1
        seq = connection.seq
        buf[pos] = 44
        pos = write_int(buf, pos + 1, seq)
    if connection.flags & TIMESTAMP:
        buf[pos] = 44
        pos = write_int(buf, pos + 1, clock.now_ns // 1_000_000)
    buf[pos] = 93
    pos += 1
    channel.sent_ns = clock.now_ns
    frame = state.frames[clock.n]
    frame.end = pos
    frame.ns = clock.now_ns
    frame.seq = seq
    frame.conn = channel.conn
    frame.row = row
    frame.kind = kind
    clock.n += 1
    clock.pos = pos


@kernel
def write_word(buf: Any, pos: int, a: int, b: int) -> int:
    """Write a two-letter string, quotes and all, and a comma before what follows it."""
    buf[pos] = 34
    buf[pos + 1] = a
    buf[pos + 2] = b
    buf[pos + 3] = 34
    return pos + 4


@kernel
def write_price(buf: Any, pos: int, k: int) -> int:
    """Write grid price `k`."""
    return write_number(buf, pos, mantissa(k), exponent(k))


@kernel
def write_entry(buf: Any, pos: int, raw: bool, key: int, ref: int, amount: int, side: int) -> int:
    """Write a book entry: [price,count,±amount], raw [id,price,±amount]; amount 0 is a delete."""
    buf[pos] = 91
    pos += 1
    if raw:
        pos = write_int(buf, pos, ref)
        buf[pos] = 44
        pos += 1
        if amount == 0:
            buf[pos] = 48
            pos += 1
        else:
            pos = write_price(buf, pos, key_of(key, side))
    else:
        pos = write_price(buf, pos, key_of(key, side))
        buf[pos] = 44
        pos = write_int(buf, pos + 1, ref if amount != 0 else 0)
    buf[pos] = 44
    pos += 1
    if amount == 0:
        if side == ASK:
            buf[pos] = 45
            pos += 1
        buf[pos] = 49
        pos += 1
    else:
        pos = write_number(buf, pos, -amount if side == ASK else amount, AMOUNT_EXPONENT)
    buf[pos] = 93
    return pos + 1


@kernel
def look(state: Any, row: int, side: int) -> Any:
    """Put what a channel's window should hold now into `fresh[side]`, best first; returns the number of entries.

    An entry is (key, amount, count), raw (key, amount, id).
    """
    channel = state.channels[row]
    i = channel.instrument
    length = channel.length
    view = state.fresh[side]
    if channel.precision == RAW:
        n = min(length, state.n_orders[i, side])
        for j in range(n):
            order = state.orders[i, side, j]
            view[j].key = order.key
            view[j].amount = order.amount
            view[j].count = order.id
        return n
    if channel.precision == 0:
        n = min(length, state.n_levels[i, side])
        for j in range(n):
            view[j] = state.levels[i, side, j]
        return n
    n = 0
    for j in range(state.n_levels[i, side]):
        level = state.levels[i, side, j]
        key = key_of(coarse(key_of(level.key, side), channel.precision, side), side)
        if n > 0 and view[n - 1].key == key:
            view[n - 1].amount += level.amount
            view[n - 1].count += level.count
            continue
        if n == length:
            break
        view[n].key = key
        view[n].amount = level.amount
        view[n].count = level.count
        n += 1
    return n


@kernel
def holds(view: Any, n: int, order_id: int) -> Any:
    """True where a raw window holds that order id."""
    found = False
    for j in range(n):
        found |= view[j].count == order_id
    return found


@kernel
def settle(state: Any, row: int, n0: int, n1: int) -> None:
    """Remember the view as what the client of a channel was told."""
    state.n_windows[row, 0] = n0
    state.n_windows[row, 1] = n1
    for j in range(n0):
        state.windows[row, 0, j] = state.fresh[0, j]
    for j in range(n1):
        state.windows[row, 1, j] = state.fresh[1, j]


@kernel
def update_book(state: Any, row: int) -> None:
    """Send what changed in a channel's window since the last burst: what left it first, then what is new or other."""
    channel = state.channels[row]
    raw = channel.precision == RAW
    n0 = look(state, row, BID)
    n1 = look(state, row, ASK)
    sent = 0
    for changes in range(2):
        for side in range(2):
            n = n0 if side == 0 else n1
            view = state.fresh[side]
            was = state.windows[row, side]
            m = state.n_windows[row, side]
            a = 0
            b = 0
            while a < m or b < n:
                old = a < m and (
                    b >= n
                    or was[a].key < view[b].key
                    or (raw and was[a].key == view[b].key and was[a].count < view[b].count)
                )
                if old:
                    if changes == 0 and not (raw and holds(view, n, was[a].count)):
                        pos = begin(state, row)
                        pos = write_entry(state.data, pos, raw, was[a].key, was[a].count, ZERO, side)
                        finish(state, row, UPDATE, pos)
                        sent += 1
                    a += 1
                    continue
                same = a < m and was[a].key == view[b].key and (not raw or was[a].count == view[b].count)
                if changes == 1 and not (same and was[a].amount == view[b].amount and was[a].count == view[b].count):
                    pos = begin(state, row)
                    pos = write_entry(state.data, pos, raw, view[b].key, view[b].count, view[b].amount, side)
                    finish(state, row, UPDATE, pos)
                    sent += 1
                b += 1
                if same:
                    a += 1
    if sent == 0:
        return
    settle(state, row, n0, n1)
    channel.since_check += sent
    if channel.since_check >= state.clock[0].check_every:
        send_check(state, row)


@kernel
def send_check(state: Any, row: int) -> None:
    """Send the checksum of a channel's window, if its connection asked for checksums and the window is long enough."""
    channel = state.channels[row]
    channel.since_check = 0
    if not state.connections[channel.conn].flags & OB_CHECKSUM or channel.length < CHECKSUM_LEVELS:
        return
    crc = checksum(state, row)
    buf = state.data
    pos = begin(state, row)
    pos = write_word(buf, pos, 99, 115)
    buf[pos] = 44
    pos = write_int(buf, pos + 1, crc - 4294967296 if crc >= 2147483648 else crc)
    finish(state, row, CHECK, pos)


@kernel
def checksum(state: Any, row: int) -> Any:
    """CRC-32 over the best 25 entries a side of a channel's window, as the exchange's documents have it."""
    raw = state.channels[row].precision == RAW
    buf = state.scratch
    pos = ZERO
    for j in range(CHECKSUM_LEVELS):
        for side in range(2):
            if j >= state.n_windows[row, side]:
                continue
            entry = state.windows[row, side, j]
            pos = write_int(buf, pos, entry.count) if raw else write_price(buf, pos, key_of(entry.key, side))
            buf[pos] = 58
            pos = write_number(buf, pos + 1, -entry.amount if side == ASK else entry.amount, AMOUNT_EXPONENT)
            buf[pos] = 58
            pos += 1
    return crc32(buf, 0, max(pos - 1, 0))


@kernel
def write_trade(buf: Any, pos: int, trade_id: int, mts: int, amount: int, k: int) -> int:
    """Write a trade: [id,mts,±amount,price]."""
    buf[pos] = 91
    pos = write_int(buf, pos + 1, trade_id)
    buf[pos] = 44
    pos = write_int(buf, pos + 1, mts)
    buf[pos] = 44
    pos = write_number(buf, pos + 1, amount, AMOUNT_EXPONENT)
    buf[pos] = 44
    pos = write_price(buf, pos + 1, k)
    buf[pos] = 93
    return pos + 1


@kernel
def send_trade(state: Any, row: int, kind: int, trade_id: int, mts: int, amount: int, k: int) -> None:
    """Send `te` or `tu` of a trade on a channel."""
    pos = begin(state, row)
    pos = write_word(state.data, pos, 116, 101 if kind == TE else 117)
    state.data[pos] = 44
    pos = write_trade(state.data, pos + 1, trade_id, mts, amount, k)
    finish(state, row, kind, pos)


@kernel
def send_heartbeat(state: Any, row: int) -> None:
    """Send a channel's heartbeat."""
    pos = begin(state, row)
    pos = write_word(state.data, pos, 104, 98)
    finish(state, row, HEARTBEAT, pos)


@kernel
def send_snapshot(state: Any, row: int) -> None:
    """Send the snapshot of a book or trades channel; a book's is followed by its checksum."""
    channel = state.channels[row]
    i = channel.instrument
    buf = state.data
    pos = begin(state, row)
    buf[pos] = 91
    pos += 1
    first = True
    if channel.kind == BOOK:
        raw = channel.precision == RAW
        n0 = look(state, row, BID)
        n1 = look(state, row, ASK)
        settle(state, row, n0, n1)
        for side in range(2):
            for j in range(state.n_windows[row, side]):
                if not first:
                    buf[pos] = 44
                    pos += 1
                first = False
                entry = state.fresh[side, j]
                pos = write_entry(buf, pos, raw, entry.key, entry.count, entry.amount, side)
    elif channel.kind == TRADES:
        total = state.market[i].trades
        for j in range(min(total, 30)):
            if not first:
                buf[pos] = 44
                pos += 1
            first = False
            trade = state.tape[i, (total - 1 - j) & (TAPE - 1)]
            pos = write_trade(buf, pos, trade.id, trade.mts, trade.amount, trade.k)
    buf[pos] = 93
    finish(state, row, SNAPSHOT, pos + 1)
    if channel.kind == BOOK:
        send_check(state, row)


@kernel
def send_body(state: Any, row: int, kind: int, body: Any) -> None:
    """Send a body made elsewhere (a ticker, candles) on a channel."""
    pos = begin(state, row)
    for j in range(len(body)):
        state.data[pos + j] = body[j]
    finish(state, row, kind, pos + len(body))


@kernel
def send_tu(state: Any) -> None:
    """Send the `tu` at the head of the line on every trades channel of its instrument."""
    clock = state.clock[0]
    due = state.pending[clock.tail & (len(state.pending) - 1)]
    i = due.instrument
    for j in range(state.n_by_instrument[i]):
        row = state.by_instrument[i, j]
        channel = state.channels[row]
        if channel.kind == TRADES and channel.muted == 0:
            send_trade(state, row, TU, due.id, due.mts, due.amount, due.k)
    clock.tail += 1
