"""The backfill job: asks a source for what the lake lacks and commits it span by span, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from data_controller.errors import ConfigError, RestRefused
from data_controller.lake.backfill_sink import DAY_NS, BackfillSink, Series, without
from data_controller.reference.history import CHANNELS, KEYS, Row, Source, What, table_of, width_ns

FLUSH_ROWS = 50_000
FLUSH_S = 60.0
"""A kill costs at most so many rows, or so many seconds, of what was fetched."""
SETTLED_S = 60
"""Trades younger than this may still be joined by others."""


class Job(NamedTuple):
    """What to fetch: `from_ns` included, `to_ns` not."""

    exchange: str
    instrument: str  # as the lake names it: the venue's own symbol
    what: What
    from_ns: int
    to_ns: int
    width: str = ""

    @property
    def series(self) -> Series:
        """Where it goes in the lake."""
        return Series(self.exchange, CHANNELS[self.what], self.instrument, self.width)


def planned(job: Job, now_ns: int) -> Job:
    """`job` cut to what can be final by now; ConfigError where nothing is left of it."""
    if job.from_ns >= job.to_ns:
        raise ConfigError("expected --from before --to, was not")
    if job.from_ns < 0:
        raise ConfigError("expected --from in 1970 or later, was before")
    if job.what == "candles":
        width = width_ns(job.width)
        # A candle belongs to the span that its opening lies in, and counts once it has closed.
        limit = now_ns // width * width - width + 1
    else:
        limit = now_ns - SETTLED_S * 10**9
    if job.from_ns >= limit:
        raise ConfigError("expected --from in the past, far enough for something to be final, was not")
    return job._replace(to_ns=min(job.to_ns, limit))


async def backfill(
    job: Job,
    source: Source,
    sink: BackfillSink,
    progress: Callable[[int, int], None] = lambda done_ns, rows: None,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Fetch and commit what the lake lacks of `job`; returns counts. Raises RestError and TableError.

    What was committed before an error, or before a kill, stays and is not asked for again. `progress` hears of spans
    done, in nanoseconds of history, and of rows with them.
    """
    series = job.series
    result = {"rows": 0, "pages": 0, "duplicates": 0, "outside": 0, "commits": 0, "recovered": 0}
    with sink.only_writer(series):
        result["recovered"] = sink.recover(series)
        missing = without((job.from_ns, job.to_ns), sink.covered(series))
        had_ns = job.to_ns - job.from_ns - sum(b - a for a, b in missing)
        progress(had_ns, 0)
        for from_ns, to_ns in missing:
            writer = _Writer(job, sink, source.name, from_ns, to_ns, result, progress, monotonic)
            async for page in source.pages(from_ns, to_ns):
                result["pages"] += 1
                writer.take(page.rows, page.complete_to_ns)
            writer.end()
    about = {"exchange": job.exchange, "instrument": job.instrument, "what": job.what, "source": source.name}
    return (
        about
        | ({"width": job.width} if job.width else {})
        | {
            "from_ns": job.from_ns,
            "to_ns": job.to_ns,
            "already_there_ns": had_ns,
            **result,
        }
    )


class _Writer:
    """Gathers the rows of one missing span and commits them in order of time."""

    def __init__(
        self,
        job: Job,
        sink: BackfillSink,
        source: str,
        from_ns: int,
        to_ns: int,
        result: dict[str, int],
        progress: Callable[[int, int], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._job = job
        self._sink = sink
        self._source = source
        self._at = from_ns  # committed up to here
        self._complete = from_ns
        self._to = to_ns
        self._result = result
        self._progress = progress
        self._monotonic = monotonic
        self._time, self._key = KEYS[job.what]
        self._rows: dict[tuple[Any, ...], Row] = {}
        self._flushed_s = monotonic()

    def take(self, rows: Any, complete_to_ns: int) -> None:
        """A page."""
        for row in rows:
            key = tuple(row[name] for name in self._key)
            if not self._at <= row[self._time] < self._to:
                self._result["outside"] += 1
            elif key in self._rows:
                self._result["duplicates"] += 1
                self._same(self._rows[key], row)
            else:
                self._rows[key] = row
        if complete_to_ns < self._complete:
            raise RestRefused(f"expected pages in order of time, was one back at {complete_to_ns}")
        self._complete = min(complete_to_ns, self._to)
        if len(self._rows) >= FLUSH_ROWS or self._monotonic() - self._flushed_s >= FLUSH_S:
            self._flush()

    def end(self) -> None:
        """No page follows."""
        if self._complete < self._to:
            raise RestRefused(f"expected pages to {self._to}, was none behind {self._complete}")
        self._flush()

    def _same(self, one: Row, other: Row) -> None:
        if one != other:
            raise RestRefused(f"expected one row of {self._job.what} for each key, was {one} and {other}")

    def _flush(self) -> None:
        """Commit all that is complete, day by day."""
        self._flushed_s = self._monotonic()
        if self._complete == self._at:
            return
        time = self._time
        ready = sorted((row for row in self._rows.values() if row[time] < self._complete), key=self._order)
        self._rows = {key: row for key, row in self._rows.items() if row[time] >= self._complete}
        first = 0
        while self._at < self._complete:
            end_ns = min(self._complete, (self._at // DAY_NS + 1) * DAY_NS)
            last = first
            while last < len(ready) and ready[last][time] < end_ns:
                last += 1
            table = table_of(self._job.what, ready[first:last])
            about = {"from": self._source}
            self._sink.write(self._job.series, table, time, (self._at, end_ns), about)
            self._result["commits"] += 1
            self._result["rows"] += last - first
            self._progress(end_ns - self._at, last - first)
            self._at, first = end_ns, last

    def _order(self, row: Row) -> tuple[Any, ...]:
        # Ids are numbers at most venues: in their order within a moment, not in that of their text.
        ref = str(row.get("id", ""))
        return row[self._time], len(ref), ref
