"""A book as it was at a moment, with its proof: from the lake, or from the journal where it is not there yet."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.engine.tail import tails
from data_controller.errors import LakeError
from data_controller.lake.catalogue import Catalogue, File
from data_controller.lake.checkpoints import Rebuilt
from data_controller.lake.gaps import gap_rows, runs_of
from data_controller.lake.layout import date_of
from data_controller.market.books import Books
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.settings import ProofSettings
from data_controller.market.tables import Channel


def book_at(
    exchange: str,
    instrument: str,
    at_ns: int,
    *,
    catalogue: Catalogue | None = None,
    journal: Path | None = None,
    precision: str | None = None,
    depth: int = 10,
    proof: ProofSettings | None = None,
) -> dict[str, Any]:
    """The book with its proof, `depth` entries a side, prices and sizes as the exchange wrote them.

    Raises LakeError where neither the lake nor the journal holds it.
    """
    proof = proof or ProofSettings()
    asked = (exchange, instrument, at_ns, precision)
    if catalogue is not None and at_ns <= max((run.last_ns for run in runs_of(catalogue)), default=-1):
        found = _from_lake(catalogue, *asked, proof)
        if found is not None:
            return _plain(*found, at_ns, depth, "lake")
    if journal is not None:
        found = _from_journal(catalogue, journal, *asked)
        if found is not None:
            return _plain(*found, at_ns, depth, "journal")
    if catalogue is not None:  # the last book that is known
        found = _from_lake(catalogue, *asked, proof)
        if found is not None:
            return _plain(*found, at_ns, depth, "lake")
    what = f"{exchange} {instrument}{f' {precision}' if precision else ''}"
    raise LakeError(f"expected a book of {what} at that time, was none in the lake or the journal: look with `ls`")


Found = tuple[Channel, Books, int, bool]
"""Whose book; the books it is in, and its row; whether an engine was recording at that moment."""


def _rank(channel: Channel) -> tuple[bool, str, int]:
    """Smallest is best: price levels before raw orders, finest precision, deepest."""
    return channel.precision.startswith("R"), channel.precision, -channel.length


def _from_lake(
    catalogue: Catalogue, exchange: str, instrument: str, at_ns: int, precision: str | None, proof: ProofSettings
) -> Found | None:
    files = [
        file
        for file in catalogue.files(channel="book", exchange=exchange, instrument=instrument, events=True)
        if file.first_recv_ns <= at_ns and file.date <= date_of(at_ns) and precision in (None, file.precision)
    ]
    if not files:
        return None
    day = max(file.date for file in files)  # it opens with the book as it stood
    files = [file for file in files if file.date == day]
    channel = min((_channel_of(file) for file in files), key=_rank)
    files = [file for file in files if _channel_of(file) == channel]
    run = max(file.first_seq for file in files) >> 40
    breaks = [
        (row["seq"], row["reason"], row["recv_ns"])
        for row in gap_rows(catalogue, exchange=exchange, instrument=instrument)
        if not row["ended_ns"]
        and row["recv_ns"] <= at_ns
        and row["seq"] >> 40 == run
        and row["channel_row"] == files[-1].row
    ]
    rebuilt = Rebuilt(channel)
    for file in files:
        rows = _until(catalogue.events(file), at_ns)
        for seq, by, broken_ns in [b for b in breaks if b[0] <= file.last_seq]:
            n = int(np.searchsorted(rows["seq"], seq, "right"))
            rebuilt.apply(rows[:n])
            rebuilt.broken(by, broken_ns)
            rows = rows[n:]
        breaks = [b for b in breaks if b[0] > file.last_seq]
        rebuilt.apply(rows)
    for _, by, broken_ns in breaks:
        rebuilt.broken(by, broken_ns)
    rebuilt.age(at_ns, proof.max_age_ns)
    recording = any(r.first_ns <= at_ns <= r.last_ns for r in runs_of(catalogue) if r.number == run)
    return channel, rebuilt.books, 0, recording


def _channel_of(file: File) -> Channel:
    return Channel(file.exchange, file.instrument, "book", file.precision, file.frequency, file.length)


def _until(rows: NDArray[np.void], at_ns: int) -> NDArray[np.void]:
    """Rows before the first one that came later than `at_ns`; those that waited for a snapshot came earlier."""
    later = np.flatnonzero(np.maximum.accumulate(rows["recv_ns"]) > at_ns) if len(rows) else rows
    return rows[: int(later[0])] if len(later) else rows


def _from_journal(
    catalogue: Catalogue | None, journal: Path, exchange: str, instrument: str, at_ns: int, precision: str | None
) -> Found | None:
    """From the last run that had the book by then, of which the lake has not all: decodes what it lacks."""
    for tail in reversed(tails(catalogue, journal)):
        if not 0 < tail.first_ns <= at_ns:
            continue
        decoding = tail.decode(None, until_ns=at_ns)
        if decoding is None:
            continue
        pipeline = decoding.pipeline
        rows = [
            (_rank(channel), row)
            for row, channel in enumerate(pipeline.tables.channels)
            if channel[:3] == (exchange, instrument, "book")
            and precision in (None, channel.precision)
            and (pipeline.books.books[row]["snapshot_ns"] or not decoding.begins_without_books)
        ]
        if rows:
            row = min(rows)[1]
            return pipeline.tables.channels[row], pipeline.books, row, decoding.stopped
    return None


def _plain(
    channel: Channel, books: Books, row: int, recording: bool, at_ns: int, depth: int, source: str
) -> dict[str, Any]:
    book = books.books[row]
    return {
        "exchange": channel.venue,
        "instrument": channel.symbol,
        "precision": channel.precision,
        "length": channel.length,
        "at_ns": at_ns,
        "at": time_text(at_ns),
        "from": source,
        "recording": recording,
        "proof": Proof(int(book["proof"])).name,
        "proof_by": ProofBy(int(book["proof_by"])).name,
        "broken_by": BrokenBy(int(book["broken_by"])).name,
        "updated": time_text(int(book["updated_ns"])),
        "checked": time_text(int(book["checked_ns"])),
        "entries": [int(book["n_bid"]), int(book["n_ask"])],
        "bids": _side(books.side(row, +1)[:depth]),
        "asks": _side(books.side(row, -1)[:depth]),
    }


def _side(levels: NDArray[np.void]) -> list[dict[str, Any]]:
    return [
        {
            "price": _decimal(level["price_digits"], level["price_scale"]),
            "size": _decimal(level["size_digits"], level["size_scale"]),
            "ref": int(level["ref"]),
        }
        for level in levels
    ]


def _decimal(digits: Any, scale: Any) -> str:
    return f"{Decimal(int(digits)).scaleb(-int(scale)):f}"


def time_text(ns: int) -> str:
    """A time in UTC to the nanosecond; a dash for none."""
    return f"{np.datetime64(ns, 'ns')}Z" if ns else "-"
