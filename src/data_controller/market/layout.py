"""Memory layout of books: dtypes that every compiled room reads, and nothing else.

A book's levels lie side by side in one pool: bids at `levels[bid0 + i]`, asks at `levels[ask0 + i]`, best first.
In an L3 book an entry is an order, and entries of equal price stand in the venue's order (id ascending on
Bitfinex, by arrival where the book is `queued`), so a reader that wants price levels merges neighbours of equal
`price`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

LEVEL = np.dtype(
    [
        ("price", "<f8"),  # digits / 10**scale, correctly rounded: equal prices are equal floats
        ("size", "<f8"),  # > 0
        ("price_digits", "<i8"),
        ("size_digits", "<i8"),  # unsigned; the side gives the sign
        ("ref", "<i8"),  # number of orders (L2) or order id (L3)
        ("price_scale", "<i1"),
        ("size_scale", "<i1"),
        ("flags", "u1"),  # rows.Flag: the EXPONENT bits, for text as on the wire
        ("text_bytes", "u1"),  # length of its text in the venue's checksum, 0: not looked at yet
        ("text_crc", "<u4"),  # and the CRC register that it leaves
    ]
)
assert LEVEL.itemsize == 48

BOOK = np.dtype(
    [
        ("channel", "<i4"),
        ("instrument", "<i4"),
        ("depth", "<u1"),  # 2 or 3; 0 = row not in use
        ("checksum_rule", "<u1"),  # ChecksumRule
        ("sequenced", "<u1"),  # ProofBy SEQUENCE or CHAIN where messages are numbered or linked, else 0
        ("checksummed", "<u1"),  # 1: the venue promised checksums for it
        ("proof", "<u1"),  # Proof
        ("proof_by", "<u1"),  # ProofBy
        ("usable", "<u1"),  # 1: proof is among those the config acts on, and fresh; set with `proof`
        ("broken_by", "<u1"),  # BrokenBy, why `proof` became BROKEN
        ("capacity", "<i4"),  # entries a side; its levels move within twice as many
        ("n_bid", "<i4"),
        ("n_ask", "<i4"),
        ("length", "<i4"),  # subscribed entries a side, 0 unknown
        ("trimmed", "<i4"),  # 1: at a message's end what lies beyond `length` is dropped
        ("queued", "<i4"),  # 1: orders of equal price stand in order of arrival, not of id
        ("bid0", "<i8"),  # the best bid; moves within `band_bid` to `band_bid + 2 * capacity`
        ("ask0", "<i8"),
        ("band_bid", "<i8"),
        ("band_ask", "<i8"),
        ("index0", "<i8"),  # L3: first cell of its id index
        ("index_mask", "<i8"),  # L3: cells of the index minus 1
        ("updated_ns", "<i8"),  # arrival of the last LAST row
        ("checked_ns", "<i8"),  # arrival of the last checksum that matched, 0 never
        ("unproved_since_ns", "<i8"),  # first change after the last matched checksum, 0 none
        ("snapshot_ns", "<i8"),  # arrival of the last snapshot, 0 none
        ("crossed_since_ns", "<i8"),  # first message of an unbroken run that left bid >= ask, 0 none
        ("broken_ns", "<i8"),  # when `proof` became BROKEN, 0 while it is not
        ("message_open", "<i8"),  # 1: the last row was not the last of its message
        ("touched_bid", "<i4"),  # L2: no better bid than this one was touched by the message; L3: 0
        ("touched_ask", "<i4"),
        ("accept", "<i8"),  # bit 1 << Proof: proofs that the config acts on; `usable` follows from it
        # counters, monotone
        ("events", "<i8"),
        ("checks_ok", "<i8"),
        ("checks_bad", "<i8"),
        ("unknown_deletes", "<i8"),
        ("crossed", "<i8"),  # messages after which bid >= ask
        ("gaps", "<i8"),
        ("breaks", "<i8"),
    ]
)


class Proof(IntEnum):
    """How far a book can be trusted; zero is the safe one."""

    EMPTY = 0  # no snapshot yet
    PENDING = 1  # snapshot applied, promised proof not there yet or too old
    PROVED = 2
    UNVERIFIABLE = 3  # the venue gives nothing to prove it by
    BROKEN = 4  # known to be wrong or incomplete


class ProofBy(IntEnum):
    """What proved it."""

    NOTHING = 0
    CHECKSUM = 1
    SEQUENCE = 2
    CHAIN = 3


class BrokenBy(IntEnum):
    """What broke it."""

    NOTHING = 0
    CHECKSUM = 1
    GAP = 2
    OVERFLOW = 3  # deeper than its arrays
    INEXACT = 4
    STALE = 5  # unchecked for longer than proof_max_age
    CROSSED = 6
    COLLISION = 7
    CLOSED = 8  # the connection ended
    MAINTENANCE = 9  # the venue pauses or restarts: what changes meanwhile may never be sent
    SILENT = 10  # the venue stopped speaking of it without a word


class ChecksumRule(IntEnum):
    """Which text the venue's checksum covers."""

    NONE = 0
    BITFINEX_PRICES = 1
    BITFINEX_ORDERS = 2
    KRAKEN = 3  # ten asks, then ten bids, digits alone
    KRAKEN_ORDERS = 5  # every order of ten ask prices, then of ten bid prices, digits alone
    OKX = 4  # 25 levels, bid and ask in turn, both unsigned
