"""Export: the rows of a lake, or of a replay of journals that stops at the books, go to an exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Tell
from data_controller.engine.models import Models
from data_controller.engine.replay import MERGE_RECORDS
from data_controller.engine.setup import configure_replay
from data_controller.engine.warm_up import ensure_compiled
from data_controller.errors import TableError
from data_controller.journal.reader import journals_of, read
from data_controller.lake.exporters import (
    Chunk,
    DraftFolder,
    Exporter,
    FreqtradeExporter,
    HftbacktestExporter,
    ParquetExporter,
    TardisExporter,
    with_breaks,
)
from data_controller.market.rows import EVENT, copy_rows
from data_controller.market.tables import Tables
from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import SEQ_COUNT_BITS, Batch
from data_controller.records import Kind as Record

TARDIS_TYPES = ("incremental_book_L2", "trades", "book_snapshot_25")


class _Tapped(Pipeline):
    """A pipeline that keeps the rows it applies, save what an orderly end says of books: none was lost by it."""

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
        if rows.stop > rows.start:
            new = copy_rows(rows.array[rows.start : rows.stop])
            self.tapped.append(_of_no_book(new, self.tables) if self._ending else new)
        super()._apply()


class Source(Protocol):
    """Where rows to export come from: journals, or a lake."""

    @property
    def last_recv_ns(self) -> int:
        """When the last record arrived; known once the chunks are through."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """The rows, those of a channel in the order of their records."""
        ...


class JournalSource:
    """The rows of journals (folders or segment files, oldest first); JournalError where one is damaged.

    Runs of a journal whose numbers an earlier one has had are numbered on, so that `seq` keeps the order of all rows.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.last_recv_ns = 0
        self._paths = [Path(path) for path in paths]

    def chunks(self) -> Iterator[Chunk]:
        """A chunk for each engine start in a batch of records, in their order, and an empty one where a run ended."""
        ensure_compiled()
        pipeline = _Tapped()
        run = 0
        for journal in journals_of(self._paths):
            before, more = run, None
            for batch in read(journal, merge=MERGE_RECORDS):
                run = batch.first_seq >> SEQ_COUNT_BITS
                more = max(0, before + 1 - run) if more is None else more
                run += more
                batch.first_seq += more << SEQ_COUNT_BITS
                yield from _chunks(pipeline, batch)
                self.last_recv_ns = max(self.last_recv_ns, int(batch.recv_ns[-1]))


def export_hftbacktest(
    source: Source, out: Path, *, base_latency_ns: int = 0, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write hftbacktest npz files of `source` into the new folder `out`; returns files with their rows."""
    return _export(source, out, lambda folder: HftbacktestExporter(folder, base_latency_ns), on_progress)


def export_tardis(
    source: Source,
    out: Path,
    *,
    types: tuple[str, ...] = TARDIS_TYPES[:2],
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write Tardis CSV files of the `types` of `source` into the new folder `out`; returns files with their rows."""
    if unknown := set(types) - set(TARDIS_TYPES):
        raise TableError(f"expected types out of {', '.join(TARDIS_TYPES)}, was {', '.join(sorted(unknown))}")
    return _export(source, out, lambda folder: TardisExporter(folder, types), on_progress)


def export_freqtrade(
    source: Source, out: Path, *, timeframe: str, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write Freqtrade OHLCV feathers of `source` into the new folder `out`; returns files with their candles."""
    return _export(source, out, lambda folder: FreqtradeExporter(folder, timeframe), on_progress)


def export_parquet(source: Source, out: Path, *, on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Write the event rows of `source` as Parquet into the new folder `out`; returns the file with its rows."""
    return _export(source, out, ParquetExporter, on_progress)


def _export(
    source: Source,
    out: Path,
    make: Callable[[Path], Exporter],
    on_progress: Callable[[int], None] | None,
) -> dict[str, Any]:
    """Raises what the source does, and TableError where `out` is taken or nothing could be written."""
    draft = DraftFolder(out)
    try:
        exporter = make(draft.path)
        rows = 0
        for chunk in source.chunks():
            rows += len(chunk.rows)
            exporter.take(chunk)
            if on_progress is not None:
                on_progress(len(chunk.rows))
        report = exporter.finish(source.last_recv_ns)
        if not report["files"]:
            raise TableError("expected something to export, was nothing of this format in the records")
        draft.commit()
    except BaseException:
        draft.discard()
        raise
    return {"out": str(out), "rows": rows} | report


def _chunks(pipeline: _Tapped, batch: Batch) -> Iterator[Chunk]:
    """The rows of `batch`, in a chunk for each engine start in it: tables begin anew there."""
    n = len(batch.recv_ns)
    starts = np.flatnonzero(batch.kind == Record.START).tolist()
    bounds = sorted({0, *starts, n})
    for lo, hi in pairwise(bounds):
        if lo in starts and pipeline.setup is not None:
            yield Chunk(pipeline.tables, np.zeros(0, EVENT), [], ended_ns=pipeline.now_ns)
        actions = pipeline.advance(batch, lo, hi)
        while pipeline.pending:
            actions += pipeline.work()
        parts, pipeline.tapped = pipeline.tapped, []
        joined = np.concatenate([part.view(np.uint8) for part in parts]).view(EVENT) if parts else np.zeros(0, EVENT)
        candles = [row for action in actions if _told(action, "candles") for row in action.rows]
        gaps = [row for action in actions if _told(action, "gaps") for row in action.rows]
        yield Chunk(pipeline.tables, with_breaks(joined, gaps), candles)


def _of_no_book(rows: NDArray[np.void], tables: Tables) -> NDArray[np.void]:
    other = [row for row, channel in enumerate(tables.channels) if channel.stream != "book"]
    return rows[np.isin(rows["channel"], other)]


def _told(action: Action, table: str) -> TypeGuard[Tell]:
    return isinstance(action, Tell) and action.table == table
