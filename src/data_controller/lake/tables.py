"""Append-only tables: what leaves the engine, as Arrow streams written on a thread that the loop never waits for."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_controller.errors import DataControllerError, JournalError, TableError
from data_controller.journal.files import DirectoryLock, DiskFile
from data_controller.journal.format import Encoder, SegmentName, with_header
from data_controller.journal.recovery import QUARANTINE, end_segment
from data_controller.journal.segment import Hole, Opener, SegmentBytes, SegmentWriter
from data_controller.lake.columns import Rows, schema_of, to_record_batch
from data_controller.market.rows import copy_rows

TABLE_VERSION = 1
SEGMENT_BYTES = 64 << 20
TABLE_GAPS = "table_gaps"
"""The table of what other tables lost: `table`, `rows` dropped, `row` before which they would have stood, `reason`."""
_GAP_SCHEMA = pa.schema(
    [("table", pa.string()), ("row", pa.int64()), ("rows", pa.int64()), ("reason", pa.string())],
)


def segments_of(directory: Path, name: str) -> list[Path]:
    """The segment files of table `name` in the order they were written."""
    folder = directory / name
    if not folder.is_dir():
        return []
    parsed = ((SegmentName.parse(path.name), path) for path in folder.iterdir())
    return [path for segment, path in sorted((s, p) for s, p in parsed if s is not None and s.name == name)]


class TableWriter:
    """Appends batches to one table; each start begins a new segment. Not thread-safe: one thread owns it.

    Rows are numbered from 0 within a segment. What a dead writer left open is cut and closed as the journal's is.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        schema: pa.Schema | None = None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        zstd_level: int = 1,
        opener: Opener = DiskFile,
    ) -> None:
        """Without `schema` the first rows decide it. Raises TableError where the name or the disk refuses."""
        self.name = name
        self.schema = schema
        self.rows = 0  # appended by this writer
        self.bytes = 0  # in segments it has ended
        self._folder = directory / name
        self._segment_bytes = segment_bytes
        self._zstd_level = zstd_level
        self._opener = opener
        self._segment: SegmentWriter | None = None
        if SegmentName.parse(str(SegmentName(name, 0, 1))) is None:
            raise TableError(f"expected a table name of a-z, 0-9 and _, was {name!r}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._number = 0
            for path in segments_of(directory, name):
                parsed = SegmentName.parse(path.name)
                assert parsed is not None
                self._number = max(self._number, parsed.number)
                if parsed.open:
                    end_segment(path, self._folder / QUARANTINE)
        except (OSError, JournalError) as error:
            raise TableError(f"expected to open table {name} in {directory}, was: {error}") from error

    def append(self, rows: Rows) -> int:
        """Append `rows`; returns how many. Raises TableError, the table is then as it was."""
        if len(rows) == 0:
            return 0
        batch = to_record_batch(rows, self.schema)
        self.schema = batch.schema
        try:
            if self._segment is None:
                self._number += 1
                header = {
                    "kind": "table",
                    "version": str(TABLE_VERSION),
                    "name": self.name,
                    "number": str(self._number),
                }
                encoder = Encoder(with_header(batch.schema, header), self._zstd_level)
                path = self._folder / str(SegmentName(self.name, 0, self._number))
                self._segment = SegmentWriter(path, encoder, self._opener)
            self._segment.append(batch, self._segment.rows)
            self.rows += batch.num_rows
            if self._segment.bytes >= self._segment_bytes:
                self._end()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise TableError(f"expected to append to table {self.name}, was: {error}") from error
        return len(rows)

    def _end(self) -> None:
        if self._segment is not None:
            segment, self._segment = self._segment, None
            segment.finish()
            self.bytes += segment.bytes

    def close(self) -> None:
        """End the open segment, durably; raises TableError."""
        try:
            self._end()
        except OSError as error:
            raise TableError(f"expected to close table {self.name}, was: {error}") from error


@dataclass(slots=True)
class TableCounters:
    """What became of a table's rows."""

    written: int = 0
    dropped: int = 0  # the queue was full
    refused: int = 0  # they did not fit the schema, or the disk failed
    last_error: str = ""
    unsaid: dict[str, int] = field(default_factory=dict)  # reason -> rows lost that table_gaps does not hold yet


class Later:
    """Rows that the writer thread makes: `make()` returns `n` of them from values that do not change any more."""

    __slots__ = ("_make", "_n")

    def __init__(self, n: int, make: Callable[[], Rows]) -> None:
        self._n = n
        self._make = make

    def __len__(self) -> int:
        return self._n

    def made(self) -> Rows:
        """The rows."""
        return self._make()


class Tables:
    """All tables of a directory behind one thread. `tell` never waits: a full queue drops, counts and leaves a gap row.

    Tables are computed from the journal and can be made again, so they are written every `flush_interval_s` and fsynced
    when a segment ends.
    """

    def __init__(
        self,
        directory: Path,
        schemas: Mapping[str, pa.Schema | np.dtype[Any]] | None = None,
        *,
        capacity_rows: int = 1 << 18,
        flush_interval_s: float = 1.0,
        on_error: Callable[[str, DataControllerError], None] = lambda table, error: None,
        opener: Opener = DiskFile,
    ) -> None:
        """Tables not in `schemas` take the one of their first rows. `on_error` runs on the writer thread.

        Raises TableError where the directory cannot be used.
        """
        self.capacity = capacity_rows
        self.peak = 0  # most rows that waited at once
        self.counters: dict[str, TableCounters] = {}
        self._schemas: dict[str, pa.Schema] = {TABLE_GAPS: _GAP_SCHEMA}
        for name, schema in (schemas or {}).items():
            self._schemas[name] = schema_of(schema) if isinstance(schema, np.dtype) else schema
        self._directory = directory
        self._flush_interval_s = flush_interval_s
        self._on_error = on_error
        self._opener = opener
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = DirectoryLock(directory)
        except (OSError, JournalError) as error:
            raise TableError(f"expected to write tables in {directory}, was: {error}") from error
        self._writers: dict[str, TableWriter] = {}
        self._queue: deque[tuple[str, Rows | Later]] = deque()
        self._waiting_rows = 0
        self._taken = 0  # batches told
        self._done = 0  # batches written or refused
        self._hurry = False
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run_thread, name="tables", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Rows that wait."""
        return self._waiting_rows

    def tell(self, table: str, rows: Rows | Later) -> bool:
        """Append `rows` to `table` soon; False where the queue was full and they were dropped.

        An array is copied; a list of dicts must not change afterwards. `Later` rows are made on the writer thread.
        """
        n = len(rows)
        counters = self.counters.get(table)
        if counters is None:
            counters = self.counters[table] = TableCounters()
        own = copy_rows(rows) if isinstance(rows, np.ndarray) else rows
        with self._change:
            if self._closing or self._waiting_rows + n > self.capacity:
                counters.dropped += n
                reason = "the queue was full" if not self._closing else "the tables were closed"
                counters.unsaid[reason] = counters.unsaid.get(reason, 0) + n
                return False
            self._queue.append((table, own))
            self._taken += 1
            self._waiting_rows += n
            self.peak = max(self.peak, self._waiting_rows)
        return True

    def flush(self, timeout_s: float = 30.0) -> None:
        """Return when all that was told so far is in its file; raises TableError where that takes longer."""
        with self._change:
            target = self._taken
            self._hurry = True
            self._change.notify_all()
            if not self._change.wait_for(lambda: self._done >= target, timeout_s):
                raise TableError(f"expected the tables to be written within {timeout_s} s, were not")

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits, end all segments, end the thread; idempotent. Raises TableError where that takes longer."""
        with self._change:
            if self._closing:
                return
            self._closing = True
            self._change.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TableError(f"expected the tables to close within {timeout_s} s, were not")
        self._lock.release()

    def _run_thread(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._hurry or self._closing, self._flush_interval_s)
                self._hurry = False
                closing = self._closing
                taken = list(self._queue)
                self._queue.clear()
                done = self._done + len(taken)
            made = [(table, rows.made() if isinstance(rows, Later) else rows) for table, rows in taken]
            for table, rows in _merged(made):
                self._append(table, rows)
            self._write_gaps()
            with self._change:
                self._waiting_rows -= sum(len(rows) for _, rows in taken)
                self._done = done
                self._change.notify_all()
            if closing:
                break
        for table, writer in self._writers.items():
            with self._said(table, 0):
                writer.close()

    @contextlib.contextmanager
    def _said(self, table: str, rows: int) -> Any:
        """Whatever goes wrong with one table is counted and told, and does not touch the others."""
        try:
            yield
        except Exception as raised:
            error = raised if isinstance(raised, DataControllerError) else TableError(f"{table}: {raised}")
            counters = self.counters.setdefault(table, TableCounters())
            counters.refused += rows
            counters.last_error = str(error)
            if rows and table != TABLE_GAPS:
                reason = str(error)[:200]
                with self._change:
                    counters.unsaid[reason] = counters.unsaid.get(reason, 0) + rows
            with contextlib.suppress(Exception):
                self._on_error(table, error)

    def _append(self, table: str, rows: Rows) -> None:
        with self._said(table, len(rows)):
            writer = self._writers.get(table)
            if writer is None:
                writer = TableWriter(self._directory, table, self._schemas.get(table), opener=self._opener)
                self._writers[table] = writer
            self.counters.setdefault(table, TableCounters()).written += writer.append(rows)

    def _write_gaps(self) -> None:
        gaps = []
        for table, counters in list(self.counters.items()):
            with self._change:
                unsaid, counters.unsaid = counters.unsaid, {}
            gaps += [
                {"table": table, "row": counters.written, "rows": rows, "reason": reason}
                for reason, rows in unsaid.items()
            ]
        if gaps:
            self._append(TABLE_GAPS, gaps)


def _merged(taken: list[tuple[str, Rows]]) -> list[tuple[str, Rows]]:
    """Batches of one table and form as one, each table's rows in their order."""
    groups: dict[str, list[Rows]] = {}
    merged: list[tuple[str, Rows]] = []
    for table, rows in taken:
        groups.setdefault(table, []).append(rows)
    for table, parts in groups.items():
        run: list[Rows] = []
        for part in [*parts, None]:
            if run and (part is None or _form(part) != _form(run[-1])):
                merged.append((table, _joined(run)))
                run = []
            if part is not None:
                run.append(part)
    return merged


def _form(rows: Rows) -> Any:
    return rows.dtype if isinstance(rows, np.ndarray) else "dicts"


def _joined(parts: list[Rows]) -> Rows:
    if isinstance(parts[0], np.ndarray):
        arrays = cast(list[NDArray[Any]], parts)
        # As bytes: numpy joins structured rows field by field, with the interpreter's lock held.
        return np.concatenate([array.view(np.uint8) for array in arrays]).view(arrays[0].dtype)
    return [row for part in parts for row in part]


def read_table(directory: Path, name: str, *, damages: list[str] | None = None) -> pa.Table:
    """All rows of table `name`, in order; columns that a segment lacks are null there.

    Raises TableError where there is no such table, and where it is damaged unless a list for `damages` is given; the
    torn tail of a segment still open is left out silently.
    """
    paths = segments_of(directory, name)
    if not paths:
        raise TableError(f"expected a table {name} in {directory}, was none")
    segments = (list(_batches(path, damages)) for path in paths)
    tables = [pa.Table.from_batches(batches).replace_schema_metadata(None) for batches in segments if batches]
    try:
        return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})
    except pa.ArrowException as error:
        raise TableError(f"expected columns of one type in all segments of {name}, was: {error}") from error


def column_of(directory: Path, name: str, column: str) -> Iterator[NDArray[Any]]:
    """One column of table `name`, a piece at a time, in order; nothing of what is damaged or lacks it.

    Holds one segment at most, whatever else is in the table. Raises TableError where a segment is no table's.
    """
    for path in segments_of(directory, name):
        for batch in _batches(path, []):
            if column in batch.schema.names:
                yield batch.column(column).to_numpy(zero_copy_only=False)


def _batches(path: Path, damages: list[str] | None) -> Iterator[pa.RecordBatch]:
    """Batches of one segment; see `read_table`."""
    is_open = path.name.endswith(".open")
    if is_open and not path.exists():  # it was closed since it was listed
        path, is_open = path.with_name(path.name.removesuffix(".open")), False
    if is_open and path.stat().st_size == 0:
        return
    try:
        content = SegmentBytes(path)
    except JournalError as error:
        raise TableError(str(error)) from error
    if content.header is not None and content.header.get("kind") != "table":
        raise TableError(f"expected a table's segment, was a {content.header.get('kind')} file: {path}")
    if content.header is not None and int(content.header["version"]) > TABLE_VERSION:
        raise TableError(
            f"expected a table of version {TABLE_VERSION} or older, was {content.header['version']} ({path}): "
            "read it with the release that wrote it, or a newer one"
        )
    holes: list[Hole] = []
    for item in content:
        if isinstance(item, Hole):
            holes.append(item)
            continue
        _report(path, holes, damages)
        holes.clear()
        yield item.batch
    if not is_open:
        _report(path, holes, damages)


def _report(path: Path, holes: list[Hole], damages: list[str] | None) -> None:
    for hole in holes:
        text = f"expected whole batches, was damage in {path} at {hole.start} to {hole.stop}: {hole.reason}"
        if damages is None:
            raise TableError(text)
        damages.append(text)
