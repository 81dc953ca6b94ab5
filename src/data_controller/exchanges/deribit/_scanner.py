"""The compiled half of the Deribit decoder: books linked by change ids, trades, best prices with mark and index."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import forget_trades, remember, seen
from data_controller.exchanges.streaming.rows import (
    ABSURD,
    NO_ROOM,
    REFUSED,
    UNUSUAL,
    put_level,
    put_levels,
    put_numbers,
    put_plain,
    put_reset,
    put_trade,
    stamp,
)
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.sequence import DROP, MISSING, judge_change, judge_snapshot, lose
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_SNAPSHOTS,
    C_BOOK_UPDATES,
    C_DERIVATIVES,
    C_FRAMES,
    C_QUOTES,
    C_RETIRED_CHANNEL,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    OTHER,
    QUOTES,
    RETIRED,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    NULL,
    TOO_MANY,
    decimal,
    integer,
    member,
    name,
    tape_of,
    text,
    unit_ns,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of
from data_controller.market.numbers import ABSURD as NUMBER_ABSURD
from data_controller.market.numbers import EXPONENT, INEXACT
from data_controller.market.rows import Flag, Kind

CHANGES, WHOLE = 0, 1
"""Options of a book's cell: a snapshot and changes, or the whole book each time."""

_PARAMS, _CHANNEL, _DATA = name("params"), name("channel"), name("data")
_TYPE, _SNAPSHOT, _CHANGE = name("type"), name("snapshot"), name("change")
_NEW, _DELETE = name("new"), name("delete")
_NUMBER, _PREVIOUS, _STAMP = name("change_id"), name("prev_change_id"), name("timestamp")
_BIDS, _ASKS = name("bids"), name("asks")
_PRICE, _AMOUNT, _TRADE_NUMBER = name("price"), name("amount"), name("trade_seq")
_DIRECTION, _BUY, _SELL = name("direction"), name("buy"), name("sell")
_BEST_BID, _BEST_BID_SIZE = name("best_bid_price"), name("best_bid_amount")
_BEST_ASK, _BEST_ASK_SIZE = name("best_ask_price"), name("best_ask_amount")
_MARK, _INDEX, _FUNDING = name("mark_price"), name("index_price"), name("current_funding")
_QUOTE_KIND, _MARK_KIND = int(Kind.QUOTE), int(Kind.MARK)
_INDEX_KIND, _FUNDING_KIND = int(Kind.INDEX), int(Kind.FUNDING)
_PRICE_EXPONENT, _INEXACT = int(Flag.PRICE_EXPONENT), int(Flag.INEXACT)
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
        r = _read(tape, rows, stop, first_seq + i, recv_ns[i], np.int64(conn[i]), cells, rings, counters)
        if r < 0:
            return leave(i, stop, r)
        counters[C_FRAMES] += 1
        stop = r
        i += 1
    return pack(i, stop, DONE)


@kernel
def _read(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, rings: Any, counters: Any) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    params = member(tape, 0, _PARAMS)
    key = text(tape, member(tape, params, _CHANNEL)) if params != 0 else np.uint64(0)
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
    body = member(tape, params, _DATA)
    if body == 0:
        return REFUSED
    if cell.stream == BOOK:
        return _read_book(tape, body, rows, stop, seq, now, cells, at, counters)
    if cell.stream == QUOTES:
        return _read_ticker(tape, body, rows, stop, seq, now, cell, counters)
    return _read_trades(tape, body, rows, stop, seq, now, cell, rings, counters)


@kernel
def _read_trades(
    tape: Any, body: Any, rows: Any, stop: Any, seq: Any, now: Any, cell: Any, rings: Any, counters: Any
) -> Any:
    """TRADE rows, known by their number within the instrument."""
    if tape[body].kind != LIST:
        return REFUSED
    if len(rows) - stop < tape[body].after - body:
        return NO_ROOM
    r = stop
    at = body + 1
    while at < tape[body].after:
        there, ref = integer(tape, member(tape, at, _TRADE_NUMBER))
        direction = text(tape, member(tape, at, _DIRECTION))
        exch_ns = unit_ns(tape, member(tape, at, _STAMP), _MS)
        if not there or ref <= 0 or (direction != _BUY and direction != _SELL) or exch_ns == 0:
            forget_trades(rows, stop, r, rings)
            return REFUSED
        side = 1 if direction == _BUY else -1
        behind = put_trade(rows, r, tape, member(tape, at, _PRICE), member(tape, at, _AMOUNT), side, ref, exch_ns)
        if behind < 0:
            forget_trades(rows, stop, r, rings)
            return behind
        if seen(rings, cell.ring, ref):
            counters[C_TRADES_REPEATED] += 1
        else:
            remember(rings, cell.ring, ref)
            rows[r].part = cell.ring
            counters[C_TRADES] += 1
            r = behind
        at = np.int64(tape[at].after)
    return stamp(rows, stop, r, seq, now, cell.row, 0)


@kernel
def _put_best(tape: Any, rows: Any, r: Any, price: Any, size: Any, side: Any) -> Any:
    """The QUOTE row of a side; none where it has no orders, which Deribit writes as null or 0."""
    if tape[price].kind == NULL:
        return r
    there, digits, _, _, _ = decimal(tape, price)
    if not there:
        return REFUSED
    if digits == 0:
        return r
    if r >= len(rows):
        return NO_ROOM
    bad = put_numbers(rows[r], tape, price, size)
    if bad:
        return bad
    rows[r].kind = _QUOTE_KIND
    rows[r].side = side
    return r + 1


@kernel
def _put_price(tape: Any, rows: Any, r: Any, kind: Any, t: Any) -> Any:
    """A MARK, INDEX or FUNDING row of number `t`; none where there is none."""
    if t == 0 or tape[t].kind == NULL:
        return r
    if r >= len(rows):
        return NO_ROOM
    there, digits, scale, odd, negative = decimal(tape, t)
    if not there:
        return REFUSED
    if odd & NUMBER_ABSURD:
        return ABSURD
    put_plain(rows, r, 0, 0, kind, 0, 0, -digits if negative else digits, 0)
    rows[r].price_scale = scale
    rows[r].flags = (_PRICE_EXPONENT if odd & EXPONENT else 0) | (_INEXACT if odd & INEXACT else 0)
    return r + 1


@kernel
def _read_ticker(tape: Any, body: Any, rows: Any, stop: Any, seq: Any, now: Any, cell: Any, counters: Any) -> Any:
    """Best prices; mark and index price and, of a perpetual, its funding rate."""
    exch_ns = unit_ns(tape, member(tape, body, _STAMP), _MS)
    bid, ask = member(tape, body, _BEST_BID), member(tape, body, _BEST_ASK)
    if exch_ns == 0 or bid == 0 or ask == 0:
        return REFUSED
    r = _put_best(tape, rows, stop, bid, member(tape, body, _BEST_BID_SIZE), 1)
    r = _put_best(tape, rows, r, ask, member(tape, body, _BEST_ASK_SIZE), -1) if r >= 0 else r
    r = _put_price(tape, rows, r, _MARK_KIND, member(tape, body, _MARK)) if r >= 0 else r
    r = _put_price(tape, rows, r, _INDEX_KIND, member(tape, body, _INDEX)) if r >= 0 else r
    r = _put_price(tape, rows, r, _FUNDING_KIND, member(tape, body, _FUNDING)) if r >= 0 else r
    if r < 0:
        return r
    counters[C_QUOTES] += 1
    counters[C_DERIVATIVES] += 1
    return stamp(rows, stop, r, seq, now, cell.row, exch_ns)


@kernel
def _put_side(tape: Any, t: Any, rows: Any, r: Any, side: Any, snapshot: Any) -> Any:
    """SET rows of list `t` of [new, change or delete, price, amount]."""
    if t == 0 or tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        if tape[at].kind != LIST or tape[at].after != at + 4:
            return REFUSED
        action = text(tape, at + 1)
        if action != _NEW and action != _CHANGE and action != _DELETE:
            return REFUSED
        r = put_level(rows, r, tape, at + 2, at + 3, side, snapshot)
        if r < 0:
            return r
        if (rows[r - 1].size == 0) != (action == _DELETE):
            return REFUSED
        at = np.int64(tape[at].after)
    return r


@kernel
def _read_book(
    tape: Any, body: Any, rows: Any, stop: Any, seq: Any, now: Any, cells: Any, at: Any, counters: Any
) -> Any:
    """A snapshot, a change, or (where the subscription groups prices) the whole book."""
    there, number = integer(tape, member(tape, body, _NUMBER))
    if not there or number < 0:
        return REFUSED
    bids, asks = member(tape, body, _BIDS), member(tape, body, _ASKS)
    exch_ns = unit_ns(tape, member(tape, body, _STAMP), _MS)
    whole = cells[at].option == WHOLE
    kind = text(tape, member(tape, body, _TYPE))
    if whole or kind == _SNAPSHOT:
        verdict = judge_snapshot(cells, at, number, counters)
    elif kind == _CHANGE:
        linked, previous = integer(tape, member(tape, body, _PREVIOUS))
        if not linked:
            return REFUSED
        verdict = judge_change(cells, at, number, previous == cells[at].last, counters)
    else:
        return REFUSED
    if verdict == DROP:
        return stop
    if verdict == MISSING:
        return lose(cells, at, rows, stop, seq, now, counters)
    r = stop
    fresh = whole or kind == _SNAPSHOT
    if fresh:
        r = put_reset(rows, r)
    if whole:
        r = put_levels(rows, r, tape, bids, 1, True) if r >= 0 else r
        r = put_levels(rows, r, tape, asks, -1, True) if r >= 0 else r
    else:
        r = _put_side(tape, bids, rows, r, 1, fresh) if r >= 0 else r
        r = _put_side(tape, asks, rows, r, -1, fresh) if r >= 0 else r
    if r < 0:
        return r
    cells[at].phase = CHAINED
    cells[at].last = number
    counters[C_BOOK_SNAPSHOTS if fresh else C_BOOK_UPDATES] += 1
    return stamp(rows, stop, r, seq, now, cells[at].row, exch_ns)
