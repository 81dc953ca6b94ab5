"""Damages a venue's frames and looks whether a book that says PROVED differs from the true one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_controller.market.layout import Proof
from tests.exchanges.feeding import Session, text


def endure(
    true: Session,
    own: Session,
    messages: Sequence[Any],
    seed: int,
    *,
    top: int = 0,
    rate: float = 0.03,
    flips: bool = False,
    mend: Callable[[int], Any] = lambda k: None,
) -> int:
    """Feed `messages` whole to `true` and with faults to `own`: lost, told twice, swapped, cut, spoilt.

    Spoilt is a byte that no JSON has, or with `flips` a flipped bit, which a checksum alone may find.
    After each, the books that it touched and that say PROVED must be the true ones (their first `top` levels a side;
    0: all of them); then `mend` may repair `own`. Returns how many were compared.
    """
    rng = random.Random(seed)
    frames = [text(message) for message in messages]
    compared = k = 0
    while k < len(frames):
        frame = frames[k]
        true.feed(frame)
        fault = rng.random() / rate
        rows: list[Any] = []
        if fault < 1:
            pass  # what is lost is known by what comes next
        elif fault < 2:
            rows = own.feed(frame, frame)
        elif fault < 3 and k + 1 < len(frames):
            k += 1
            true.feed(frames[k])
            own.feed(frames[k], frame)  # what came too late is as good as lost
        elif fault < 4:
            rows = own.feed(frame[: rng.randrange(len(frame))])
        elif fault < 5:
            at = rng.randrange(len(frame))
            rows = own.feed(frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8) if flips else 1]) + frame[at + 1 :])
        else:
            rows = own.feed(frame)
        for channel in {int(row["channel"]) for row in rows}:
            compared += same(true, own, channel, top)
        mend(k)
        k += 1
    return compared


def same(true: Session, own: Session, channel: int, top: int) -> int:
    """1 where the book of `channel` is PROVED (and then it is the true one), 0 where it is not."""
    if channel < 0 or own.books.books[channel]["depth"] == 0 or own.proof(channel) != Proof.PROVED:
        return 0
    named = own.tables.channels[channel]
    if named not in true.tables.channels:  # a flipped bit made the name of another one
        return 0
    theirs = true.tables.channel(named)
    for side in (1, -1):
        for field in ("price", "size"):
            expected, was = true.books.side(theirs, side)[field], own.books.side(channel, side)[field]
            assert np.array_equal(expected[: top or None], was[: top or None])
    return 1
