"""Where a backfill's rows go: Parquet files in the lake's partitions, each with a commit that says what it covers."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from data_controller.errors import JournalError, LakeError
from data_controller.journal.files import DirectoryLock
from data_controller.lake.layout import COMMITS, DAY_NS, date_of
from data_controller.lake.store import Store

VERSION = 1
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
    """A lake. A file is written whole, then its commit; what is committed is never asked for again.

    A crash between the two leaves a whole file without a commit: `recover` gives it one, from what it says of itself.
    `locks` is a local folder for what keeps two jobs apart; without one it is the lake itself, which must be local.
    """

    def __init__(self, lake: Store | Path, locks: Path | None = None) -> None:
        self._store = Store(str(lake)) if isinstance(lake, Path) else lake
        self._locks = locks or Path(self._store.path(f"{COMMITS}/_backfill"))

    @contextmanager
    def only_writer(self, series: Series) -> Iterator[None]:
        """Be the only one of this machine to backfill `series`; LakeError where another process does."""
        folder = self._locks / series.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = DirectoryLock(folder)
        except (OSError, JournalError) as error:
            raise LakeError(f"expected to be the only backfill of {series.name}, was: {error}") from error
        with lock:
            yield

    def covered(self, series: Series) -> list[Span]:
        """What is committed of `series`, merged, in order; LakeError where a commit cannot be read."""
        spans = []
        for name in self._store.names(COMMITS):
            if not name.startswith(f"{COMMITS}/backfill-{series.name}-") or not name.endswith(".json"):
                continue
            source = self._read(name)["source"]
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
        files = []
        if table.num_rows:
            buffer = io.BytesIO()
            marked = table.replace_schema_metadata({_COVERS: json.dumps(about).encode()})
            pq.write_table(marked, buffer, compression="zstd", write_statistics=True)
            content = buffer.getvalue()
            name = f"{_folder(series)}/date={date_of(from_ns)}/{_stem(series)}-{from_ns:019d}.parquet"
            self._store.put(name, content)
            files.append(_entry(name, content, table, key))
        self._commit(series, about, files)

    def recover(self, series: Series) -> int:
        """Commit the files of `series` that a crash left without a commit; returns how many."""
        done = 0
        committed = set(self._store.names(COMMITS))
        for name in self._store.names(_folder(series)):
            match = re.fullmatch(rf"{re.escape(_stem(series))}-(\d{{19}})\.parquet", name.rpartition("/")[2])
            if match is None or _commit_name(series, int(match[1])) in committed:
                continue
            content = self._store.read(name).to_pybytes()
            try:
                table = pq.read_table(io.BytesIO(content))
                about = json.loads((table.schema.metadata or {})[_COVERS])
                entry = _entry(name, content, table, about["key"])
            except (OSError, pa.ArrowException, KeyError, ValueError) as error:
                raise LakeError(f"expected a whole file without a commit, was damage in {name}: {error}") from error
            self._commit(series, about, [entry])
            done += 1
        return done

    def _commit(self, series: Series, about: dict[str, Any], files: list[dict[str, Any]]) -> None:
        content = json.dumps({"version": VERSION, "source": about, "files": files}, indent=1).encode()
        self._store.put(_commit_name(series, int(about["from_ns"])), content)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            commit: dict[str, Any] = json.loads(self._store.read(name).to_pybytes())
            if commit["version"] != VERSION:
                raise ValueError(f"version {commit['version']}")
            commit["source"]["series"]
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(f"expected a commit of version {VERSION}, was damage in {name}: {error}") from error
        return commit


def _entry(name: str, content: bytes, table: pa.Table, key: str) -> dict[str, Any]:
    column = table.column(key)
    return {
        "path": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": table.num_rows,
        "bytes": len(content),
        "first_key": column[0].as_py(),
        "last_key": column[-1].as_py(),
    }


def _commit_name(series: Series, from_ns: int) -> str:
    return f"{COMMITS}/backfill-{series.name}-{from_ns:019d}.json"


def _folder(series: Series) -> str:
    named = zip(
        ("exchange", "channel", "instrument"), (series.exchange, series.channel, series.instrument), strict=True
    )
    return "/".join(f"{key}={quote(value, safe='')}" for key, value in named)


def _stem(series: Series) -> str:
    return f"backfill-{series.width}" if series.width else "backfill"


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
