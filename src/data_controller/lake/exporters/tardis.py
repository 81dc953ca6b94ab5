"""Tardis's CSV files: incremental books, book snapshots and trades, a gzipped file for each instrument and day."""

from __future__ import annotations

import datetime as dt
import gzip
import shutil
from bisect import bisect_left, insort
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_controller.lake.exporters._base import (
    DAY_NS,
    Chunk,
    Report,
    by_channel,
    ends,
    file_name,
    finest,
    price_text,
    size_text,
)
from data_controller.lake.importers.tardis import BOOK, TRADES, snapshot_columns
from data_controller.market.numbers import MAX_SCALE
from data_controller.market.rows import Flag, Kind
from data_controller.market.tables import Channel

DEPTH = 25
_SIDES = {1: "buy", -1: "sell", 0: "unknown"}


class _Top:
    """A book of levels that knows its best ones, prices as integers of one scale."""

    def __init__(self) -> None:
        self.live = False
        self.shown: tuple[str, ...] = ()
        self._keys: dict[int, list[int]] = {1: [], -1: []}
        self._texts: dict[int, dict[int, tuple[str, str]]] = {1: {}, -1: {}}

    def clear(self, live: bool) -> None:
        self.live = live
        for side in (1, -1):
            self._keys[side].clear()
            self._texts[side].clear()

    def set(self, row: Any) -> None:
        side = 1 if row["side"] > 0 else -1
        key = -side * int(row["price"]) * 10 ** (MAX_SCALE - int(row["price_scale"]))
        keys, texts = self._keys[side], self._texts[side]
        if row["size"] == 0:
            if texts.pop(key, None) is not None:
                del keys[bisect_left(keys, key)]
            return
        if key not in texts:
            insort(keys, key)
        texts[key] = (price_text(row), size_text(row))

    def top(self) -> tuple[str, ...]:
        """Price and size of the best asks and bids, alternating, as a row of book_snapshot_25 has them."""
        cells: list[str] = []
        for at in range(DEPTH):
            for side in (-1, 1):
                keys = self._keys[side]
                cells += self._texts[side][keys[at]] if at < len(keys) else ("", "")
        return tuple(cells)


class TardisExporter:
    """`VENUE_TYPE_DAY_SYMBOL.csv.gz` for the types `incremental_book_L2`, `trades` and `book_snapshot_25`.

    Numbers are the wire's own text; times are microseconds, cut off; where no exchange time is known the receive time
    stands in. Trades without a number have an empty id. Of several renderings of a stream the finest and deepest is
    written; the others, and books of orders, are left out and named in `skipped`.
    """

    def __init__(self, folder: Path, types: tuple[str, ...] = ("incremental_book_L2", "trades")) -> None:
        self._folder = folder
        self._types = types
        self._tops: dict[Channel, _Top] = {}
        self._open: dict[tuple[str, Channel], tuple[str, IO[str]]] = {}  # type and channel -> day, file
        self._skipped: set[Channel] = set()
        self._files: dict[Channel, dict[str, int]] = {}  # rows by file, each channel's in a folder of its own

    def take(self, chunk: Chunk) -> None:
        """Write the rows of `chunk`."""
        for channel, rows in by_channel(chunk, {"book", "trades"}):
            if channel.stream == "trades" and "trades" in self._types:
                self._write_trades(channel, rows)
            elif channel.stream == "book" and channel.precision == "R0":
                self._skipped.add(channel)
            elif channel.stream == "book":
                self._write_book(channel, rows)

    def finish(self, last_recv_ns: int) -> Report:
        """Close the files."""
        for _, file in self._open.values():
            file.close()
        self._open.clear()
        best, skipped = finest(self._files)
        skipped += [f"{c.venue} {c.symbol}: a book of orders" for c in self._skipped]
        files: Report = {}
        for channel, written in sorted(self._files.items()):
            folder = self._folder_of(channel)
            for name, rows in written.items() if channel in best else ():
                if name in files:
                    skipped.append(f"{channel.venue} {channel.symbol}: {name} is of another instrument")
                else:
                    (folder / name).replace(self._folder / name)
                    files[name] = rows
        for channel in self._files:
            shutil.rmtree(self._folder_of(channel))
        return {"files": dict(sorted(files.items())), "skipped": sorted(skipped)}

    def _line(self, what: str, channel: Channel, row: Any, cells: tuple[str, ...]) -> None:
        local_us = int(row["recv_ns"]) // 1000
        exch_us = int(row["exch_ns"]) // 1000 or local_us
        file, name = self._file(what, channel, int(row["recv_ns"]))
        file.write(",".join((channel.venue, channel.symbol, str(exch_us), str(local_us), *cells)) + "\n")
        self._files[channel][name] += 1

    def _folder_of(self, channel: Channel) -> Path:
        return self._folder / f".{list(self._files).index(channel)}"

    def _file(self, what: str, channel: Channel, recv_ns: int) -> tuple[IO[str], str]:
        day = dt.datetime.fromtimestamp(recv_ns // DAY_NS * 86_400, dt.UTC).strftime("%Y-%m-%d")
        key = (what, channel)
        name = file_name(channel.venue, what, day, channel.symbol) + ".csv.gz"
        was = self._open.get(key)
        if was is None or was[0] != day:
            if was is not None:
                was[1].close()
            names = self._files.setdefault(channel, {})
            folder = self._folder_of(channel)
            folder.mkdir(exist_ok=True)
            mode: Literal["at", "wt"] = "at" if name in names else "wt"
            file = gzip.open(folder / name, mode, 6, "utf-8", newline="")  # noqa: SIM115 - open for a day
            if name not in names:
                columns = {"trades": TRADES, "incremental_book_L2": BOOK}.get(what) or snapshot_columns(DEPTH)
                file.write(",".join(columns) + "\n")
                names[name] = 0
            self._open[key] = (day, file)
        return self._open[key][1], name

    def _write_trades(self, channel: Channel, rows: NDArray[np.void]) -> None:
        good = (rows["kind"] == Kind.TRADE) & (rows["flags"] & (Flag.SNAPSHOT | Flag.INEXACT) == 0)
        for row in rows[good]:
            number = str(int(row["ref"])) if row["ref"] else ""
            cells = (number, _SIDES[int(row["side"])], price_text(row), size_text(row))
            self._line("trades", channel, row, cells)

    def _write_book(self, channel: Channel, rows: NDArray[np.void]) -> None:
        book = self._tops.setdefault(channel, _Top())
        changes, tops = "incremental_book_L2" in self._types, f"book_snapshot_{DEPTH}" in self._types
        for row, over in zip(rows, ends(rows), strict=True):
            kind = row["kind"]
            if over or kind == Kind.RESET:
                book.clear(live=bool(kind == Kind.RESET))
            elif kind == Kind.SET and book.live and not row["flags"] & Flag.INEXACT:
                if changes:
                    snapshot = "true" if row["flags"] & Flag.SNAPSHOT else "false"
                    side = "bid" if row["side"] > 0 else "ask"
                    self._line("incremental_book_L2", channel, row, (snapshot, side, price_text(row), size_text(row)))
                if tops:
                    book.set(row)
            if tops and book.live and row["flags"] & Flag.LAST:
                top = book.top()
                if top != book.shown:
                    book.shown = top
                    self._line(f"book_snapshot_{DEPTH}", channel, row, top)
