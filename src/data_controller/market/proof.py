"""Proof of books: how each book's state moves, as kernels on one BOOK record.

    now                what came                              then
    any                SUBSCRIBED, UNSUBSCRIBED               EMPTY
    any                RESET                                  PENDING
    PENDING            snapshot complete, checksums promised  PENDING until one matches
    PENDING            snapshot complete, only sequenced      PROVED by SEQUENCE, or CHAIN where events are linked
    PENDING            snapshot complete, neither             UNVERIFIABLE
    not EMPTY, BROKEN  checksum matches                       PROVED by CHECKSUM
    not EMPTY, BROKEN  checksum differs                       BROKEN by CHECKSUM
    not EMPTY, BROKEN  too deep, inexact, crossed over 1 s    BROKEN by that
    not BROKEN         GAP                                    BROKEN by GAP, or by its cause (CLOSED, MAINTENANCE)
    not BROKEN         not even heartbeats for too long       BROKEN by SILENT
    PROVED, CHECKSUM   a change unchecked for max_age         PENDING

An EMPTY or BROKEN book ignores changes and checksums. A quiet book stays PROVED: its last checksum covers all of it.
Whether it is quiet or dead its heartbeats tell; what those look like is the venue's matter.
"""

from __future__ import annotations

from typing import Any

from data_controller.kernels import kernel
from data_controller.market.layout import BrokenBy, Proof, ProofBy

CROSSED_MAX_NS = 1_000_000_000
"""A book crossed for longer is broken; a cross inside a burst of messages is not."""

_EMPTY = int(Proof.EMPTY)
_PENDING = int(Proof.PENDING)
_PROVED = int(Proof.PROVED)
_UNVERIFIABLE = int(Proof.UNVERIFIABLE)
_BROKEN = int(Proof.BROKEN)
_BY_NOTHING = int(ProofBy.NOTHING)
_BY_CHECKSUM = int(ProofBy.CHECKSUM)
_CROSSED = int(BrokenBy.CROSSED)
_SILENT = int(BrokenBy.SILENT)


@kernel
def set_proof(book: Any, proof: Any, by: Any) -> None:
    """Give the book a proof, and `usable` with it."""
    book.proof = proof
    book.proof_by = by
    book.usable = (book.accept >> proof) & 1


@kernel
def break_book(book: Any, broken_by: Any, now_ns: Any) -> None:
    """The book is wrong or incomplete: nobody may use it until its next snapshot."""
    set_proof(book, _BROKEN, _BY_NOTHING)
    book.usable = 0
    book.broken_by = broken_by
    book.broken_ns = now_ns
    book.breaks += 1


@kernel
def begin(book: Any, proof: Any) -> None:
    """Empty the book and all that its old levels had proved; `proof` is EMPTY or PENDING."""
    book.n_bid = 0
    book.n_ask = 0
    book.bid0 = book.band_bid + book.capacity // 2
    book.ask0 = book.band_ask + book.capacity // 2
    book.broken_by = 0
    book.broken_ns = 0
    book.checked_ns = 0
    book.unproved_since_ns = 0
    book.crossed_since_ns = 0
    set_proof(book, proof, _BY_NOTHING)


@kernel
def snapshot_complete(book: Any) -> None:
    """The last row of a snapshot is in: PENDING, PROVED or UNVERIFIABLE by what the venue promised."""
    if book.checksummed != 0:
        set_proof(book, _PENDING, _BY_NOTHING)
    elif book.sequenced != 0:
        set_proof(book, _PROVED, book.sequenced)
    else:
        set_proof(book, _UNVERIFIABLE, _BY_NOTHING)


@kernel
def checksum_matched(book: Any, now_ns: Any) -> None:
    """A checksum over the whole book agrees; a venue that sends one has promised them."""
    book.checks_ok += 1
    book.checked_ns = now_ns
    book.unproved_since_ns = 0
    book.checksummed = 1
    set_proof(book, _PROVED, _BY_CHECKSUM)


@kernel
def fall_silent(books: Any, row: Any, now_ns: Any) -> None:
    """Break book `row`, which its venue serves no more; nothing where it is no book, or BROKEN already."""
    book = books[row]
    if book.depth != 0 and book.proof != _BROKEN:
        break_book(book, _SILENT, now_ns)


@kernel
def refresh(books: Any, now_ns: Any, max_age_ns: Any, accept_mask: Any) -> Any:
    """Apply deadlines and the config's `accept_mask` (bits `1 << Proof`); to be called on pulses.

    Returns how many books broke in this call: those whose `broken_ns` is `now_ns` now.
    """
    broke = 0
    for row in range(len(books)):
        book = books[row]
        if book.depth == 0:
            continue
        book.accept = accept_mask & ~((1 << _EMPTY) | (1 << _BROKEN))
        if book.proof != _EMPTY and book.proof != _BROKEN:
            since = book.crossed_since_ns
            if since != 0 and now_ns - since > CROSSED_MAX_NS:
                break_book(book, _CROSSED, now_ns)
                broke += 1
        waiting = book.unproved_since_ns
        if book.proof == _PROVED and book.proof_by == _BY_CHECKSUM and waiting != 0 and now_ns - waiting > max_age_ns:
            set_proof(book, _PENDING, _BY_NOTHING)
        set_proof(book, book.proof, book.proof_by)
    return broke
