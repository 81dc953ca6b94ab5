"""Books written out as rows, and read back from them: how a lake day opens, and how a book is rebuilt from its rows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.market.books import Books
from data_controller.market.core import FULL, apply_row
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.proof import fall_silent, refresh
from data_controller.market.rows import EVENT, RULE_SHIFT, Control, Flag, Kind, Promise
from data_controller.market.tables import Channel, Tables

_PROVED = int(Proof.PROVED)
_HEAD = Flag.CHECKPOINT | Flag.SNAPSHOT


def checkpoint_rows(books: Books, row: int, seq: int, at_ns: int) -> NDArray[np.void]:
    """Book `row` as rows: how it stands (CONTROL BOOK and BOOK_TIMES), RESET, then its levels or orders, best first.

    They are numbered as `seq`, the last record before them, and all have flag CHECKPOINT. No rows for an EMPTY book.
    """
    book = books.books[row]
    if book["proof"] == Proof.EMPTY:
        return np.zeros(0, EVENT)
    bids, asks = books.side(row, +1), books.side(row, -1)
    out = np.zeros(3 + len(bids) + len(asks), EVENT)
    out["seq"], out["recv_ns"], out["channel"], out["flags"] = seq, at_ns, row, _HEAD
    out["part"] = np.arange(len(out))
    head, times, reset = out[0], out[1], out[2]
    promise = int(book["checksum_rule"]) << RULE_SHIFT
    promise |= Promise.CHAINED if book["sequenced"] == ProofBy.CHAIN else 0
    promise |= Promise.SEQUENCED if book["sequenced"] == ProofBy.SEQUENCE else 0
    promise |= Promise.CHECKSUMMED if book["checksummed"] else 0
    promise |= Promise.TRIMMED if book["trimmed"] else 0
    head["kind"] = times["kind"] = Kind.CONTROL
    head["ref"], times["ref"] = Control.BOOK, Control.BOOK_TIMES
    head["price"] = int(book["proof"]) | int(book["proof_by"]) << 8 | int(book["broken_by"]) << 16
    head["size"], head["exch_ns"] = promise, book["checked_ns"]
    times["price"], times["size"] = book["unproved_since_ns"], book["snapshot_ns"]
    times["exch_ns"] = book["broken_ns"]
    reset["kind"] = Kind.RESET
    first = 3
    for side, levels in ((1, bids), (-1, asks)):
        part = out[first : first + len(levels)]
        part["kind"], part["side"] = Kind.ADD if book["depth"] == 3 else Kind.SET, side
        for name, of in (
            ("price", "price_digits"),
            ("size", "size_digits"),
            ("ref", "ref"),
            ("price_scale", "price_scale"),
            ("size_scale", "size_scale"),
        ):
            part[name] = levels[of]
        part["flags"] |= levels["flags"]
        first += len(levels)
    out[-1]["flags"] |= Flag.LAST
    return out


@kernel
def _apply(rows: Any, lo: Any, hi: Any, books: Any, levels: Any, index: Any, scratch: Any, crossed: Any) -> Any:
    """Apply rows `lo..hi` to book 0; returns the row that found its side full, `hi` where none did.

    `crossed[0]` becomes the longest time that the book was crossed while it said proved.
    """
    for r in range(lo, hi):
        since = books[0].crossed_since_ns
        if since != 0 and books[0].proof == _PROVED and rows[r].recv_ns - since > crossed[0]:
            crossed[0] = rows[r].recv_ns - since
        if apply_row(rows, r, books, levels, index, scratch) == FULL:
            return r
    return hi


class Rebuilt:
    """One book, rebuilt from its rows alone."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.books = Books(Tables(channels=[channel]))
        self.crossed_ns: NDArray[np.int64] = np.zeros(1, np.int64)  # longest cross while it said proved
        self.differences: list[int] = []  # `seq` of checkpoints that differ from the book that the rows before made
        self._run = -1

    @property
    def book(self) -> np.void:
        """Its BOOK record."""
        book: np.void = self.books.books[0]
        return book

    def apply(self, rows: NDArray[np.void]) -> None:
        """Apply EVENT rows of this channel, in order; a checkpoint among them replaces all that was before."""
        if not len(rows):
            return
        heads = np.flatnonzero((rows["kind"] == Kind.CONTROL) & (rows["ref"] == Control.BOOK))
        runs = rows["seq"] >> 40
        starts = np.flatnonzero(np.diff(runs, prepend=self._run))
        cuts = sorted({0, len(rows), *heads.tolist(), *starts.tolist()})
        for lo, hi in itertools.pairwise(cuts):
            piece = rows[lo:hi].copy()
            piece["channel"] = 0
            if int(piece["seq"][0]) >> 40 != self._run:  # another engine start: nothing of the old books holds
                self._run = int(piece["seq"][0]) >> 40
                self.books = Books(Tables(channels=[self.channel]))
            if piece["flags"][0] & Flag.CHECKPOINT and piece["ref"][0] == Control.BOOK:
                n = int(np.argmin(piece["flags"] & Flag.CHECKPOINT > 0)) or len(piece)
                self._set(piece[:n])
                piece = piece[n:]
            self._run_rows(piece)

    def _set(self, rows: NDArray[np.void]) -> None:
        head, times = rows[0], rows[1]
        if self.book["events"] and self.book["proof"] != Proof.EMPTY:  # else it begins here
            own = checkpoint_rows(self.books, 0, int(head["seq"]), int(head["recv_ns"]))
            if len(own) != len(rows) or own[2:].tobytes() != rows[2:].tobytes():
                self.differences.append(int(head["seq"]))
        self._run_rows(rows[2:])
        book, promise = self.book, int(head["size"])
        book["sequenced"] = (
            ProofBy.CHAIN if promise & Promise.CHAINED else ProofBy.SEQUENCE if promise & Promise.SEQUENCED else 0
        )
        book["checksummed"] = 1 if promise & Promise.CHECKSUMMED else 0
        book["trimmed"] = 1 if promise & Promise.TRIMMED else 0
        book["checksum_rule"] = promise >> RULE_SHIFT & 255
        state = int(head["price"])
        book["proof"], book["proof_by"], book["broken_by"] = state & 255, state >> 8 & 255, state >> 16 & 255
        book["checked_ns"], book["unproved_since_ns"] = head["exch_ns"], times["price"]
        book["snapshot_ns"], book["broken_ns"] = times["size"], times["exch_ns"]

    def _run_rows(self, rows: NDArray[np.void]) -> None:
        at, books = 0, self.books
        while at < len(rows):
            at = _apply(rows, at, len(rows), books.books, books.levels, books.index, books.scratch, self.crossed_ns)
            if at < len(rows):
                books.widen(0)

    def broken(self, by: str, at_ns: int) -> None:
        """The engine broke the book where no row says so: it fell silent, or stayed crossed."""
        if by in (BrokenBy.SILENT.name, BrokenBy.CROSSED.name) and self.book["proof"] != Proof.EMPTY:
            fall_silent(self.books.books, 0, at_ns)
            self.book["broken_by"] = BrokenBy[by]

    def age(self, at_ns: int, max_age_ns: int) -> None:
        """What a checksum proved too long ago is not proved at `at_ns`."""
        refresh(self.books.books, at_ns, max_age_ns, self.books.accept_mask)
