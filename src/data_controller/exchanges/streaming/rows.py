"""Readers that fill event rows from a tape: levels, orders, trades, quotes, and the stamp of a whole message.

A reader returns the row behind what it wrote, or REFUSED, ABSURD or NO_ROOM, which are negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.streaming.tape import LIST, decimal
from data_controller.kernels import kernel
from data_controller.market.numbers import ABSURD as NUMBER_ABSURD
from data_controller.market.numbers import EXPONENT, INEXACT, PRICE_LIMIT
from data_controller.market.rows import Flag, Kind

REFUSED = -1
"""Not the shape that the protocol gives this message."""
ABSURD = -2
"""The right shape with numbers that no market has: a price of 0 or below, a negative size, 1e308."""
NO_ROOM = -3
"""More rows than the buffer holds."""
UNUSUAL = -4
"""Well-formed, and a matter for Python: an answer, a ticker, a channel seen for the first time."""

_RESET = int(Kind.RESET)
_SET = int(Kind.SET)
_ADD = int(Kind.ADD)
_TRADE = int(Kind.TRADE)
_QUOTE = int(Kind.QUOTE)
_CHECK = int(Kind.CHECK)
_GAP = int(Kind.GAP)
_LAST = int(Flag.LAST)
_SNAPSHOT = int(Flag.SNAPSHOT)
_PRICE_EXPONENT = int(Flag.PRICE_EXPONENT)
_SIZE_EXPONENT = int(Flag.SIZE_EXPONENT)
_INEXACT = int(Flag.INEXACT)


@kernel
def put_numbers(row: Any, tape: Any, price: Any, size: Any) -> Any:
    """Fill price, size and the flags that follow from their text; 0, or REFUSED or ABSURD. A size of 0 is good."""
    there, digits, scale, price_flags, negative = decimal(tape, price)
    if not there:
        return REFUSED
    row.price = digits
    row.price_scale = scale
    absurd = negative or (digits == 0 and price_flags & INEXACT == 0)
    inexact = digits >= PRICE_LIMIT
    there, digits, scale, size_flags, negative = decimal(tape, size)
    if not there:
        return REFUSED
    row.size = digits
    row.size_scale = scale
    odd = price_flags | size_flags
    if absurd or (negative and digits != 0) or odd & NUMBER_ABSURD != 0:
        return ABSURD
    flags = 0
    if odd != 0 or inexact:
        if price_flags & EXPONENT:
            flags |= _PRICE_EXPONENT
        if size_flags & EXPONENT:
            flags |= _SIZE_EXPONENT
        if inexact or odd & INEXACT:
            flags |= _INEXACT
    row.flags = flags
    row.ref = 0
    row.exch_ns = 0
    return 0


@kernel
def put_level(rows: Any, r: Any, tape: Any, price: Any, size: Any, side: Any, snapshot: Any) -> Any:
    """A SET row: level `price` now holds `size`."""
    if r >= len(rows):
        return NO_ROOM
    row = rows[r]
    bad = put_numbers(row, tape, price, size)
    if bad:
        return bad
    row.kind = _SET
    row.side = side
    if snapshot:
        row.flags |= _SNAPSHOT
    return r + 1


@kernel
def put_levels(rows: Any, r: Any, tape: Any, t: Any, side: Any, snapshot: Any) -> Any:
    """SET rows of list `t` of [price, size, ...] lists; none where `t` is 0."""
    if t == 0:
        return r
    if tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        if tape[at].kind != LIST or tape[at].after < at + 3:
            return REFUSED
        r = put_level(rows, r, tape, at + 1, np.int64(tape[at + 1].after), side, snapshot)
        if r < 0:
            return r
        at = np.int64(tape[at].after)
    return r


@kernel
def put_order(
    rows: Any, r: Any, tape: Any, kind: Any, ref: Any, price: Any, size: Any, side: Any, snapshot: Any
) -> Any:
    """An ADD or CHANGE row: order `ref` now rests at price, size."""
    if r >= len(rows):
        return NO_ROOM
    row = rows[r]
    bad = put_numbers(row, tape, price, size)
    if bad:
        return bad
    row.kind = kind
    row.side = side
    row.ref = ref
    if snapshot:
        row.flags |= _SNAPSHOT
    return r + 1


@kernel
def put_trade(rows: Any, r: Any, tape: Any, price: Any, size: Any, side: Any, ref: Any, exch_ns: Any) -> Any:
    """A TRADE row; `side` is the taker's."""
    if r >= len(rows):
        return NO_ROOM
    row = rows[r]
    bad = put_numbers(row, tape, price, size)
    if bad:
        return bad
    if row.size == 0 and row.flags & _INEXACT == 0:
        return ABSURD
    row.kind = _TRADE
    row.side = side
    row.ref = ref
    row.exch_ns = exch_ns
    return r + 1


@kernel
def put_quote(
    rows: Any, r: Any, tape: Any, bid: Any, bid_size: Any, ask: Any, ask_size: Any, ref: Any, exch_ns: Any
) -> Any:
    """Two QUOTE rows, best bid and best ask; a side without a price is left out."""
    if r + 2 > len(rows):
        return NO_ROOM
    for side in (1, -1):
        price, size = (bid, bid_size) if side > 0 else (ask, ask_size)
        there, digits, _, _, _ = decimal(tape, price)
        if not there:
            return REFUSED
        if digits == 0:
            continue
        row = rows[r]
        bad = put_numbers(row, tape, price, size)
        if bad:
            return bad
        row.kind = _QUOTE
        row.side = side
        row.ref = ref
        row.exch_ns = exch_ns
        r += 1
    return r


@kernel
def put_plain(
    rows: Any, r: Any, seq: Any, recv_ns: Any, kind: Any, channel: Any, ref: Any, price: Any, size: Any
) -> Any:
    """A row that is its whole message, numbers as they are: GAP, CHECK, CONTROL."""
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
    return r + 1


@kernel
def put_reset(rows: Any, r: Any) -> Any:
    """A RESET row, to be stamped with the rest of its message: a snapshot follows."""
    if r >= len(rows):
        return NO_ROOM
    put_plain(rows, r, 0, 0, _RESET, 0, 0, 0, 0)
    rows[r].flags = _SNAPSHOT
    return r + 1


@kernel
def stamp(rows: Any, first: Any, r: Any, seq: Any, recv_ns: Any, channel: Any, exch_ns: Any) -> Any:
    """Complete the rows `first..r` of one message: whose they are, when, and which is the last; returns `r`."""
    for k in range(first, r):
        row = rows[k]
        row.seq = seq
        row.recv_ns = recv_ns
        if row.exch_ns == 0:
            row.exch_ns = exch_ns
        row.channel = channel
        row.part = k - first
    if r > first:
        rows[r - 1].flags |= _LAST
    return r


@kernel
def put_check(rows: Any, r: Any, seq: Any, recv_ns: Any, channel: Any, expected: Any, exch_ns: Any) -> Any:
    """A CHECK row: the checksum that the venue expects of the book as it now stands."""
    if r >= len(rows):
        return NO_ROOM
    put_plain(rows, r, seq, recv_ns, _CHECK, channel, expected, 0, 0)
    rows[r].exch_ns = exch_ns
    return r + 1


@kernel
def put_gap(rows: Any, r: Any, seq: Any, recv_ns: Any, channel: Any, missing: Any, cause: Any) -> Any:
    """A GAP row; `cause` is a BrokenBy, 0 a plain gap."""
    if r >= len(rows):
        return NO_ROOM
    return put_plain(rows, r, seq, recv_ns, _GAP, channel, missing, 0, cause)
