"""The compiled half of the bitFlyer decoder: boards, their changes, executions."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.rows import REFUSED, UNUSUAL, put_level, put_reset, put_trade, stamp
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_FRAMES,
    C_RETIRED_CHANNEL,
    C_STALE_UPDATES,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    OTHER,
    RETIRED,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    OBJECT,
    STRING,
    TOO_MANY,
    decimal,
    hash_of,
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
from data_controller.market.numbers import INEXACT

BOARD, SNAPSHOT, EXECUTIONS = "lightning_board_", "lightning_board_snapshot_", "lightning_executions_"
"""How the names of channels begin; the product follows. A board and its whole repeats are one book."""

_BOARD, _SNAPSHOT, _EXECUTIONS = name(BOARD), name(SNAPSHOT), name(EXECUTIONS)
_BOARD_LENGTH, _SNAPSHOT_LENGTH, _EXECUTIONS_LENGTH = len(BOARD), len(SNAPSHOT), len(EXECUTIONS)
_PARAMS, _CHANNEL, _MESSAGE = name("params"), name("channel"), name("message")
_BIDS, _ASKS, _PRICE, _SIZE = name("bids"), name("asks"), name("price"), name("size")
_ID, _SIDE, _DATE, _BUY, _SELL, _NONE = name("id"), name("side"), name("exec_date"), name("BUY"), name("SELL"), name("")


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
        r = _read(tape, rows, stop, first_seq + i, recv_ns[i], np.int64(conn[i]), cells, rings, counters)
        if r < 0:
            return leave(i, stop, r)
        counters[C_FRAMES] += 1
        stop = r
        i += 1
    return pack(i, stop, DONE)


@kernel
def _key(tape: Any, t: Any) -> Any:
    """(key of the stream that channel name `t` stands for, whether it is a whole board); the key is 0 for no name."""
    if t == 0 or tape[t].kind != STRING:
        return np.uint64(0), False
    p, end = tape[t].start, tape[t].stop
    if end - p > _SNAPSHOT_LENGTH and hash_of(p, p + _SNAPSHOT_LENGTH) == _SNAPSHOT:
        return mixed(_BOARD, hash_of(p + _SNAPSHOT_LENGTH, end)), True
    if end - p > _BOARD_LENGTH and hash_of(p, p + _BOARD_LENGTH) == _BOARD:
        return mixed(_BOARD, hash_of(p + _BOARD_LENGTH, end)), False
    if end - p > _EXECUTIONS_LENGTH and hash_of(p, p + _EXECUTIONS_LENGTH) == _EXECUTIONS:
        return mixed(_EXECUTIONS, hash_of(p + _EXECUTIONS_LENGTH, end)), False
    return hash_of(p, end), False


@kernel
def _read(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, rings: Any, counters: Any) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    params = member(tape, 0, _PARAMS)
    if params == 0:
        return UNUSUAL
    key, whole = _key(tape, member(tape, params, _CHANNEL))
    if key == np.uint64(0):
        return UNUSUAL
    at = find_stream(cells, c, key)
    cell = cells[at]
    if cell.state == RETIRED:
        counters[C_RETIRED_CHANNEL] += 1
        return stop
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    body = member(tape, params, _MESSAGE)
    if body == 0:
        return REFUSED
    if cell.stream != BOOK:
        return _read_executions(tape, body, rows, stop, seq, now, cell, rings, counters)
    if tape[body].kind != OBJECT:
        return REFUSED
    r = stop
    if whole:
        r = put_reset(rows, r)
    for side in (1, -1):
        if r >= 0:
            r = _put_levels(rows, r, tape, member(tape, body, _BIDS if side > 0 else _ASKS), side, whole)
    if r < 0:
        return r
    if whole:
        cells[at].phase = CHAINED
        counters[C_BOOK_SNAPSHOTS] += 1
    elif cell.phase != CHAINED:
        # Before the first board, or behind a loss: the next board says it all.
        counters[C_STALE_UPDATES] += 1
        return stop
    else:
        counters[C_BOOK_UPDATES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, 0)


@kernel
def _put_levels(rows: Any, r: Any, tape: Any, t: Any, side: Any, whole: Any) -> Any:
    """SET rows of a list of {price, size}; what has no price waits for an auction and rests at none."""
    if t == 0 or tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        price, size = member(tape, at, _PRICE), member(tape, at, _SIZE)
        there, digits, _, odd, _ = decimal(tape, price)
        if not there:
            return REFUSED
        if digits != 0 or odd & INEXACT != 0:
            r = put_level(rows, r, tape, price, size, side, whole)
            if r < 0:
                return r
        at = np.int64(tape[at].after)
    return r


@kernel
def _read_executions(
    tape: Any, body: Any, rows: Any, stop: Any, seq: Any, now: Any, cell: Any, rings: Any, counters: Any
) -> Any:
    """TRADE rows of a list of executions; in an auction nobody takes, and the side is 0."""
    if tape[body].kind != LIST:
        return REFUSED
    # All are read before any is remembered: a frame that is refused halfway leaves nothing behind.
    for take in (False, True):
        r = stop
        at = np.int64(body) + 1
        end = tape[body].after
        while at < end:
            there, ref = integer(tape, member(tape, at, _ID))
            side_text = text(tape, member(tape, at, _SIDE))
            side = 1 if side_text == _BUY else (-1 if side_text == _SELL else 0)
            exch_ns = iso_ns(tape, member(tape, at, _DATE))
            if not there or ref <= 0 or (side == 0 and side_text != _NONE):
                return REFUSED
            behind = put_trade(rows, r, tape, member(tape, at, _PRICE), member(tape, at, _SIZE), side, ref, exch_ns)
            if behind < 0:
                return behind
            if not take:
                r = behind
            elif seen(rings, cell.ring, ref):
                counters[C_TRADES_REPEATED] += 1
            else:
                remember(rings, cell.ring, ref)
                counters[C_TRADES] += 1
                r = behind
            at = np.int64(tape[at].after)
    return stamp(rows, stop, r, seq, now, cell.row, 0)
