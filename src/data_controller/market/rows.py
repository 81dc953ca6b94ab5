"""The event row: one market event in 64 bytes, the same for every venue."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

EVENT = np.dtype(
    [
        ("seq", "<i8"),  # the record it came from
        ("recv_ns", "<i8"),  # arrival, engine time
        ("exch_ns", "<i8"),  # the exchange's own time, 0 where none
        ("price", "<i8"),  # digits as on the wire, sign dropped
        ("size", "<i8"),  # digits as on the wire, sign in `side`
        ("ref", "<i8"),  # order id, trade id, order count, expected checksum or code, by kind
        ("channel", "<i4"),  # row of the channel table, -1 where none
        ("part", "<u4"),  # place in its record; CONTROL: the connection slot
        ("price_scale", "<i1"),  # digits after the point
        ("size_scale", "<i1"),
        ("kind", "<u1"),
        ("side", "<i1"),  # +1 bid or taker buy, -1 ask or taker sell, 0 neither
        ("flags", "<u4"),
    ]
)
assert EVENT.itemsize == 64


class Kind(IntEnum):
    """What happened. L2 books live on RESET and SET, L3 books on RESET, ADD, CHANGE, REDUCE and CANCEL."""

    RESET = 1  # the channel's book is emptied; a snapshot follows
    SET = 2  # level `price` now holds `size`; 0 removes it; ref = number of orders
    ADD = 3  # order `ref` of a snapshot rests at price, size
    CHANGE = 4  # order `ref` now rests at price, size, whether it was known or not
    CANCEL = 5  # order `ref` is gone from the window
    TRADE = 6  # ref = trade id
    CHECK = 7  # ref = the checksum the venue expects of the book as it now stands
    GAP = 8  # something of this channel was lost; ref = how many messages, 0 unknown; size = layout.BrokenBy, 0 GAP
    MARK = 9
    INDEX = 10
    FUNDING = 11
    LIQUIDATION = 12
    REDUCE = 15  # order `ref`, if it rests, holds `size` less; at nothing it is gone
    QUOTE = 14  # best price and size of a side, from a channel of its own; ref = the venue's number of it, 0 none
    CONTROL = 13  # ref = Control; price = the venue's channel id or code; size = value; part = connection


class Flag(IntFlag):
    """Bits of `flags`."""

    LAST = 1  # last row of its message: the book may be looked at
    SNAPSHOT = 2  # state, not an event: never counted as flow
    CHECKPOINT = 4  # a book written out at the head of a lake day
    PRICE_EXPONENT = 8  # the wire wrote the price with an exponent
    SIZE_EXPONENT = 16  # likewise the size
    INEXACT = 32  # more digits than 64 bits hold: the row's book is broken


class Control(IntEnum):
    """Codes of CONTROL rows: what the venue's Subscriptions need to know, in row order."""

    OPENED = 1  # the connection is open
    CLOSED = 2  # the connection ended
    INFO = 3  # greeting; price = protocol version, 0 none; size = the venue's code, 0 none
    CONFIGURED = 4  # size = flags now in force, -1 refused
    SUBSCRIBED = 5  # channel; price = the venue's channel id; size = Promise bits
    UNSUBSCRIBED = 6  # channel; price = the venue's channel id; size = 1 where another id serves the channel by now
    RESTART = 7  # the venue asks to reconnect
    MAINTENANCE_START = 8
    MAINTENANCE_END = 9
    ERROR = 10  # price = the venue's code; channel where known
    QUARANTINED = 11  # a frame could not be read; its bytes are in the quarantine table
    SEQUENCE_GAP = 12  # the connection lost messages: size = how many; GAP rows of its channels came before
    DUPLICATE = 13  # a frame seen before was dropped
    UNKNOWN_CHANNEL = 14  # data for a channel id that was never acknowledged: price = id
    PONG = 15
    # In the lake alone, with flag CHECKPOINT: how a book stood whose levels follow.
    BOOK = 64  # price = Proof, ProofBy << 8, BrokenBy << 16; size = as of SUBSCRIBED; exch_ns = checked_ns
    BOOK_TIMES = 65  # price = unproved_since_ns; size = snapshot_ns; exch_ns = broken_ns
    FETCHED = 16  # a REST answer was taken; channel where known; price = HTTP status, 0 none came; size = 1: of use


class Promise(IntFlag):
    """Bits of a SUBSCRIBED row's size: what the venue gives to prove the channel by.

    Behind them, from bit RULE_SHIFT on, stands the layout.ChecksumRule of its checksums.
    """

    SEQUENCED = 1  # its messages, or those of its connection, are numbered
    CHECKSUMMED = 2  # checksums of its book will come
    CHAINED = 4  # each event of its book names the one before
    TRIMMED = 8  # the venue drops what lies beyond the subscribed length without a word; in an L3 book, of prices
    QUEUED = 16  # orders of equal price stand in order of arrival, which the venue's ids do not tell


RULE_SHIFT = 8
"""Where the checksum rule begins in a SUBSCRIBED row's size."""


def copy_rows(rows: NDArray[np.void]) -> NDArray[np.void]:
    """A copy of structured rows, as bytes where they lie side by side: numpy's own goes field by field, far slower."""
    if not rows.flags.c_contiguous:
        return rows.copy()
    return rows.view(np.uint8).copy().view(rows.dtype)
