"""Chunks of a lake, file by file: what exporters take of it is what they would take of the journals it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_controller.errors import LakeError
from data_controller.lake.catalogue import Catalogue, File
from data_controller.lake.exporters._base import Chunk, ends, with_breaks
from data_controller.lake.exporters.freqtrade import timeframe_ns
from data_controller.lake.gaps import gap_rows, runs_of
from data_controller.lake.layout import date_of
from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.rows import EVENT, Kind
from data_controller.market.tables import Channel, Stream, Tables

_STREAMS: dict[str, Stream] = {
    "book": "book",
    "trades": "trades",
    "candles": "candles",
    "history_candles": "candles",
}
"""The lake's channels that are exported, and the streams they are of: candles that were backfilled are candles."""
_RUN_BITS = 40


class Slice(NamedTuple):
    """Which part of a lake: empty texts and None are all of it; days are UTC, both included."""

    exchange: str = ""
    instrument: str = ""
    first_day: str = ""
    last_day: str = ""


class LakeSource:
    """The rows of a lake's books, trades and candles, channel by channel, each in the order of its records."""

    def __init__(self, catalogue: Catalogue, which: Slice) -> None:
        """Raises LakeError where nothing in the lake is in the slice."""
        self._catalogue = catalogue
        self._files: dict[Channel, list[File]] = {}
        self._candles_over_ns = 0  # of those that were backfilled
        for file in catalogue.files(exchange=which.exchange or None, instrument=which.instrument or None):
            late = bool(which.last_day) and file.date > which.last_day
            if file.channel in _STREAMS and file.date >= which.first_day and not late:
                channel = Channel(
                    file.exchange,
                    file.instrument,
                    _STREAMS[file.channel],
                    file.precision or _width_of(file),
                    file.frequency,
                    file.length,
                )
                self._files.setdefault(channel, []).append(file)
        if not self._files:
            asked = ", ".join(f"{name} {value}" for name, value in which._asdict().items() if value) or "it"
            raise LakeError(f"expected books, trades or candles of {asked} in the lake, was none: look with `ls`")

    @property
    def last_recv_ns(self) -> int:
        """When the last record arrived whose rows are in the slice, whatever it was of."""
        last_day = max(file.date for files in self._files.values() for file in files)
        ends_ns = [run.last_ns for run in runs_of(self._catalogue) if date_of(run.first_ns) <= last_day]
        stop_ns = int((np.datetime64(last_day, "D") + 1).astype("datetime64[ns]").astype(np.int64)) - 1
        known_ns = max(file.last_recv_ns for files in self._files.values() for file in files)
        return max(known_ns, min(max(ends_ns, default=0), stop_ns), self._candles_over_ns)

    def chunks(self) -> Iterator[Chunk]:
        """A chunk a file."""
        for channel, files in sorted(self._files.items()):
            tables = Tables(channels=[channel])
            if channel.stream == "candles":
                for file in files:
                    yield Chunk(tables, np.zeros(0, EVENT), self._candles(file))
                continue
            breaks = gap_rows(self._catalogue, exchange=channel.venue, instrument=channel.symbol)
            live, done = False, -1
            runs = [_run(file) for file in files]
            for file, run, next_run in zip(files, runs, [*runs[1:], -1], strict=True):
                rows = _from_where_it_was(self._catalogue.events(file), file, live)
                if run != next_run:
                    rows = _without_end(rows)
                own = [
                    {**gap, "channel": 0}
                    for gap in breaks
                    if (gap["channel_row"], gap["seq"] >> _RUN_BITS) == (file.row, run)
                    and done < gap["seq"] <= file.last_seq
                ]
                rows["channel"] = 0
                rows, done = with_breaks(rows, own), file.last_seq
                live = _is_live(rows, live)
                yield Chunk(tables, rows, [])

    def _candles(self, file: File) -> list[dict[str, Any]]:
        """Rows of a file as those of a candles stream."""
        rows = self._catalogue.table(file).to_pylist()
        if file.channel != "history_candles":
            return [{**row, "channel": 0} for row in rows]
        span_ns = timeframe_ns(_width_of(file))
        self._candles_over_ns = max(self._candles_over_ns, *(row["open_ns"] + span_ns for row in rows))
        return [{**row, "channel": 0, "mts": row["open_ns"] // 10**6} for row in rows]


def _width_of(file: File) -> str:
    """The width of backfilled candles, which stands in their file's name: `backfill-1m-…`."""
    return file.path.rpartition("/")[2].split("-")[1] if file.channel == "history_candles" else ""


def _run(file: File) -> int:
    return file.first_seq >> _RUN_BITS


def _from_where_it_was(rows: NDArray[np.void], file: File, live: bool) -> NDArray[np.void]:
    """`rows` without the book that the day opens with where it goes on from the rows before, or was broken."""
    n = file.checkpoint_rows
    if not n or not len(rows):
        return rows
    broken = int(rows[0]["price"]) & 255 == Proof.BROKEN
    return rows[n:] if live or broken else rows


def _without_end(rows: NDArray[np.void]) -> NDArray[np.void]:
    """`rows`, the last of a run, without what closing its connections made: no book was lost by it."""
    closed = (rows["kind"] == Kind.GAP) & (rows["size"] == BrokenBy.CLOSED)
    return rows[:-1] if len(rows) and closed[-1] else rows


def _is_live(rows: NDArray[np.void], live: bool) -> bool:
    marks = np.flatnonzero((rows["kind"] == Kind.RESET) | ends(rows))
    return live if not len(marks) else bool(rows[int(marks[-1])]["kind"] == Kind.RESET)
