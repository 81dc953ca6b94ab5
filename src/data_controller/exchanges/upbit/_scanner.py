"""The compiled half of the Upbit decoder: every book message is the whole book; trades. Short and long names."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.rings import remember, seen
from data_controller.exchanges.streaming.rows import REFUSED, UNUSUAL, put_level, put_reset, put_trade, stamp
from data_controller.exchanges.streaming.scanning import BAD_JSON, BAD_TOKENS, DONE, enter, leave, pack
from data_controller.exchanges.streaming.state import (
    BOOK,
    C_BOOK_SNAPSHOTS,
    C_FRAMES,
    C_TRADES,
    C_TRADES_REPEATED,
    CHAINED,
    LIVE,
    OTHER,
    find_stream,
)
from data_controller.exchanges.streaming.tape import (
    LIST,
    TOO_MANY,
    decimal,
    integer,
    member,
    mixed,
    name,
    tape_of,
    text,
    unit_ns,
)
from data_controller.kernels import brief_kernel, kernel
from data_controller.market._words import address_of
from data_controller.market.numbers import INEXACT

_TYPE, _CODE, _TIME, _UNITS = name("ty"), name("cd"), name("tms"), name("obu")
_TYPE_LONG, _CODE_LONG, _TIME_LONG, _UNITS_LONG = name("type"), name("code"), name("timestamp"), name("orderbook_units")
_BID, _BID_SIZE, _ASK, _ASK_SIZE = name("bp"), name("bs"), name("ap"), name("as")
_BID_LONG, _BID_SIZE_LONG, _ASK_LONG, _ASK_SIZE_LONG = (
    name("bid_price"),
    name("bid_size"),
    name("ask_price"),
    name("ask_size"),
)
_PRICE, _VOLUME, _TRADER, _TRADE_TIME, _ID = name("tp"), name("tv"), name("ab"), name("ttms"), name("sid")
_PRICE_LONG, _VOLUME_LONG, _TRADER_LONG, _TRADE_TIME_LONG, _ID_LONG = (
    name("trade_price"),
    name("trade_volume"),
    name("ask_bid"),
    name("trade_timestamp"),
    name("sequential_id"),
)
_ASKS, _BIDS = name("ASK"), name("BID")
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
def _either(tape: Any, t: Any, short: Any, long: Any) -> Any:
    """The member by its short name, else by its long one."""
    found = member(tape, t, short)
    return found if found != 0 else member(tape, t, long)


@kernel
def _read(tape: Any, rows: Any, stop: Any, seq: Any, now: Any, c: Any, cells: Any, rings: Any, counters: Any) -> Any:
    """One message: the row behind what it wrote, or a negative code of `streaming.rows`."""
    kind = text(tape, _either(tape, 0, _TYPE, _TYPE_LONG))
    code = text(tape, _either(tape, 0, _CODE, _CODE_LONG))
    at = find_stream(cells, c, mixed(kind, code))
    cell = cells[at]
    if cell.state != LIVE or cell.stream == OTHER:
        return UNUSUAL
    cells[at].heard_ns = now
    if cell.stream != BOOK:
        there, ref = integer(tape, _either(tape, 0, _ID, _ID_LONG))
        trader = text(tape, _either(tape, 0, _TRADER, _TRADER_LONG))
        exch_ns = unit_ns(tape, _either(tape, 0, _TRADE_TIME, _TRADE_TIME_LONG), _MS)
        if not there or ref <= 0 or exch_ns == 0 or (trader != _ASKS and trader != _BIDS):
            return REFUSED
        price, size = _either(tape, 0, _PRICE, _PRICE_LONG), _either(tape, 0, _VOLUME, _VOLUME_LONG)
        r = put_trade(rows, stop, tape, price, size, 1 if trader == _BIDS else -1, ref, exch_ns)
        if r < 0:
            return r
        if seen(rings, cell.ring, ref):
            counters[C_TRADES_REPEATED] += 1
            return stop
        remember(rings, cell.ring, ref)
        counters[C_TRADES] += 1
        return stamp(rows, stop, r, seq, now, cell.row, exch_ns)
    exch_ns = unit_ns(tape, _either(tape, 0, _TIME, _TIME_LONG), _MS)
    units = _either(tape, 0, _UNITS, _UNITS_LONG)
    if units == 0 or tape[units].kind != LIST or exch_ns == 0:
        return REFUSED
    r = put_reset(rows, stop)
    unit = np.int64(units) + 1
    while unit < tape[units].after and r >= 0:
        bid, ask = _either(tape, unit, _BID, _BID_LONG), _either(tape, unit, _ASK, _ASK_LONG)
        r = _put_level(rows, r, tape, bid, _either(tape, unit, _BID_SIZE, _BID_SIZE_LONG), 1)
        if r >= 0:
            r = _put_level(rows, r, tape, ask, _either(tape, unit, _ASK_SIZE, _ASK_SIZE_LONG), -1)
        unit = np.int64(tape[unit].after)
    if r < 0:
        return r
    cells[at].phase = CHAINED
    counters[C_BOOK_SNAPSHOTS] += 1
    return stamp(rows, stop, r, seq, now, cell.row, exch_ns)


@kernel
def _put_level(rows: Any, r: Any, tape: Any, price: Any, size: Any, side: Any) -> Any:
    """A SET row; nothing where the place on the ladder is empty, which has price 0."""
    there, digits, _, odd, _ = decimal(tape, price)
    if not there:
        return REFUSED
    if digits == 0 and odd & INEXACT == 0:
        return r
    return put_level(rows, r, tape, price, size, side, True)
