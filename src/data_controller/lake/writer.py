"""Writes one commit: rows of many channels into Parquet files, then the commit that makes them count."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_controller.lake.catalogue import Catalogue, Commit, File, Source, sealed
from data_controller.lake.layout import EVENT_SCHEMA, PART, Key, event_table, parquet_options, side_tables
from data_controller.lake.store import TEMPORARY, Store
from data_controller.market.rows import EVENT, Flag

ROW_GROUP = 1 << 18
MAX_WAITING_ROWS = 1 << 21
"""Rows of all channels that wait for their row group."""
SIDE_BYTES = 4 << 20
"""Rows of one side table that wait for their row group, by what they hold."""
PART_BYTES = 64 << 20
"""A file ends where it is this large."""

Fault = Callable[[str], None]
"""Where a test lets a step fail; told the step that comes next."""


def no_fault(step: str) -> None:
    """Nothing fails."""


class _Part:
    """A file in the making, whole in memory until it is put."""

    def __init__(self, schema: pa.Schema, *, events: bool) -> None:
        self.schema = schema
        self.sink = pa.BufferOutputStream()
        self.writer = pq.ParquetWriter(self.sink, schema, **parquet_options(schema, events))
        self.rows = 0
        self.seqs: list[int] = []
        self.times: list[int] = []
        self.checkpoint_rows = 0


class Draft:
    """The files of one commit. Until `commit` nobody sees them; after a crash `sweep` takes them away."""

    def __init__(self, store: Store, fault: Fault = no_fault) -> None:
        self.files: list[File] = []
        self.rows: dict[str, int] = {}
        self._refused: dict[Key, tuple[int, int, str]] = {}  # rows that no column takes: how many, the first, why
        self._store = store
        self._fault = fault
        self._waiting: dict[Key, list[NDArray[np.void]]] = {}
        self._waiting_rows: dict[Key, int] = {}
        self._total = 0
        self._parts: dict[Key, _Part] = {}
        self._side: dict[Key, list[Mapping[str, Any]]] = {}
        self._side_bytes: dict[Key, int] = {}
        self._side_parts: dict[Key, _Part] = {}
        self._used: set[str] = set()

    def events(self, key: Key, rows: NDArray[np.void]) -> None:
        """Append EVENT rows, which must not change any more, to the file of `key`."""
        n = len(rows)
        if not n:
            return
        self._waiting.setdefault(key, []).append(rows)
        waiting = self._waiting_rows[key] = self._waiting_rows.get(key, 0) + n
        self._total += n
        self._count(key, n)
        if waiting >= ROW_GROUP:
            self._flush(key)
        elif self._total >= MAX_WAITING_ROWS:
            for other in list(self._waiting):
                self._flush(other)

    def side(self, key: Key, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows of a side table."""
        waiting = self._side.setdefault(key, [])
        for row in rows:
            waiting.append(row)
            n = self._side_bytes[key] = self._side_bytes.get(key, 0) + _bytes_of(row)
            if n >= SIDE_BYTES:
                self._flush_side(key)
                waiting = self._side[key]

    def _count(self, key: Key, n: int) -> None:
        name = f"{key.exchange}/{key.channel}"
        self.rows[name] = self.rows.get(name, 0) + n

    def _flush(self, key: Key) -> None:
        parts = self._waiting.pop(key, [])
        if not parts:
            return
        self._total -= self._waiting_rows.pop(key)
        # As plain bytes: numpy joins structured rows field by field.
        rows = np.concatenate([part.view("V64") for part in parts]).view(EVENT) if len(parts) > 1 else parts[0]
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = _Part(EVENT_SCHEMA, events=True)
        part.writer.write_table(event_table(rows, key), row_group_size=ROW_GROUP)
        part.rows += len(rows)
        part.seqs += [int(rows["seq"][0]), int(rows["seq"][-1])]
        part.times += [int(rows["recv_ns"].min()), int(rows["recv_ns"].max())]
        part.checkpoint_rows += int(np.count_nonzero(rows["flags"] & Flag.CHECKPOINT))
        if part.sink.tell() >= PART_BYTES:
            self._end(key, self._parts.pop(key), events=True)

    def _flush_side(self, key: Key) -> None:
        """Write the side rows that wait; those of other columns than the file has begin the next one."""
        rows, self._side[key], self._side_bytes[key] = self._side.get(key, []), [], 0
        for table, own, why in side_tables(key.channel, rows) if rows else ():
            if table is None:
                self._refuse(key, int(own[0]["seq"]), why)
                continue
            part = self._side_parts.get(key)
            if part is not None and (part.schema != table.schema or part.sink.tell() >= PART_BYTES):
                self._end(key, self._side_parts.pop(key), events=False)
                part = None
            if part is None:
                part = self._side_parts[key] = _Part(table.schema, events=False)
            part.writer.write_table(table)
            part.rows += len(own)
            part.seqs += [int(own[0]["seq"]), int(own[-1]["seq"])]
            part.times += [int(own[0]["recv_ns"]), int(own[-1]["recv_ns"])]
            self._count(key, len(own))

    def _end(self, key: Key, part: _Part, *, events: bool) -> None:
        part.writer.close()
        content = part.sink.getvalue()
        first = part.seqs[0]
        name = f"{key.folder}/part-{first:019d}-{key.row}.parquet"
        again = 1
        while name in self._used:  # two files of one record: a day's checkpoint, then rows behind a full file
            again += 1
            name = f"{key.folder}/part-{first:019d}-{key.row}-{again}.parquet"
        self._used.add(name)
        self._fault("file")
        self._store.put(name, content)
        self.files.append(
            File(
                path=name,
                sha256=hashlib.sha256(content).hexdigest(),
                rows=part.rows,
                bytes=content.size,
                exchange=key.exchange,
                channel=key.channel,
                instrument=key.instrument,
                date=key.date,
                precision=key.precision,
                frequency=key.frequency,
                length=key.length,
                row=key.row,
                first_seq=first,
                last_seq=part.seqs[-1],
                first_recv_ns=min(part.times),
                last_recv_ns=max(part.times),
                checkpoint_rows=part.checkpoint_rows,
                events=events,
            )
        )

    def _refuse(self, key: Key, seq: int, why: str) -> None:
        n, first, reason = self._refused.get(key, (0, seq, why))
        self._refused[key] = n + 1, first, reason

    @property
    def damages(self) -> list[str]:
        """What was handed over and is in no file."""
        return [
            f"{key.exchange}/{key.channel}: {n} rows are in no file, the first of record {first}, "
            f"as no column takes them: {why}"
            for key, (n, first, why) in self._refused.items()
        ]

    def finish(self) -> None:
        """Write every file that is still open."""
        for key in list(self._waiting):
            self._flush(key)
        for key in list(self._parts):
            self._end(key, self._parts.pop(key), events=True)
        for key in list(self._side):
            self._flush_side(key)
        for key in list(self._side_parts):
            self._end(key, self._side_parts.pop(key), events=False)

    def commit(self, name: str, source: Source, code: str) -> Commit:
        """Make the files count, all at once; returns the commit."""
        commit = Commit(code=code, source=source, files=self.files, rows=dict(sorted(self.rows.items())))
        self._fault("commit")
        self._store.put(name, sealed(commit))
        self._fault("committed")
        return commit


def _bytes_of(row: Mapping[str, Any]) -> int:
    """About what a side row holds."""
    return sum(64 + (len(value) if isinstance(value, (bytes, str)) else 0) for value in row.values())


def sweep(store: Store, catalogue: Catalogue) -> list[str]:
    """Delete what a compactor that died left behind: its files that no commit lists, and drafts; returns their names.

    Files of other jobs are not touched: theirs have other names.
    """
    listed = {file.path for commit in catalogue.commits.values() for file in commit.files}
    swept = []
    for name in store.names():
        base = name.rpartition("/")[2]
        ours = PART.fullmatch(base.removesuffix(TEMPORARY)) is not None
        if ours and name not in listed:
            store.remove(name)
            swept.append(name)
    return swept
