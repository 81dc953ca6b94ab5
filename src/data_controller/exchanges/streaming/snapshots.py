"""A fetched book as rows: the snapshot that changes of a stream are put behind."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.streaming.rows import NO_ROOM, REFUSED, put_levels, put_reset, stamp
from data_controller.exchanges.streaming.tape import TOKEN, integer, member, tape_of
from data_controller.kernels import kernel
from data_controller.market._words import address_of
from data_controller.market.rows import EVENT

MAX_TOKENS = 1 << 21
"""Tokens of a tape at most. A Coinbase snapshot of 45,000 levels has 180,000."""


class Snapshot(NamedTuple):
    """A fetched book: the number it stands at and its rows, RESET first."""

    last: int
    rows: NDArray[np.void]


@kernel
def _snapshot_rows(body: Any, tape: Any, rows: Any, inside: Any, last: Any, bids: Any, asks: Any, exch_ns: Any) -> Any:
    """(rows written, number) of a snapshot: RESET, bids, asks; the first is negative where it is none.

    `inside` names the member that holds the others, 0 where the root does.
    """
    p = address_of(body)
    if tape_of(p, p + len(body), tape) < 0:
        return np.int64(REFUSED), np.int64(0)
    root = np.int64(0)
    if inside != np.uint64(0):
        root = member(tape, 0, inside)
        if root == 0:
            return np.int64(REFUSED), np.int64(0)
    there, number = integer(tape, member(tape, root, last))
    bid, ask = member(tape, root, bids), member(tape, root, asks)
    if not there or bid == 0 or ask == 0:
        return np.int64(REFUSED), np.int64(0)
    r = put_reset(rows, 0)
    r = put_levels(rows, r, tape, bid, 1, True)
    if r >= 0:
        r = put_levels(rows, r, tape, ask, -1, True)
    if r < 0:
        return np.int64(r), np.int64(0)
    return np.int64(stamp(rows, 0, r, 0, 0, 0, exch_ns)), number


def read_levels(
    body: bytes, *, last: np.uint64, bids: np.uint64, asks: np.uint64, inside: np.uint64 | int = 0, exch_ns: int = 0
) -> Snapshot | None:
    """The snapshot in a JSON `body` whose members `bids` and `asks` are lists of [price, size, ...].

    `last` is the hash (`tape.name`) of the member with its number, `inside` that of the member around them.
    """
    data = np.frombuffer(body, np.uint8)
    if not len(data):
        return None
    entries = body.count(b"[") + 2
    tokens = body.count(b",") + entries + 64
    if tokens > MAX_TOKENS:
        return None
    rows = np.zeros(entries, EVENT)
    count, number = _snapshot_rows(
        data.copy(), np.zeros(2 * tokens, TOKEN), rows, np.uint64(inside), last, bids, asks, exch_ns
    )
    return Snapshot(int(number), rows[:count]) if count > 0 and count != NO_ROOM else None
