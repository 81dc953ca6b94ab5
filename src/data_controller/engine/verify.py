"""Verify: a replay that stops at the books, over journals read whole, damage and all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from data_controller.engine.replay import MERGE_RECORDS, Replay
from data_controller.engine.summary import summary_of
from data_controller.engine.verify_lake import level_problems
from data_controller.errors import JournalError
from data_controller.journal import manifest as manifests
from data_controller.journal.reader import Reader
from data_controller.market.layout import Proof
from data_controller.market.proof import CROSSED_MAX_NS
from data_controller.pipeline.pipeline import Pipeline

ENOUGH_FRAMES = 20
"""So many frames of a capture name a channel, where they are of the exchange that the import says."""
_KEYS = ("frames", "events", "starts", "instruments", "unknown_deletes", "crossed", "quarantined", "trades")


def verify(paths: Iterable[Path], on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """What was checked; `ok` is False where a checksum differs, a sequence has a gap, or bytes are damaged.

    `paths` are of one journal: its folder, or segment files. Damage is reported in `damages`, not raised; JournalError
    where a path is no journal.
    """
    paths = [Path(path) for path in paths]
    hashed, changed = _check_hashes(paths)
    runner = Replay(record_only=True)
    reader = Reader(paths, on_damage="report", merge=MERGE_RECORDS)
    records = 0
    for batch in reader:
        n = len(batch.recv_ns)
        runner.feed(batch, 0, n)
        records += n
        if on_progress is not None:
            on_progress(n)
    summary, totals = summary_of(runner.pipeline), runner.pipeline.totals()
    problems = _book_problems(runner.pipeline) + _foreign(runner.pipeline, summary)
    bad, gaps = summary["checksums_bad"], summary["sequence_gaps"]
    return {
        "ok": not (bad or gaps or reader.damages or changed or problems),
        "checksums_ok": summary["checksums_ok"],
        "checksums_bad": bad,
        "sequence_gaps": gaps,
        "damages": changed + [str(damage) for damage in reader.damages],
        "book_problems": problems,
        "segments_hashed": hashed,
        "records": records,
        "array_frames": totals.get("frames", 0) - totals.get("envelopes", 0),
        **{key: summary[key] for key in _KEYS},
        "books": book_states(runner.pipeline),
    }


def _foreign(pipeline: Pipeline, summary: dict[str, Any]) -> list[str]:
    """Says so where an import's frames are none of its exchange."""
    setup, frames = pipeline.setup, summary["frames"]
    imported = setup is not None and all(venue.make_subscriptions is None for venue in setup.venues)
    if not imported or frames < ENOUGH_FRAMES or pipeline.tables.channels or pipeline.totals().get("unknown_channel"):
        return []
    named = ", ".join(venue.name for venue in setup.venues) if setup is not None else ""
    return [
        f"expected frames of {named}, was none of a channel among {frames}, {summary['quarantined']} unreadable: "
        "import them again with the exchange that sent them as --exchange"
    ]


def _check_hashes(paths: list[Path]) -> tuple[int, list[str]]:
    """How many closed segments were compared with their manifest's SHA-256, and which are not what was written."""
    hashed, changed = 0, []
    for folder in {path if path.is_dir() else path.parent for path in paths}:
        try:
            manifest = manifests.load(folder)
        except JournalError:
            continue  # the reader says so
        for entry in manifest.segments if manifest else []:
            path = folder / entry.name
            if not path.exists() or not (folder in paths or path in paths):
                continue
            hashed += 1
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != entry.sha256:
                changed.append(f"expected the bytes that were written, was another SHA-256: {path}")
    return hashed, sorted(changed)


def _book_problems(pipeline: Pipeline) -> list[str]:
    """What must always hold of a book that says proved, and does not."""
    problems = []
    for row, channel in enumerate(pipeline.tables.channels[: len(pipeline.books.books)]):
        book = pipeline.books.books[row]
        if not book["depth"] or book["proof"] != Proof.PROVED:
            continue
        name = f"{channel.venue} {channel.symbol} {channel.precision}"
        found = level_problems(pipeline.books.side(row, +1), pipeline.books.side(row, -1))
        problems += [f"{name}: {problem}" for problem in found]
        since_ns = int(book["crossed_since_ns"])
        if since_ns and pipeline.now_ns - since_ns > 2 * CROSSED_MAX_NS:
            problems.append(f"{name}: proved, but crossed for {(pipeline.now_ns - since_ns) / 1e9:.3f} s")
    return problems


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
