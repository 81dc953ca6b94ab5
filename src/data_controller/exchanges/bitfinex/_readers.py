"""Readers of the parts of a Bitfinex frame: entries, trades, tags, trailing sequence and timestamp.

A reader takes the addresses `p` and `end` and returns the address behind what it read, or REFUSED, ABSURD or NO_ROOM,
which are negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.bitfinex._state import SEQ_ALL, TIMESTAMP
from data_controller.kernels import kernel
from data_controller.market._words import load_byte
from data_controller.market.numbers import ABSURD as NUMBER_ABSURD
from data_controller.market.numbers import EXPONENT, INEXACT, PRICE_LIMIT, scan_integer, scan_number
from data_controller.market.rows import Flag, Kind

REFUSED = -1
"""Not JSON, or not the shape that the protocol gives this message."""
ABSURD = -2
"""The right shape with numbers that no market has: a negative price, no side, 1e308."""
NO_ROOM = -3
"""More rows than the buffer holds."""

PERIOD_SHIFT = 16
"""Where the days of a loan begin in a row's flags; in rows of levels by rate and period it is in `ref`, too."""
PERIODS = 128
"""Days of a loan are 2 to 120."""
RATE_SCALE = 14
"""Digits behind the point of the rate in the `ref` of a level by rate and period: rate * 10**14 * PERIODS + period."""

MAX_MS = 9_000_000_000_000
"""Millisecond stamps from here on do not fit 64-bit nanoseconds."""

_SET = int(Kind.SET)
_ADD = int(Kind.ADD)
_CHANGE = int(Kind.CHANGE)
_CANCEL = int(Kind.CANCEL)
_TRADE = int(Kind.TRADE)
_LAST = int(Flag.LAST)
_SNAPSHOT = int(Flag.SNAPSHOT)
_PRICE_EXPONENT = int(Flag.PRICE_EXPONENT)
_SIZE_EXPONENT = int(Flag.SIZE_EXPONENT)
_INEXACT = int(Flag.INEXACT)


@kernel
def skip_space(p: Any, end: Any) -> Any:
    """Address of the first byte from `p` that is no JSON white space, or `end`."""
    while (
        p < end
        and load_byte(p) <= 32
        and (load_byte(p) == 32 or load_byte(p) == 10 or load_byte(p) == 13 or load_byte(p) == 9)
    ):
        p += 1
    return p


@kernel
def next_item(p: Any, end: Any) -> Any:
    """Address of the item behind the comma that must follow at `p`."""
    if p + 1 < end and load_byte(p) == 44 and load_byte(p + 1) > 32:
        return p + 1
    p = skip_space(p, end)
    if p >= end or load_byte(p) != 44:
        return REFUSED
    return skip_space(p + 1, end)


@kernel
def skip_value(p: Any, end: Any) -> Any:
    """Address behind the JSON value at `p`; brackets and strings are followed, the rest is not judged."""
    first = p
    depth = 0
    while p < end:
        c = load_byte(p)
        if c == 34:
            p += 1
            while p < end and load_byte(p) != 34:
                p += 2 if load_byte(p) == 92 else 1
            if p >= end:
                return REFUSED
            if depth == 0:
                return p + 1
        elif c == 91 or c == 123:
            depth += 1
        elif c == 93 or c == 125:
            if depth == 0:
                return p if p > first else REFUSED
            depth -= 1
            if depth == 0:
                return p + 1
        elif c == 44 and depth == 0:
            return p if p > first else REFUSED
        p += 1
    return REFUSED


@kernel
def close_list(p: Any, end: Any) -> Any:
    """Address behind the list that ends at `p`; items that newer protocol versions append are skipped."""
    while True:
        if p < end and load_byte(p) == 93:
            return p + 1
        p = skip_space(p, end)
        if p >= end:
            return REFUSED
        if load_byte(p) == 93:
            return p + 1
        if load_byte(p) != 44:
            return REFUSED
        p = skip_value(skip_space(p + 1, end), end)
        if p < 0:
            return REFUSED


@kernel
def read_tail(p: Any, end: Any, flags: Any) -> Any:
    """The rest of a frame behind its payload: (status, sequence, timestamp in ms), 0 where `flags` promise none."""
    seq = np.int64(0)
    stamp = np.int64(0)
    want_seq = flags & SEQ_ALL != 0
    want_stamp = flags & TIMESTAMP != 0
    while True:
        p = skip_space(p, end)
        if p >= end:
            return REFUSED, seq, stamp
        if load_byte(p) == 93:
            break
        if load_byte(p) != 44:
            return REFUSED, seq, stamp
        p = skip_space(p + 1, end)
        if want_seq:
            p, seq = scan_integer(p, end)
            if p < 0 or seq <= 0:
                return REFUSED, seq, stamp
            want_seq = False
        elif want_stamp:
            p, stamp = scan_integer(p, end)
            if p < 0 or stamp <= 0 or stamp >= MAX_MS:
                return REFUSED, seq, stamp
            want_stamp = False
        else:
            p = skip_value(p, end)
            if p < 0:
                return REFUSED, seq, stamp
    if want_seq or want_stamp or skip_space(p + 1, end) != end:
        return REFUSED, seq, stamp
    return 0, seq, stamp


@kernel
def _next_integer(p: Any, end: Any) -> Any:
    """(address of the item behind the integer at `p`, the integer)."""
    p, value = scan_integer(p, end)
    return (next_item(p, end) if p >= 0 else np.int64(REFUSED)), value


@kernel
def _level_ref(price: Any, scale: Any, period: Any) -> Any:
    """What a level by rate and period is known by, growing with the period; 0 where the rate is too long for it."""
    if scale > RATE_SCALE or price < 0:
        return np.int64(0)
    for _ in range(RATE_SCALE - scale):
        if price >= 10**15:
            return np.int64(0)
        price *= 10
    return price * PERIODS + period if price < 10**16 else np.int64(0)


@kernel
def read_entry(p: Any, end: Any, row: Any, orders: Any, snapshot: Any, funding: Any) -> Any:
    """One book entry behind its `[` into `row`: [price, count, amount] or, for `orders`, [id, price, amount].

    Of `funding` it is [rate, period, count, amount] or [id, period, rate, amount], and a positive amount is offered.
    """
    ref = np.int64(0)
    period = np.int64(0)
    if orders:
        p, ref = scan_integer(p, end)
        if p < 0:
            return REFUSED
        p = next_item(p, end)
        if p < 0:
            return REFUSED
        if funding:
            p, period = _next_integer(p, end)
            if p < 0:
                return REFUSED
    p, price, price_scale, price_flags, price_negative = scan_number(p, end)
    if p < 0:
        return REFUSED
    p = next_item(p, end)
    if p < 0:
        return REFUSED
    if not orders:
        if funding:
            p, period = _next_integer(p, end)
            if p < 0:
                return REFUSED
        p, ref = scan_integer(p, end)
        if p < 0:
            return REFUSED
        p = next_item(p, end)
        if p < 0:
            return REFUSED
    p, size, size_scale, size_flags, size_negative = scan_number(p, end)
    if p < 0:
        return REFUSED
    p = close_list(p, end)
    if p < 0:
        return REFUSED

    odd = price_flags | size_flags
    inexact = odd & INEXACT != 0 or price >= PRICE_LIMIT
    if odd & NUMBER_ABSURD != 0 or ref < 0 or price_negative or (size == 0 and size_flags & INEXACT == 0):
        return ABSURD
    zero_price = price == 0 and price_flags & INEXACT == 0
    if orders:
        delete = zero_price
        if ref == 0 or (delete and snapshot):
            return ABSURD
        kind = _CANCEL if delete else (_ADD if snapshot else _CHANGE)
    else:
        delete = ref == 0
        if (zero_price and not funding) or (delete and snapshot):
            return ABSURD
        kind = _SET
        if funding:
            # Levels of one rate differ by their period: an entry with an id of its own, as an order is.
            kind = _CANCEL if delete else (_ADD if snapshot else _CHANGE)
            ref = _level_ref(price, price_scale, period)
            inexact = inexact or ref == 0
    if funding and (period <= 0 or period >= PERIODS):
        return ABSURD
    if delete:
        size = np.int64(0)
        size_scale = np.int64(0)
        size_flags = np.int64(0)
    flags = _SNAPSHOT if snapshot else 0
    if odd != 0 or inexact:
        if price_flags & EXPONENT:
            flags |= _PRICE_EXPONENT
        if size_flags & EXPONENT:
            flags |= _SIZE_EXPONENT
        if inexact:
            flags |= _INEXACT
    row.price = price
    row.size = size
    row.ref = ref
    row.price_scale = price_scale
    row.size_scale = size_scale
    row.kind = kind
    row.side = -1 if size_negative != funding else 1
    row.flags = flags | period << PERIOD_SHIFT
    return p


@kernel
def read_trade(p: Any, end: Any, row: Any, funding: Any) -> Any:
    """One trade behind its `[` into `row`: [id, mts, amount, price], of `funding` [id, mts, amount, rate, period]."""
    p, ref = scan_integer(p, end)
    if p < 0:
        return REFUSED
    p = next_item(p, end)
    if p < 0:
        return REFUSED
    p, mts = scan_integer(p, end)
    if p < 0:
        return REFUSED
    p = next_item(p, end)
    if p < 0:
        return REFUSED
    p, size, size_scale, size_flags, size_negative = scan_number(p, end)
    if p < 0:
        return REFUSED
    p = next_item(p, end)
    if p < 0:
        return REFUSED
    p, price, price_scale, price_flags, price_negative = scan_number(p, end)
    if p < 0:
        return REFUSED
    period = np.int64(0)
    if funding:
        p = next_item(p, end)
        if p < 0:
            return REFUSED
        p, period = scan_integer(p, end)
        if p < 0:
            return REFUSED
        if period <= 0 or period >= PERIODS:
            return ABSURD
    p = close_list(p, end)
    if p < 0:
        return REFUSED
    odd = price_flags | size_flags
    if odd & NUMBER_ABSURD != 0 or ref <= 0 or mts <= 0 or mts >= MAX_MS or price_negative:
        return ABSURD
    if odd & INEXACT == 0 and ((price == 0 and not funding) or size == 0):
        return ABSURD
    flags = 0
    if price_flags & EXPONENT:
        flags |= _PRICE_EXPONENT
    if size_flags & EXPONENT:
        flags |= _SIZE_EXPONENT
    if odd & INEXACT:
        flags |= _INEXACT
    row.exch_ns = mts * 1_000_000
    row.price = price
    row.size = size
    row.ref = ref
    row.price_scale = price_scale
    row.size_scale = size_scale
    row.kind = _TRADE
    row.side = -1 if size_negative else 1
    row.flags = flags | period << PERIOD_SHIFT
    return p


@kernel
def read_list(p: Any, end: Any, rows: Any, r: Any, stream: Any, ready: Any, funding: Any) -> Any:
    """A book's or trade channel's payload behind its `[`: (next, row behind the last one written).

    `stream` is 1 price book, 2 order book, 3 trades. A book's first list is its snapshot, a later one a bulk update.
    """
    trades = stream == 3
    orders = stream == 2
    p = skip_space(p, end)
    if p >= end:
        return REFUSED, r
    if load_byte(p) == 93:
        return p + 1, r
    if load_byte(p) != 91:
        if trades:
            return REFUSED, r
        if r >= len(rows):
            return NO_ROOM, r
        return read_entry(p, end, rows[r], orders, False, funding), r + 1
    while True:
        if r >= len(rows):
            return NO_ROOM, r
        if load_byte(p) != 91:
            return REFUSED, r
        p = skip_space(p + 1, end)
        if trades:
            p = read_trade(p, end, rows[r], funding)
            rows[r].flags |= _SNAPSHOT
        else:
            p = read_entry(p, end, rows[r], orders, not ready, funding)
        if p < 0:
            return p, r
        r += 1
        p = skip_space(p, end)
        if p >= end:
            return REFUSED, r
        if load_byte(p) == 93:
            return p + 1, r
        if load_byte(p) != 44:
            return REFUSED, r
        p = skip_space(p + 1, end)
        if p >= end:
            return REFUSED, r
