"""Export: a replay that stops at the books, whose rows go to an exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Tell
from data_controller.engine.models import Models
from data_controller.engine.replay import MERGE_RECORDS
from data_controller.engine.setup import configure_replay
from data_controller.engine.warm_up import ensure_compiled
from data_controller.errors import TableError
from data_controller.journal.reader import read
from data_controller.lake.exporters import (
    Chunk,
    DraftFolder,
    Exporter,
    FreqtradeExporter,
    HftbacktestExporter,
    ParquetExporter,
    TardisExporter,
)
from data_controller.market.layout import BrokenBy
from data_controller.market.rows import EVENT, Flag, Kind, copy_rows
from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import Batch
from data_controller.records import Kind as Record

TARDIS_TYPES = ("incremental_book_L2", "trades", "book_snapshot_25")
_SAID_BY_NONE = {by.name for by in BrokenBy} - {"NOTHING", "GAP", "CLOSED", "MAINTENANCE"}


class _Tapped(Pipeline):
    """A pipeline that keeps the rows it applies, save those that an orderly end makes: no book was lost by it."""

    def __init__(self) -> None:
        super().__init__(configure_replay(Models().bundle_of, None, record_only=True))
        self.tapped: list[NDArray[np.void]] = []
        self._ending = False

    def _note_end(self, orderly: bool) -> None:
        super()._note_end(orderly)
        self._ending = orderly

    def _on_connection(self, conn: int, opened: bool) -> None:
        super()._on_connection(conn, opened)
        self._ending = False

    def _apply(self) -> None:
        rows = self.rows
        if rows.stop > rows.start and not self._ending:
            self.tapped.append(copy_rows(rows.array[rows.start : rows.stop]))
        super()._apply()


def export_hftbacktest(
    paths: Iterable[Path], out: Path, *, base_latency_ns: int = 0, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write hftbacktest npz files of `paths` (journals) into the new folder `out`; returns files with their rows."""
    return _export(paths, out, lambda folder: HftbacktestExporter(folder, base_latency_ns), on_progress)


def export_tardis(
    paths: Iterable[Path],
    out: Path,
    *,
    types: tuple[str, ...] = TARDIS_TYPES[:2],
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write Tardis CSV files of the `types` of `paths` into the new folder `out`; returns files with their rows."""
    if unknown := set(types) - set(TARDIS_TYPES):
        raise TableError(f"expected types out of {', '.join(TARDIS_TYPES)}, was {', '.join(sorted(unknown))}")
    return _export(paths, out, lambda folder: TardisExporter(folder, types), on_progress)


def export_freqtrade(
    paths: Iterable[Path], out: Path, *, timeframe: str, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write Freqtrade OHLCV feathers of `paths` into the new folder `out`; returns files with their candles."""
    return _export(paths, out, lambda folder: FreqtradeExporter(folder, timeframe), on_progress)


def export_parquet(
    paths: Iterable[Path], out: Path, *, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write the event rows of `paths` as Parquet into the new folder `out`; returns the file with its rows."""
    return _export(paths, out, ParquetExporter, on_progress)


def _export(
    paths: Iterable[Path],
    out: Path,
    make: Callable[[Path], Exporter],
    on_progress: Callable[[int], None] | None,
) -> dict[str, Any]:
    """Raises JournalError where a journal is damaged, TableError where `out` is taken or nothing could be written."""
    ensure_compiled()
    draft = DraftFolder(out)
    try:
        exporter, pipeline = make(draft.path), _Tapped()
        records = rows = last_recv_ns = 0
        for batch in read([Path(path) for path in paths], merge=MERGE_RECORDS):
            n = len(batch.recv_ns)
            for chunk in _chunks(pipeline, batch):
                rows += len(chunk.rows)
                exporter.take(chunk)
            records, last_recv_ns = records + n, int(batch.recv_ns[n - 1]) if n else last_recv_ns
            if on_progress is not None:
                on_progress(n)
        report = exporter.finish(last_recv_ns)
        if not report["files"]:
            raise TableError("expected something to export, was nothing of this format in the records")
        draft.commit()
    except BaseException:
        draft.discard()
        raise
    return {"out": str(out), "records": records, "rows": rows} | report


def _chunks(pipeline: _Tapped, batch: Batch) -> Iterator[Chunk]:
    """The rows of `batch`, in a chunk for each engine start in it: tables begin anew there."""
    n = len(batch.recv_ns)
    starts = np.flatnonzero(batch.kind == Record.START).tolist()
    bounds = sorted({0, *starts, n})
    for lo, hi in pairwise(bounds):
        actions = pipeline.advance(batch, lo, hi)
        while pipeline.pending:
            actions += pipeline.work()
        parts, pipeline.tapped = pipeline.tapped, []
        joined = np.concatenate([part.view(np.uint8) for part in parts]).view(EVENT) if parts else np.zeros(0, EVENT)
        candles = [row for action in actions if _told(action, "candles") for row in action.rows]
        gaps = [row for action in actions if _told(action, "gaps") for row in action.rows]
        yield Chunk(pipeline.tables, _with_breaks(joined, gaps), candles)


def _told(action: Action, table: str) -> TypeGuard[Tell]:
    return isinstance(action, Tell) and action.table == table


def _with_breaks(rows: NDArray[np.void], gaps: list[dict[str, Any]]) -> NDArray[np.void]:
    """`rows` with a GAP behind the record by which a book broke, where no row of its own says that it did."""
    breaks = [gap for gap in gaps if gap["reason"] in _SAID_BY_NONE and not gap["ended_ns"]]
    if not breaks:
        return rows
    more = np.zeros(len(breaks), EVENT)
    for row, gap in zip(more, breaks, strict=True):
        row["seq"], row["recv_ns"], row["channel"] = gap["seq"], gap["recv_ns"], gap["channel"]
        row["kind"], row["flags"], row["size"] = Kind.GAP, Flag.LAST, BrokenBy[gap["reason"]]
    at = np.searchsorted(rows["seq"], more["seq"], side="right")
    return np.insert(rows.view("V64"), at, more.view("V64")).view(EVENT)
