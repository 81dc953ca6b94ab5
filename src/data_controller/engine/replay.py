"""Replay: the journal's records through the same pipeline, with predictions recomputed beside the recorded ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Predict, Tell
from data_controller.config import Config
from data_controller.engine.models import Models
from data_controller.engine.setup import configure_replay
from data_controller.engine.summary import peak_rss_mb, summary_of
from data_controller.engine.tables_out import TablesOut
from data_controller.engine.warm_up import ensure_compiled
from data_controller.journal.reader import journals_of, read
from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import Batch

MERGE_RECORDS = 1 << 16
"""Small batches of a journal are joined up to this many records: decoding is cheapest in long runs."""


class Replay:
    """A pipeline fed from batches; `tables` takes what it tells, None where nobody wants it."""

    def __init__(
        self, override: Config | None = None, tables: TablesOut | None = None, *, record_only: bool = False
    ) -> None:
        self.models = Models()
        configure = configure_replay(self.models.bundle_of, override, record_only=record_only)
        self.pipeline = Pipeline(configure, self._recompute)
        self._tables = tables

    def feed(self, batch: Batch, lo: int, hi: int) -> None:
        """Run records `lo..hi`; the last tick may stay pending until the next call, as its answer may still come."""
        self._perform(self.pipeline.advance(batch, lo, hi))

    def finish(self) -> None:
        """Complete the pending tick."""
        while self.pipeline.pending:
            self._perform(self.pipeline.work())

    def _recompute(self, question: Predict) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        assert self.models.ladder is not None
        reply = self.models.ladder.predict(question.features, question.valid)
        return np.ascontiguousarray(reply.outputs, "<f4"), reply.valid

    def _perform(self, actions: list[Action]) -> None:
        if self._tables is not None:
            for action in actions:
                if isinstance(action, Tell):
                    self._tables.tell(action)


def replay(
    paths: Iterable[Path],
    config: Config | None = None,
    out: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Replay journals (directories or files) in the order given; `out` receives the tables. Returns the summary.

    Raises JournalError where a journal is damaged, ConfigError where `config` does not fit.
    """
    ensure_compiled()
    started = time.perf_counter()
    paths = [Path(path) for path in paths]
    tables = TablesOut(out) if out is not None else None
    runner = Replay(config, tables)
    try:
        for batch in chain.from_iterable(read(journal, merge=MERGE_RECORDS) for journal in journals_of(paths)):
            n = len(batch.recv_ns)
            runner.feed(batch, 0, n)
            if on_progress is not None:
                on_progress(n)
        runner.finish()
    finally:
        if tables is not None:
            tables.close()
    seconds = time.perf_counter() - started
    result = summary_of(runner.pipeline)
    return result | {
        "wire_to_decision_us": None,
        "tick_to_decision_us": None,
        "journal_bytes": sum(_bytes_of(path) for path in paths),
        "peak_rss_mb": peak_rss_mb(),
        "seconds": round(seconds, 3),
        "frames_per_s": round(result["frames"] / seconds) if seconds else None,
    }


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.glob("*.arrows*"))
    return path.stat().st_size
