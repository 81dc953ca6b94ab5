"""The one-row kernel of the market: what an event row does to its book, and what is worth looking at afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.kernels import kernel
from data_controller.market._words import address_of
from data_controller.market.books import (
    MAX_CAPACITY,
    cancel_order,
    clear_index,
    level_at,
    reduce_order,
    set_level,
    set_order,
    trim_prices,
    untouched,
)
from data_controller.market.checksums import book_checksum
from data_controller.market.layout import BrokenBy, ChecksumRule, Proof, ProofBy
from data_controller.market.numbers import to_float
from data_controller.market.proof import begin, break_book, checksum_matched, snapshot_complete
from data_controller.market.rows import RULE_SHIFT, Control, Flag, Kind, Promise

NOTHING = 0
"""Nothing to look at: the middle of a message, a checksum of a proved book, a row of a book that is not alive."""
BOOK_CHANGED = 1
"""A message is complete: the book may be looked at, as far as its `usable` goes."""
TRADE = 2
"""A trade; the SNAPSHOT flag tells old ones."""
BROKE = 3
"""This row broke its book: `broken_by` says why."""
CONTROL = 4
"""A row for the venue's Subscriptions; books it concerns are reset."""
PROVED = 5
"""This checksum made a book PROVED that was not."""
FULL = 7
"""A side has no room for the entry: the row is not applied; `Books.widen` makes room, then it can be applied again."""
LOST = 6
"""Something of a channel that is no book was lost, or a trade has more digits than a row holds."""

_RESET = int(Kind.RESET)
_SET = int(Kind.SET)
_ADD = int(Kind.ADD)
_CHANGE = int(Kind.CHANGE)
_CANCEL = int(Kind.CANCEL)
_REDUCE = int(Kind.REDUCE)
_TRADE = int(Kind.TRADE)
_CHECK = int(Kind.CHECK)
_GAP = int(Kind.GAP)
_CONTROL = int(Kind.CONTROL)
_LAST = int(Flag.LAST)
_SNAPSHOT = int(Flag.SNAPSHOT)
_INEXACT = int(Flag.INEXACT)
_SUBSCRIBED = int(Control.SUBSCRIBED)
_UNSUBSCRIBED = int(Control.UNSUBSCRIBED)
_SEQUENCED = int(Promise.SEQUENCED)
_CHECKSUMMED = int(Promise.CHECKSUMMED)
_CHAINED = int(Promise.CHAINED)
_TRIMMED = int(Promise.TRIMMED)
_QUEUED = int(Promise.QUEUED)
_RULE_SHIFT = RULE_SHIFT
_EMPTY = int(Proof.EMPTY)
_PENDING = int(Proof.PENDING)
_PROVED = int(Proof.PROVED)
_BROKEN = int(Proof.BROKEN)
_NO_RULE = int(ChecksumRule.NONE)
_BY_SEQUENCE = int(ProofBy.SEQUENCE)
_BY_CHAIN = int(ProofBy.CHAIN)
_BY_CHECKSUM = int(BrokenBy.CHECKSUM)
_BY_GAP = int(BrokenBy.GAP)
_BY_OVERFLOW = int(BrokenBy.OVERFLOW)
_BY_INEXACT = int(BrokenBy.INEXACT)
_BY_COLLISION = int(BrokenBy.COLLISION)


@kernel
def apply_row(
    rows: Any,
    r: Any,
    books: Any,
    levels: Any,
    index: Any,
    scratch: Any,
) -> Any:
    """Apply `rows[r]` to its book; returns one of this module's codes. Arrays are those of `books.Books`."""
    row = rows[r]
    kind = row.kind
    if kind == _TRADE:
        return LOST if row.flags & _INEXACT else TRADE
    channel = row.channel
    if 0 <= channel < len(books) and books[channel].depth != 0:
        return _apply(row, books[channel], address_of(levels), address_of(index), address_of(scratch))
    if kind == _CONTROL:
        return CONTROL
    return LOST if kind == _GAP else NOTHING


@kernel
def _apply(row: Any, book: Any, levels: Any, index: Any, scratch: Any) -> Any:
    """`apply_row` of a book's row; the arrays by address."""
    kind = row.kind
    if kind in (_SET, _ADD, _CHANGE, _CANCEL, _REDUCE):
        return _change(row, book, levels, index)
    if kind == _CHECK:
        return _check(row, book, levels, scratch)
    if kind == _CONTROL:
        _control(row, book, index)
        return CONTROL
    if kind == _GAP:
        return _gap(row, book)
    if kind == _RESET:
        clear_index(book, index)
        begin(book, _PENDING)
        book.snapshot_ns = row.recv_ns
        return _message_end(row, book, levels, index) if row.flags & _LAST else NOTHING
    return NOTHING


@kernel
def _change(row: Any, book: Any, levels: Any, index: Any) -> Any:
    """SET of an L2 book; ADD, CHANGE, REDUCE and CANCEL of an L3 book."""
    if book.proof == _EMPTY or book.proof == _BROKEN:
        return NOTHING
    flags = row.flags
    if flags & _INEXACT:
        break_book(book, _BY_INEXACT, row.recv_ns)
        return BROKE
    kind = row.kind
    if kind != _CANCEL and kind != _REDUCE and (book.n_bid if row.side > 0 else book.n_ask) >= book.capacity:
        if (book.length == 0 or book.queued) and book.capacity < MAX_CAPACITY:
            return FULL
        break_book(book, _BY_OVERFLOW, row.recv_ns)
        return BROKE
    book.events += 1
    if book.message_open == 0:
        book.message_open = 1
        untouched(book)
    if kind == _CANCEL:
        if book.depth == 3 and not cancel_order(book, levels, index, row.ref):
            book.unknown_deletes += 1
    elif kind == _REDUCE:
        if book.depth == 3:
            reduced = reduce_order(book, levels, index, row)
            if reduced < 0:
                # Less is there than was taken: what the book holds under this number is another order.
                break_book(book, _BY_COLLISION, row.recv_ns)
                return BROKE
            if reduced == 0:
                book.unknown_deletes += 1
    else:
        price = to_float(row.price, row.price_scale)
        size = to_float(row.size, row.size_scale)
        if kind == _SET:
            if book.depth == 2:
                set_level(book, levels, row, price, size)
        elif book.depth == 3:
            set_order(book, levels, index, row, price, size)
    return _message_end(row, book, levels, index) if flags & _LAST else NOTHING


@kernel
def _message_end(row: Any, book: Any, levels: Any, index: Any) -> Any:
    """After the last row of a message: proof of a snapshot, age of unproved changes, crossing."""
    now = row.recv_ns
    book.updated_ns = now
    book.message_open = 0
    if book.trimmed and book.length > 0:
        if book.depth == 2:
            book.n_bid = min(book.n_bid, book.length)
            book.n_ask = min(book.n_ask, book.length)
        else:
            trim_prices(book, levels, index)
    if row.flags & _SNAPSHOT:
        snapshot_complete(book)
    if book.unproved_since_ns == 0:
        book.unproved_since_ns = now
    if book.n_bid > 0 and book.n_ask > 0 and level_at(levels, book.bid0).price >= level_at(levels, book.ask0).price:
        book.crossed += 1
        if book.crossed_since_ns == 0:
            book.crossed_since_ns = now
    else:
        book.crossed_since_ns = 0
    return BOOK_CHANGED


@kernel
def _check(row: Any, book: Any, levels: Any, scratch: Any) -> Any:
    """Compare the venue's checksum with the book's own."""
    if book.proof == _EMPTY or book.proof == _BROKEN or book.checksum_rule == _NO_RULE:
        return NOTHING
    own = book_checksum(np.int64(book.checksum_rule), levels, book.bid0, book.n_bid, book.ask0, book.n_ask, scratch)
    if own != row.ref:
        book.checks_bad += 1
        break_book(book, _BY_CHECKSUM, row.recv_ns)
        return BROKE
    was = book.proof
    checksum_matched(book, row.recv_ns)
    return PROVED if was != _PROVED else NOTHING


@kernel
def _gap(row: Any, book: Any) -> Any:
    """Messages are lost: what the book holds is a guess."""
    book.gaps += 1
    if book.proof == _BROKEN:
        return NOTHING
    break_book(book, row.size if row.size != 0 else _BY_GAP, row.recv_ns)
    return BROKE


@kernel
def _control(row: Any, book: Any, index: Any) -> None:
    """A new subscription empties its book; so does the end of one, unless another serves the channel by now."""
    if row.ref == _SUBSCRIBED:
        book.sequenced = _BY_CHAIN if row.size & _CHAINED else _BY_SEQUENCE if row.size & _SEQUENCED else 0
        book.checksummed = 1 if row.size & _CHECKSUMMED else 0
        book.trimmed = 1 if row.size & _TRIMMED else 0
        book.queued = 1 if row.size & _QUEUED else 0
        book.checksum_rule = (row.size >> _RULE_SHIFT) & 255
    elif row.ref != _UNSUBSCRIBED or row.size != 0:
        return
    clear_index(book, index)
    begin(book, _EMPTY)
