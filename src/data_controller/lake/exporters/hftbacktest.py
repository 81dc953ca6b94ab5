"""hftbacktest's npz: depth, snapshots, clears and trades of an instrument, in the order of both clocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_controller.lake.exporters._base import Chunk, Report, by_channel, ends, file_name, finest, floats
from data_controller.market.rows import Flag, Kind
from data_controller.market.tables import Channel

EVENT_DTYPE = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
"""hftbacktest's format, version 2."""


class _Book:
    """What was exported of one channel: events, and how far its book reaches on either side."""

    def __init__(self) -> None:
        self.live = False
        self.low_bid = np.inf
        self.high_ask = -np.inf
        self.parts: list[tuple[NDArray[np.int64], NDArray[np.void]]] = []  # record and events

    def take(self, rows: NDArray[np.void]) -> None:
        marks = np.flatnonzero((rows["kind"] == Kind.RESET) | ends(rows))
        at = 0
        for mark in [*marks.tolist(), len(rows)]:
            if self.live and mark > at:
                self._levels(rows[at:mark])
            if mark < len(rows):
                self._clear(rows[mark])
                self.live = bool(rows[mark]["kind"] == Kind.RESET)
            at = mark + 1

    def _levels(self, rows: NDArray[np.void]) -> None:
        rows = rows[(rows["kind"] == Kind.SET) & (rows["flags"] & Flag.INEXACT == 0)]
        if not len(rows):
            return
        events = _events(rows, np.where(rows["flags"] & Flag.SNAPSHOT != 0, SNAPSHOT, DEPTH))
        bids = rows["side"] > 0
        self.low_bid = min(self.low_bid, events["px"][bids].min(initial=np.inf))
        self.high_ask = max(self.high_ask, events["px"][~bids].max(initial=-np.inf))
        self.parts.append((rows["seq"].copy(), events))

    def _clear(self, row: np.void) -> None:
        """A clear takes away what lies up to its price, so it names the farthest price that was ever set."""
        sides = [(BUY, self.low_bid), (SELL, self.high_ask)]
        events = np.zeros(2, EVENT_DTYPE)
        events["exch_ts"], events["local_ts"] = int(row["exch_ns"]) or int(row["recv_ns"]), row["recv_ns"]
        events["ev"] = [CLEAR | side for side, _ in sides]
        events["px"] = [price for _, price in sides]
        events = events[np.isfinite(events["px"])]
        self.parts.append((np.full(len(events), row["seq"], np.int64), events))
        self.low_bid, self.high_ask = np.inf, -np.inf


class HftbacktestExporter:
    """One `VENUE_SYMBOL.npz` an instrument, of its finest and deepest book of levels and its finest trades.

    Other renderings of them, and books of orders, are left out and named in `skipped`.

    Where no exchange time is known the receive time stands in. Where the local clock is behind the exchange's, all
    local times are moved by the worst lead and `base_latency_ns`, as hftbacktest's converters do. A gap clears a book.
    """

    def __init__(self, folder: Path, base_latency_ns: int = 0) -> None:
        self._folder = folder
        self._base_latency_ns = base_latency_ns
        self._books: dict[Channel, _Book] = {}
        self._trades: dict[Channel, list[tuple[NDArray[np.int64], NDArray[np.void]]]] = {}
        self._skipped: set[Channel] = set()

    def take(self, chunk: Chunk) -> None:
        """Keep the events of `chunk`."""
        for channel, rows in by_channel(chunk, {"book", "trades"}):
            if channel.stream == "trades":
                good = rows[(rows["kind"] == Kind.TRADE) & (rows["flags"] & (Flag.SNAPSHOT | Flag.INEXACT) == 0)]
                if len(good):
                    self._trades.setdefault(channel, []).append((good["seq"].copy(), _events(good, TRADE)))
            elif channel.precision == "R0":
                self._skipped.add(channel)
            else:
                self._books.setdefault(channel, _Book()).take(rows)

    def finish(self, last_recv_ns: int) -> Report:
        """Write the files."""
        files: Report = {}
        moved_ns: Report = {}
        events = {channel: book.parts for channel, book in self._books.items() if book.parts} | self._trades
        best, skipped = finest(events)
        for venue, symbol in sorted({(c.venue, c.symbol) for c in best}):
            of_it = sorted(c for c in best if (c.venue, c.symbol) == (venue, symbol))
            parts = [part for channel in of_it for part in events[channel]]
            if not sum(len(events) for _, events in parts):
                continue
            seq = np.concatenate([part[0] for part in parts])
            data = np.concatenate([part[1] for part in parts])[np.argsort(seq, kind="stable")]
            name = file_name(venue, symbol) + ".npz"
            moved_ns[name] = _move_local(data, self._base_latency_ns)
            data = in_both_orders(data)
            np.savez_compressed(self._folder / name, data=data)
            files[name] = len(data)
        return {
            "files": files,
            "local_clock_moved_ns": moved_ns,
            "skipped": sorted([*skipped, *(f"{c.venue} {c.symbol}: a book of orders" for c in self._skipped)]),
        }


def _events(rows: NDArray[np.void], kind: NDArray[np.int64] | int) -> NDArray[np.void]:
    events = np.zeros(len(rows), EVENT_DTYPE)
    side = np.where(rows["side"] > 0, BUY, np.where(rows["side"] < 0, SELL, 0))
    events["ev"] = kind | side
    events["local_ts"] = rows["recv_ns"]
    events["exch_ts"] = np.where(rows["exch_ns"] > 0, rows["exch_ns"], rows["recv_ns"])
    events["px"] = floats(rows["price"], rows["price_scale"])
    events["qty"] = floats(rows["size"], rows["size_scale"])
    return events


def _move_local(data: NDArray[np.void], base_latency_ns: int) -> int:
    """Move local times so that nothing arrives before it happened; returns by how much."""
    worst = int((data["local_ts"] - data["exch_ts"]).min())
    if worst >= 0:
        return 0
    data["local_ts"] += base_latency_ns - worst
    return base_latency_ns - worst


def in_both_orders(data: NDArray[np.void]) -> NDArray[np.void]:
    """`data`, which is in local order, so that events of either clock are in order.

    An event that happened before one that arrived earlier is split in two: where it happened, and where it arrived.
    """
    exch = data["exch_ts"]
    before = np.r_[np.iinfo(np.int64).min, np.maximum.accumulate(exch)[:-1]]
    late = exch < before
    out = data.copy()
    out["ev"] |= np.where(late, LOCAL, LOCAL | EXCH).astype(np.uint64)
    moved = data[late]
    if not len(moved):
        return out
    moved = moved[np.argsort(moved["exch_ts"], kind="stable")].copy()
    moved["ev"] |= np.uint64(EXCH)
    kept = np.flatnonzero(~late)
    at = np.searchsorted(exch[kept], moved["exch_ts"], side="right")
    places = np.where(at < len(kept), kept[np.minimum(at, len(kept) - 1)], len(out))
    # As bytes: numpy inserts structured rows field by field.
    wide = np.insert(out.view("V64"), places, moved.view("V64"))
    return wide.view(EVENT_DTYPE)
