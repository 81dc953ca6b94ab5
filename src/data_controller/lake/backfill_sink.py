"""Where a backfill's rows go: Parquet files in the lake's partitions, each with a commit that says what it covers."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from data_controller.errors import JournalError, TableError
from data_controller.journal.files import DirectoryLock, replace_durably, sync_directory

COMMITS = "_commits"
VERSION = 1
DAY_NS = 86_400 * 10**9
_COVERS = b"backfill"  # key of a file's own metadata: its commit's source

Span = tuple[int, int]
"""From (included) to (not included), Unix ns."""


class Series(NamedTuple):
    """What is backfilled: one stream of one instrument; `width` is a candle's, else empty."""

    exchange: str
    channel: str
    instrument: str
    width: str = ""

    @property
    def name(self) -> str:
        """A text for file names that no other series has."""
        return "-".join(quote(part, safe="") for part in self if part)


class BackfillSink:
    """The lake of one folder. A file is written whole, then its commit; what is committed is never asked for again.

    A crash between the two leaves a whole file without a commit: `recover` gives it one, from what it says of itself.
    """

    def __init__(self, lake: Path) -> None:
        self.lake = lake

    @contextmanager
    def only_writer(self, series: Series) -> Iterator[None]:
        """Be the only one to backfill `series`; TableError where another process does."""
        folder = self.lake / COMMITS / "_backfill" / series.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = DirectoryLock(folder)
        except (OSError, JournalError) as error:
            raise TableError(f"expected to be the only backfill of {series.name} in {self.lake}: {error}") from error
        with lock:
            yield

    def covered(self, series: Series) -> list[Span]:
        """What is committed of `series`, merged, in order; TableError where a commit cannot be read."""
        spans = []
        for path in sorted((self.lake / COMMITS).glob(f"backfill-{series.name}-*.json")):
            source = _read(path)["source"]
            if tuple(source["series"]) == tuple(series):
                spans.append((int(source["from_ns"]), int(source["to_ns"])))
        return merged(spans)

    def write(self, series: Series, table: pa.Table, key: str, span: Span, source: dict[str, Any]) -> None:
        """Commit `table`, all that there is of `series` in `span` (within one UTC day), sorted by `key`.

        An empty table commits that there is nothing. Idempotent. `source` says where it came from.
        """
        from_ns, to_ns = span
        if not from_ns < to_ns or from_ns // DAY_NS != (to_ns - 1) // DAY_NS:
            raise ValueError(f"expected a span within one day, was {from_ns} to {to_ns}")
        about = {"kind": "backfill", "series": list(series), "from_ns": from_ns, "to_ns": to_ns, "key": key, **source}
        try:
            files = []
            if table.num_rows:
                buffer = io.BytesIO()
                pq.write_table(
                    table.replace_schema_metadata({_COVERS: json.dumps(about).encode()}),
                    buffer,
                    compression="zstd",
                    write_statistics=True,
                )
                content = buffer.getvalue()
                path = self._path(series, from_ns)
                self._make_folder(path.parent)
                replace_durably(path, content)
                files.append(self._entry(path, content, table, key))
            self._commit(series, about, files)
        except (OSError, pa.ArrowException) as error:
            raise TableError(f"expected to write {series.name} in the lake {self.lake}, was: {error}") from error

    def recover(self, series: Series) -> int:
        """Commit the files of `series` that a crash left without a commit; returns how many."""
        done = 0
        pattern = f"{self._folder(series)}/date=*/{_stem(series)}-*.parquet"
        for path in sorted(self.lake.glob(pattern)):
            from_ns = int(path.stem.rpartition("-")[2])
            if self._commit_path(series, from_ns).exists():
                continue
            try:
                content = path.read_bytes()
                table = pq.read_table(io.BytesIO(content))
                about = json.loads((table.schema.metadata or {})[_COVERS])
            except (OSError, pa.ArrowException, KeyError, ValueError) as error:
                raise TableError(f"expected a whole file without a commit, was damage in {path}: {error}") from error
            self._commit(series, about, [self._entry(path, content, table, about["key"])])
            done += 1
        return done

    def _entry(self, path: Path, content: bytes, table: pa.Table, key: str) -> dict[str, Any]:
        column = table.column(key)
        return {
            "path": path.relative_to(self.lake).as_posix(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "rows": table.num_rows,
            "first_key": column[0].as_py(),
            "last_key": column[-1].as_py(),
        }

    def _commit(self, series: Series, about: dict[str, Any], files: list[dict[str, Any]]) -> None:
        path = self._commit_path(series, int(about["from_ns"]))
        self._make_folder(path.parent)
        replace_durably(path, json.dumps({"version": VERSION, "source": about, "files": files}, indent=1).encode())

    def _commit_path(self, series: Series, from_ns: int) -> Path:
        return self.lake / COMMITS / f"backfill-{series.name}-{from_ns:019d}.json"

    @staticmethod
    def _folder(series: Series) -> str:
        values = (series.exchange, series.channel, series.instrument)
        return "/".join(
            f"{key}={quote(value, safe='')}"
            for key, value in zip(("exchange", "channel", "instrument"), values, strict=True)
        )

    def _path(self, series: Series, from_ns: int) -> Path:
        return self.lake / self._folder(series) / f"date={_date(from_ns)}" / f"{_stem(series)}-{from_ns:019d}.parquet"

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_directory(folder.parent)


def _stem(series: Series) -> str:
    return f"backfill-{series.width}" if series.width else "backfill"


def _date(ns: int) -> str:
    import numpy as np

    return str(np.datetime64(ns // DAY_NS, "D"))


def _read(path: Path) -> dict[str, Any]:
    try:
        commit: dict[str, Any] = json.loads(path.read_bytes())
        if commit["version"] != VERSION:
            raise ValueError(f"version {commit['version']}")
        commit["source"]["series"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"expected a commit of version {VERSION}, was damage in {path}: {error}") from error
    return commit


def merged(spans: list[Span]) -> list[Span]:
    """`spans` in order, those that touch as one."""
    result: list[Span] = []
    for from_ns, to_ns in sorted(spans):
        if result and from_ns <= result[-1][1]:
            result[-1] = (result[-1][0], max(to_ns, result[-1][1]))
        else:
            result.append((from_ns, to_ns))
    return result


def without(span: Span, covered: list[Span]) -> list[Span]:
    """What of `span` is in none of `covered` (merged, in order)."""
    at, end = span
    left = []
    for from_ns, to_ns in covered:
        if to_ns <= at or from_ns >= end:
            continue
        if from_ns > at:
            left.append((at, from_ns))
        at = max(at, to_ns)
    if at < end:
        left.append((at, end))
    return left
