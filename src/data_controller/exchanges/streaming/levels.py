"""Readers of levels, best prices and trade ids as several venues write them, beside those of `streaming.rows`."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.streaming.rows import NO_ROOM, REFUSED, put_level, put_numbers
from data_controller.exchanges.streaming.tape import LIST, NUMBER, STRING, hash_of, integer
from data_controller.kernels import kernel
from data_controller.market._words import load_byte
from data_controller.market.rows import Flag, Kind

OLD_NS = 5_000_000_000
"""A trade that much older than its subscription is told as history, not as news."""

_QUOTE = int(Kind.QUOTE)
_SNAPSHOT = int(Flag.SNAPSHOT)


@kernel
def put_counted_levels(rows: Any, r: Any, tape: Any, t: Any, side: Any, snapshot: Any) -> Any:
    """SET rows of list `t` of [price, size, anything, number of orders] lists; the last two may be missing."""
    if t == 0 or tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        behind = np.int64(tape[at].after)
        if tape[at].kind != LIST or behind < at + 3:
            return REFUSED
        size = np.int64(tape[at + 1].after)
        r = put_level(rows, r, tape, at + 1, size, side, snapshot)
        if r < 0:
            return r
        third = np.int64(tape[size].after)
        if third < behind:
            fourth = np.int64(tape[third].after)
            if fourth < behind:
                there, orders = integer(tape, fourth)
                if not there or orders < 0:
                    return REFUSED
                rows[r - 1].ref = orders
        at = behind
    return r


@kernel
def put_best(rows: Any, r: Any, tape: Any, t: Any, side: Any, ref: Any) -> Any:
    """A QUOTE row of the first level of list `t` that holds a size; none where there is none."""
    if t == 0:
        return r
    if tape[t].kind != LIST:
        return REFUSED
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        if tape[at].kind != LIST or tape[at].after < at + 3:
            return REFUSED
        if r >= len(rows):
            return NO_ROOM
        row = rows[r]
        bad = put_numbers(row, tape, at + 1, np.int64(tape[at + 1].after))
        if bad:
            return bad
        if row.size != 0:
            row.kind = _QUOTE
            row.side = side
            row.ref = ref
            return r + 1
        at = np.int64(tape[at].after)
    return r


@kernel
def trade_ref(tape: Any, t: Any) -> Any:
    """The trade id `t` as `ref`: an integer is itself, other text its hash; 0 where there is none."""
    if t == 0:
        return np.int64(0)
    there, value = integer(tape, t)
    if there and value > 0:
        return value
    token = tape[t]
    if token.start >= token.stop or (token.kind != STRING and token.kind != NUMBER):
        return np.int64(0)
    return np.int64(hash_of(token.start, token.stop) >> np.uint64(1))


@kernel
def mark_old(row: Any, cell: Any) -> Any:
    """Flag the trade of `row` as SNAPSHOT where it is history behind a fresh subscription; whether it is.

    `cell.spare` is when the subscription was acknowledged.
    """
    if row.exch_ns != 0 and cell.spare != 0 and row.exch_ns < cell.spare - OLD_NS:
        row.flags |= _SNAPSHOT
        return True
    return False


@kernel
def number_parts(rows: Any, first: Any, r: Any) -> Any:
    """Give the rows `first..r` of one record their places in it; returns `r`."""
    for k in range(first, r):
        rows[k].part = k - first
    return r


@kernel
def long_ns(tape: Any, t: Any) -> Any:
    """Time `t`, 19 digits that count ns since 1970; 0 where it is none."""
    token = tape[t]
    if t <= 0 or (token.kind != STRING and token.kind != NUMBER) or token.stop - token.start != 19:
        return np.int64(0)
    value = np.int64(0)
    for k in range(19):
        digit = np.int64(load_byte(token.start + k)) - 48
        if digit < 0 or digit > 9 or (k == 0 and digit > 8):
            return np.int64(0)
        value = value * 10 + digit
    return value
