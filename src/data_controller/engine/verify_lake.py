"""Verify of a lake: hashes, order, books and proofs of its files, and that they hold what the journal says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.engine.compact import JOURNAL_ID, Decoding
from data_controller.engine.kept import FOLDER, Kept
from data_controller.engine.provenance import code_version
from data_controller.errors import DataControllerError, LakeError
from data_controller.journal import manifest as manifests
from data_controller.lake.catalogue import Catalogue, Commit, File
from data_controller.lake.checkpoints import Rebuilt
from data_controller.lake.gaps import gap_rows
from data_controller.lake.layout import Key, side_tables
from data_controller.lake.settings import LakeSettings
from data_controller.lake.store import Store
from data_controller.market.layout import BrokenBy
from data_controller.market.proof import CROSSED_MAX_NS
from data_controller.market.rows import EVENT
from data_controller.market.tables import Channel

_FROM_PULSES = (BrokenBy.SILENT.name, BrokenBy.CROSSED.name)

Doubt = dict[str, Any]


def verify_lake(
    uri: str,
    settings: LakeSettings | None = None,
    journal: Path | None = None,
    on_progress: Callable[[int], None] = lambda n: None,
) -> dict[str, Any]:
    """What was checked in a lake; `ok` is False where anything in it is in doubt, and `doubts` names file and row.

    With `journal` (by default the folder of that name beside a local lake, where it is the one that the lake was made
    from) rows are compared with what its segments decode to. `segments_not_compared` counts those that are there but
    that nothing is left to decode them with, `segments_expired` those that are gone.
    """
    look = _Look(Store(uri, settings), on_progress)
    look.files()
    look.books()
    look.order_of_commits()
    journal = journal or look.journal_beside()
    if journal is not None:
        look.compare(journal)
    return look.result(journal)


class _Look:
    def __init__(self, store: Store, on_progress: Callable[[int], None]) -> None:
        damages: list[str] = []
        self.store = store
        self.catalogue = Catalogue(store, damages)
        if not self.catalogue.commits and not damages:
            raise LakeError(f"expected a lake, was a place without commits: {store.uri}")
        self.doubts: list[Doubt] = [{"what": text} for text in damages]
        self.counts = dict.fromkeys(("files", "rows", "bytes", "checksums_ok", "checksums_bad", "sequence_gaps"), 0)
        self.compared = dict.fromkeys(
            ("segments_compared", "segments_expired", "segments_not_compared", "rows_compared"), 0
        )
        self.warnings: list[str] = []
        self.unreadable: set[str] = set()
        self.damaged: set[str] = set()  # not what was committed, as far as they can be read
        self._on_progress = on_progress

    def doubt(self, what: str, file: str = "", row: int | None = None) -> None:
        """Note what is wrong."""
        self.doubts.append({"file": file, "row": row, "what": what} if file else {"what": what})

    def result(self, journal: Path | None) -> dict[str, Any]:
        """The summary."""
        lost = [text for commit in self.catalogue.commits.values() for text in commit.source.damages]
        return {
            "ok": not self.doubts and not lost,
            "lake": self.store.uri,
            "journal": str(journal) if journal is not None else None,
            "commits": len(self.catalogue.commits),
            **self.counts,
            **self.compared,
            "warnings": self.warnings,
            "doubts": self.doubts,
            "lost_before_compaction": lost,
        }

    def files(self) -> None:
        """Each committed file is there, whole, and its rows are in order."""
        for file in self.catalogue.all_files():
            self.counts["files"] += 1
            self.counts["rows"] += file.rows
            self.counts["bytes"] += file.bytes
            try:
                content = self.store.read(file.path)
            except LakeError as error:
                self.doubt(f"expected the file, was missing: {error}", file.path)
                self.unreadable.add(file.path)
                continue
            if hashlib.sha256(content).hexdigest() != file.sha256:
                self.doubt("its bytes are not those that were committed (SHA-256 differs)", file.path)
                self.damaged.add(file.path)
            if file.events:
                self._rows(file)

    def _rows(self, file: File) -> None:
        try:
            rows = self.catalogue.events(file, damaged=True)
        except LakeError as error:
            self.doubt(str(error), file.path)
            self.unreadable.add(file.path)
            return
        self._on_progress(len(rows))
        if len(rows) != file.rows:
            self.doubt(f"expected {file.rows} rows, was {len(rows)}", file.path)
        back = np.flatnonzero(np.diff(rows["seq"]) < 0)
        if len(back):
            row = int(back[0]) + 1
            was = f"was {int(rows['seq'][row])} behind {int(rows['seq'][row - 1])}"
            self.doubt(f"expected rows in the order of `seq`, {was}", file.path, row)

    def order_of_commits(self) -> None:
        """Segments of each run follow each other without a hole."""
        last: dict[int, tuple[str, int, int]] = {}
        for segment in self.catalogue.segments.values():
            before = last.get(segment.run)
            if before is None and segment.number != 1:
                self.doubt(f"expected segment 1 of run {segment.run} first, was {segment.name}")
            elif before is not None and segment.number != before[2] + 1:
                self.doubt(f"segments of the journal are missing between {before[0]} and {segment.name}")
            elif before is not None and segment.records and segment.first_seq != before[1] + 1:
                self.doubt(f"records {before[1] + 1} to {segment.first_seq - 1} are missing before {segment.name}")
                self.counts["sequence_gaps"] += 1
            last[segment.run] = (segment.name, segment.last_seq, segment.number)

    def books(self) -> None:
        """Books rebuilt from their rows alone keep every checksum, and what must always hold of a book."""
        breaks: dict[tuple[int, int], list[tuple[int, str, int]]] = {}
        for row in gap_rows(self.catalogue):
            if row["reason"] in _FROM_PULSES and not row["ended_ns"]:
                key = (row["seq"] >> 40, row["channel_row"])
                breaks.setdefault(key, []).append((row["seq"], row["reason"], row["recv_ns"]))
        books: dict[tuple[Any, ...], list[File]] = {}
        for file in self.catalogue.files(channel="book", events=True):
            if file.path not in self.unreadable | self.damaged:
                run = file.first_seq >> 40
                books.setdefault((file.exchange, file.instrument, run, file.row), []).append(file)
        for (exchange, symbol, run, row), files in books.items():
            first = files[0]
            channel = Channel(exchange, symbol, "book", first.precision, first.frequency, first.length)
            self._book(Rebuilt(channel), files, sorted(breaks.get((run, row), [])))

    def _book(self, rebuilt: Rebuilt, files: Sequence[File], breaks: list[tuple[int, str, int]]) -> None:
        ok = bad = 0
        for file in files:
            rows = self.catalogue.events(file)
            for seq, by, at_ns in [b for b in breaks if b[0] <= file.last_seq]:
                n = int(np.searchsorted(rows["seq"], seq, "right")) if len(rows) else 0
                rebuilt.apply(rows[:n])
                rebuilt.broken(by, at_ns)
                rows = rows[n:]
            breaks = [b for b in breaks if b[0] > file.last_seq]
            before = int(rebuilt.book["checks_bad"])
            rebuilt.apply(rows)
            ok, bad = int(rebuilt.book["checks_ok"]), int(rebuilt.book["checks_bad"])
            if bad > before:
                self.doubt(f"{bad - before} checksums of the exchange do not fit the book rebuilt from it", file.path)
            for seq in rebuilt.differences:
                at = int(np.argmax(self.catalogue.events(file)["seq"] == seq))
                self.doubt("the day does not open with the book that the day before ended with", file.path, at)
            rebuilt.differences.clear()
            if rebuilt.crossed_ns[0] > 2 * CROSSED_MAX_NS:
                self.doubt(f"a proved book was crossed for {rebuilt.crossed_ns[0] / 1e9:.3f} s", file.path)
            rebuilt.crossed_ns[0] = 0
            for problem in level_problems(rebuilt.books.side(0, +1), rebuilt.books.side(0, -1)):
                self.doubt(f"{problem} at its end", file.path)
        self.counts["checksums_ok"] += ok
        self.counts["checksums_bad"] += bad

    def journal_beside(self) -> Path | None:
        """The journal beside a local lake, where it is the one that the lake was made from."""
        if not self.store.is_local:
            return None
        journal = Path(self.store.root).parent / "journal"
        return journal if identity(journal) == self.catalogue.journal != "" else None

    def compare(self, journal: Path) -> None:
        """Decode what the journal still has and compare it with the files made of it."""
        if identity(journal) not in ("", self.catalogue.journal):
            self.doubt(f"expected a lake of the journal {journal}, was one of another")
            return
        manifest = manifests.load(journal)
        present = {entry.name: entry for entry in (manifest.segments if manifest else [])}
        kept = Kept(journal, code_version())
        left: list[str] = []
        decoding, at = Decoding(), (0, 0)
        for commit in sorted(self.catalogue.commits.values(), key=_order):
            segments = commit.source.segments
            there = [segment.name for segment in segments if segment.name in present]
            self.compared["segments_expired"] += len(segments) - len(there)
            if not there:
                continue
            before = segments[0].run, segments[0].number - 1
            if len(there) == len(segments) and before != at:
                state = kept.state(before)
                decoding = Decoding()
                if state:
                    decoding.restore(state)
                if state or before[1] == 0:
                    at = before
            if len(there) < len(segments) or before != at:
                left += there
                continue
            found = _Collected()
            try:
                for segment in segments:
                    if present[segment.name].sha256 != segment.sha256:
                        self.doubt(f"expected the segment that was compacted, was another: {segment.name}")
                    damages = decoding.run(journal / segment.name, found, self._on_progress)
                    for text in damages:
                        if text not in commit.source.damages:
                            self.doubt(f"in the journal: {text}")
            except (DataControllerError, OSError) as error:
                self.doubt(f"in the journal: {error}")
                at = 0, 0
                continue
            at = segments[-1].run, segments[-1].number
            self.compared["segments_compared"] += len(segments)
            self._compare(commit, found)
        self.compared["segments_not_compared"] = len(left)
        if left:
            self.warnings.append(
                f"{len(left)} segments from {left[0]} to {left[-1]} are in the journal and were not compared with the "
                "lake, as what decoding them rests on is gone: the start of their run, and a state that this very "
                "program kept between them"
            )

    def _side_rows(self, file: File) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.catalogue.table(file, damaged=True).to_pylist()
        return rows

    def _compare(self, commit: Commit, found: _Collected) -> None:
        keys: dict[Key, list[File]] = {}
        for file in commit.files:
            key = Key(
                file.exchange,
                file.channel,
                file.instrument,
                file.date,
                file.precision,
                file.frequency,
                file.length,
                file.row,
            )
            keys.setdefault(key, []).append(file)
        expected = found.tables()
        for key in expected.keys() - keys.keys():
            self.doubt(f"the journal has rows of {key.folder} that the lake has not")
        for key, files in keys.items():
            if any(file.path in self.unreadable for file in files):
                continue
            rows = expected.get(key)
            if rows is None:
                self.doubt("the journal has no such rows", files[0].path)
                continue
            at = 0
            for file in files:
                try:
                    own: Any = self.catalogue.events(file, damaged=True) if file.events else self._side_rows(file)
                except LakeError as error:
                    self.doubt(str(error), file.path)
                    break
                theirs = rows[at : at + len(own)]
                at += len(own)
                self.compared["rows_compared"] += len(own)
                if file.events:
                    same = len(own) == len(theirs) and own.tobytes() == theirs.tobytes()
                    differ = [] if same else np.flatnonzero(own[: len(theirs)] != theirs[: len(own)]).tolist()
                else:
                    differ = [k for k, (a, b) in enumerate(zip(own, theirs, strict=False)) if not same_row(a, b)]
                    same = len(own) == len(theirs) and not differ
                if not same:
                    self.doubt("the row differs from what the journal says", file.path, (differ or [len(theirs)])[0])
            if at < len(rows):
                self.doubt(f"the journal has {len(rows) - at} more rows", files[-1].path, files[-1].rows)


def identity(journal: Path) -> str:
    """What the compactor of a journal calls it, empty where it has no name yet."""
    try:
        return (journal / FOLDER / JOURNAL_ID).read_text("utf-8").strip()
    except OSError:
        return ""


def _order(commit: Commit) -> tuple[int, int]:
    segments = commit.source.segments
    return (segments[0].run, segments[0].number) if segments else (-1, -1)


class _Collected:
    """A sink that keeps everything of one commit."""

    def __init__(self) -> None:
        self._events: dict[Key, list[NDArray[np.void]]] = {}
        self._side: dict[Key, list[Mapping[str, Any]]] = {}

    def events(self, key: Key, rows: NDArray[np.void]) -> None:
        if len(rows):
            self._events.setdefault(key, []).append(rows)

    def side(self, key: Key, rows: Sequence[Mapping[str, Any]]) -> None:
        self._side.setdefault(key, []).extend(rows)

    def tables(self) -> dict[Key, Any]:
        """Rows by key: EVENT rows, or dicts."""
        events = {
            key: np.concatenate([part.view("V64") for part in parts]).view(EVENT) for key, parts in self._events.items()
        }
        sides: dict[Key, Any] = {}
        for key, rows in self._side.items():
            tables = [table for table, _, _ in side_tables(key.channel, rows) if table is not None]
            sides[key] = [row for table in tables for row in table.to_pylist()]
        return events | {key: rows for key, rows in sides.items() if rows}


def same_row(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two rows of a side table say the same: a number that is none equals itself, and nothing is nothing."""
    return all(
        a.get(name) == b.get(name) or (a.get(name) != a.get(name) and b.get(name) != b.get(name))
        for name in a.keys() | b.keys()
    )


def level_problems(bids: NDArray[np.void], asks: NDArray[np.void]) -> list[str]:
    """What is wrong with the two sides of a book, best first: order, prices, sizes."""
    found = []
    for name, levels, sign in (("bids", bids, -1.0), ("asks", asks, 1.0)):
        if not len(levels):
            continue
        if (np.diff(levels["price"]) * sign < 0).any():
            found.append(f"the {name} are not in order")
        if not (levels["price"] > 0).all() or not (levels["size"] > 0).all():
            found.append(f"the {name} have a price or a size that is not above 0")
    return found
