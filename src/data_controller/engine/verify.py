"""Verify: a replay that stops at the books, over journals read whole, damage and all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from data_controller.engine.replay import MERGE_RECORDS, Replay
from data_controller.engine.summary import summary_of
from data_controller.journal.reader import Reader
from data_controller.market.layout import Proof
from data_controller.pipeline.pipeline import Pipeline

_KEYS = ("frames", "events", "starts", "instruments", "unknown_deletes", "crossed", "quarantined", "trades")


def verify(paths: Iterable[Path], on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """What was checked; `ok` is False where a checksum differs, a sequence has a gap, or bytes are damaged.

    Damage is reported in `damages`, not raised; JournalError where a path is no journal.
    """
    runner = Replay(record_only=True)
    reader = Reader([Path(path) for path in paths], on_damage="report", merge=MERGE_RECORDS)
    records = 0
    for batch in reader:
        n = len(batch.recv_ns)
        runner.feed(batch, 0, n)
        records += n
        if on_progress is not None:
            on_progress(n)
    summary, totals = summary_of(runner.pipeline), runner.pipeline.totals()
    bad, gaps = summary["checksums_bad"], summary["sequence_gaps"]
    return {
        "ok": not (bad or gaps or reader.damages),
        "checksums_ok": summary["checksums_ok"],
        "checksums_bad": bad,
        "sequence_gaps": gaps,
        "damages": [str(damage) for damage in reader.damages],
        "records": records,
        "array_frames": totals.get("frames", 0) - totals.get("envelopes", 0),
        **{key: summary[key] for key in _KEYS},
        "books": book_states(runner.pipeline),
    }


def book_states(pipeline: Pipeline) -> list[dict[str, Any]]:
    """How each book of the last start stands."""
    states = []
    for row, channel in enumerate(pipeline.tables.channels[: len(pipeline.books.books)]):
        book = pipeline.books.books[row]
        if book["depth"]:
            states.append(
                {
                    "symbol": channel.symbol,
                    "precision": channel.precision,
                    "proof": Proof(pipeline.proofs()[row]).name,
                    "checks_ok": int(book["checks_ok"]),
                    "checks_bad": int(book["checks_bad"]),
                    "gaps": int(book["gaps"]),
                }
            )
    return states
