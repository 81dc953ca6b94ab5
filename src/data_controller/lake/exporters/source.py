"""Chunks of a lake, file by file: what exporters take of it is what they would take of the journals it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_controller.errors import LakeError
from data_controller.lake.catalogue import Catalogue, File
from data_controller.lake.exporters._base import DAY_NS, Chunk, ends, with_breaks
from data_controller.lake.gaps import gap_rows, runs_of
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
_OVER_NS = (1 << 63) - 1


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
        rows: dict[tuple[str, str, int, int], Channel] = {}  # exchange, instrument, run, row of its channel table
        candles: list[File] = []
        for file in catalogue.files(exchange=which.exchange or None, instrument=which.instrument or None):
            if file.channel not in _STREAMS:
                continue
            late = bool(which.last_day) and file.date > which.last_day
            wanted = file.date >= which.first_day and not late
            channel = _channel_of(file)
            if file.events:
                rows[file.exchange, file.instrument, _run(file), file.row] = channel
            if wanted and file.channel == "candles" and not file.events:
                candles.append(file)
            elif wanted:
                self._files.setdefault(channel, []).append(file)
        self._candles: dict[Channel, list[tuple[File, int]]] = {}  # files of candles are of all widths: which row it is
        for (exchange, instrument, run, row), channel in rows.items():
            for file in candles if channel.stream == "candles" else ():
                if (file.exchange, file.instrument, _run(file)) == (exchange, instrument, run):
                    self._candles.setdefault(channel, []).append((file, row))
        if not self._files and not self._candles:
            asked = ", ".join(f"{name} {value}" for name, value in which._asdict().items() if value) or "it"
            raise LakeError(f"expected books, trades or candles of {asked} in the lake, was none: look with `ls`")
        used = [file for files in self._files.values() for file in files] + candles
        self._begin_ns, _ = _span_of(which.first_day or min(file.date for file in used))
        _, stop_ns = _span_of(max(file.date for file in used))
        self._known_ns = max(file.last_recv_ns for file in used)
        runs = [run for run in runs_of(catalogue) if run.first_ns <= stop_ns]
        self._ended_ns = {run.number: min(run.last_ns, stop_ns) for run in runs}

    @property
    def last_recv_ns(self) -> int:
        """When the last record arrived whose rows are in the slice, whatever it was of."""
        return max(self._known_ns, *self._ended_ns.values(), 0)

    def chunks(self) -> Iterator[Chunk]:
        """A chunk a file, and an empty one where a run of its channel ended."""
        for channel in sorted({*self._files, *self._candles}):
            tables, none = Tables(channels=[channel]), np.zeros(0, EVENT)
            files, candles = self._files.get(channel, []), self._candles.get(channel, [])
            gaps = gap_rows(self._catalogue, exchange=channel.venue, instrument=channel.symbol)
            for run in sorted({_run(file) for file in (*files, *(file for file, _ in candles))}):
                own = [file for file in files if _run(file) == run]
                for rows in self._rows([file for file in own if file.events], gaps):
                    yield Chunk(tables, rows, [])
                for file, row in [*candles, *((file, -1) for file in own if not file.events)]:
                    if _run(file) == run:
                        yield Chunk(tables, none, self._candle_rows(file, row))
                if run in self._ended_ns:
                    yield Chunk(tables, none, [], self._ended_ns[run])

    def _rows(self, files: list[File], gaps: list[dict[str, Any]]) -> Iterator[NDArray[np.void]]:
        """The rows of files of one run and channel, with what broke it there."""
        live, done = False, -1
        for at, file in enumerate(files):
            rows = _from_where_it_was(self._catalogue.events(file), file, live)
            last = at == len(files) - 1
            if last and file.channel == "book":
                rows = _without_end(rows)
            own = [
                {**gap, "channel": 0}
                for gap in gaps
                if (gap["channel_row"], gap["seq"] >> _RUN_BITS) == (file.row, _run(file))
                and done < gap["seq"]
                and (gap["seq"] <= file.last_seq or last)
                and self._begin_ns <= gap["recv_ns"] <= self._ended_ns.get(_run(file), gap["recv_ns"])
            ]
            rows["channel"] = 0
            rows, done = with_breaks(rows, own), file.last_seq
            live = _is_live(rows, live)
            yield rows

    def _candle_rows(self, file: File, row: int) -> list[dict[str, Any]]:
        """Rows of a file as those of a candles stream: of row `row` of the channel table, or all that were backfilled.

        What was backfilled was over when it was asked for.
        """
        found = self._catalogue.table(file).to_pylist()
        if row >= 0:
            return [{**candle, "channel": 0} for candle in found if candle["channel_row"] == row]
        return [{**candle, "channel": 0, "mts": candle["open_ns"] // 10**6, "recv_ns": _OVER_NS} for candle in found]


def _channel_of(file: File) -> Channel:
    width = file.precision or _width_of(file)
    return Channel(file.exchange, file.instrument, _STREAMS[file.channel], width, file.frequency, file.length)


def _span_of(day: str) -> tuple[int, int]:
    """The first and the last nanosecond of a UTC day."""
    begin_ns = int(np.datetime64(day, "D").astype("datetime64[ns]").astype(np.int64))
    return begin_ns, begin_ns + DAY_NS - 1


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
