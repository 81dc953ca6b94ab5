"""What all exporters share: rows with their tables, a folder that takes its place whole, where a book ends."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data_controller.errors import TableError
from data_controller.exchanges.rows.frame import text_of
from data_controller.market.layout import BrokenBy
from data_controller.market.rows import EVENT, Control, Flag, Kind
from data_controller.market.tables import Channel, Tables

Report = dict[str, Any]
DAY_NS = 86_400 * 10**9
_SAID_BY_NONE = {by.name for by in BrokenBy} - {"NOTHING", "GAP", "CLOSED", "MAINTENANCE"}


class Chunk(NamedTuple):
    """Rows in their order, with the tables that their channels are rows of.

    Where a book broke for a reason that is no row (a checksum, a cross), a GAP row says so. Where the run is over
    behind this chunk, `ended_ns` is when its last record arrived: nothing was heard from then on.
    """

    tables: Tables
    rows: NDArray[np.void]
    candles: list[dict[str, Any]]
    ended_ns: int = 0


class Exporter(Protocol):
    """Takes chunks, then says what it wrote."""

    def take(self, chunk: Chunk) -> None:
        """Write, or keep, what `chunk` holds."""

    def finish(self, last_recv_ns: int) -> Report:
        """Write the rest; `last_recv_ns` is the arrival of the last record."""
        ...


class DraftFolder:
    """A folder under construction beside `out`; it takes its place at the end or leaves no trace."""

    def __init__(self, out: Path) -> None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise TableError(f"expected a new or empty directory to export into, was taken: {out}: name another")
        self.out = out.resolve()  # `.` has no name of its own
        self.path = self.out.with_name(f".{self.out.name}.export-{os.getpid()}")
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            raise TableError(
                f"expected to make files in {out.parent}, was {error.strerror}: name a folder that can be written"
            ) from error

    def commit(self) -> None:
        """Move it into place."""
        self.path.replace(self.out)

    def discard(self) -> None:
        """Leave no trace."""
        shutil.rmtree(self.path, ignore_errors=True)


def file_name(*parts: str) -> str:
    """The parts joined by `_`, with what a file name should not hold replaced."""
    return "_".join(re.sub(r"[^A-Za-z0-9._-]", "-", part) for part in parts)


def by_channel(chunk: Chunk, wanted: set[str]) -> Iterator[tuple[Channel, NDArray[np.void]]]:
    """Each channel's rows of the streams `wanted`, in their order."""
    rows = chunk.rows
    for row in np.unique(rows["channel"]).tolist():
        if row >= 0 and chunk.tables.channels[row].stream in wanted:
            yield chunk.tables.channels[row], rows[rows["channel"] == row]


def by_fineness(channel: Channel) -> tuple[str, bool, int, str]:
    """Sorts renderings of one stream, the finest and deepest first; a length of 0 is a whole book."""
    return channel.precision, channel.length != 0, -channel.length, channel.frequency


def finest(channels: Iterable[Channel]) -> tuple[set[Channel], list[str]]:
    """The best rendering of each instrument and stream among `channels`, and words about the others."""
    best: dict[tuple[str, str, str], Channel] = {}
    others = []
    for channel in sorted(channels, key=by_fineness):
        kept = best.setdefault((channel.venue, channel.symbol, channel.stream), channel)
        if kept != channel:
            others.append(f"{_named(channel)}: exported is {_named(kept)}")
    return set(best.values()), others


def _named(channel: Channel) -> str:
    words = (channel.venue, channel.symbol, channel.stream, channel.precision, channel.frequency, channel.length or "")
    return " ".join(str(word) for word in words if word)


def ends(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """[rows] True where what was known before is known no more."""
    resubscribed = (rows["kind"] == Kind.CONTROL) & np.isin(rows["ref"], (Control.SUBSCRIBED, Control.UNSUBSCRIBED))
    over: NDArray[np.bool_] = (rows["kind"] == Kind.GAP) | resubscribed
    return over


def unheard_ns(row: Any) -> int:
    """From when on nothing was heard of a channel that row `row`, one of its `ends`, tells of."""
    silent = row["kind"] == Kind.GAP and row["size"] == BrokenBy.SILENT
    return int(row["ref"] if silent else row["recv_ns"])


def with_breaks(rows: NDArray[np.void], gaps: list[dict[str, Any]]) -> NDArray[np.void]:
    """`rows` with a GAP behind the record by which a channel broke, where no row of its own says that it did.

    The `ref` of such a row is since when what the channel said is in doubt.
    """
    breaks = [gap for gap in gaps if gap["reason"] in _SAID_BY_NONE and not gap["ended_ns"]]
    if not breaks:
        return rows
    more = np.zeros(len(breaks), EVENT)
    for row, gap in zip(more, breaks, strict=True):
        row["seq"], row["recv_ns"], row["channel"] = gap["seq"], gap["recv_ns"], gap["channel"]
        row["kind"], row["flags"], row["size"] = Kind.GAP, Flag.LAST, BrokenBy[gap["reason"]]
        row["ref"] = gap["since_ns"]
    at = np.searchsorted(rows["seq"], more["seq"], side="right")
    return np.insert(rows.view("V64"), at, more.view("V64")).view(EVENT)


def floats(digits: NDArray[np.int64], scale: NDArray[np.int8]) -> NDArray[np.float64]:
    """`digits / 10**scale`, correctly rounded below 2**53 digits."""
    return digits.astype(np.float64) / np.power(10.0, scale.astype(np.int64))


def price_text(row: Any) -> str:
    """The wire text of a row's price."""
    return text_of(int(row["price"]), int(row["price_scale"]), bool(row["flags"] & Flag.PRICE_EXPONENT))


def size_text(row: Any) -> str:
    """The wire text of a row's size."""
    return text_of(int(row["size"]), int(row["size_scale"]), bool(row["flags"] & Flag.SIZE_EXPONENT))
