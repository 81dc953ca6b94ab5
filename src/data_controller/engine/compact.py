"""The compactor: closed journal segments through decoders and books, their rows into the lake, each segment once."""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Tell
from data_controller.engine.kept import FOLDER, Kept
from data_controller.engine.opening import Opening, Served
from data_controller.engine.provenance import code_version
from data_controller.engine.setup import configure_replay
from data_controller.errors import JournalError, LakeError
from data_controller.features.catalogue import LONGEST_HISTORY_S
from data_controller.journal import manifest as manifests
from data_controller.journal.files import DirectoryLock, replace_durably
from data_controller.journal.manifest import Entry
from data_controller.journal.reader import Reader
from data_controller.journal.settings import JournalSettings
from data_controller.lake.catalogue import Catalogue, Segment, Source, commit_name
from data_controller.lake.checkpoints import checkpoint_rows
from data_controller.lake.layout import CONNECTIONS_PER_VENUE, DAY_NS, NOBODY, Key, date_of, key_of, split
from data_controller.lake.settings import LakeSettings
from data_controller.lake.store import Store
from data_controller.lake.tables import column_of
from data_controller.lake.writer import Draft, Fault, no_fault, sweep
from data_controller.market.rows import EVENT
from data_controller.pipeline.carry import dump, restore
from data_controller.pipeline.gaps import START
from data_controller.pipeline.pipeline import Pipeline
from data_controller.pipeline.setup import Setup
from data_controller.records import SEQ_COUNT_BITS, Batch, Kind, Start

MERGE_RECORDS = 1 << 16
SPLIT_ROWS = 1 << 18
"""Rows are told apart by their channel this many at once."""
COMMIT_BYTES = 32 << 20
"""Segments of one run are committed together up to this size, so that small segments make no small files."""
JOURNAL_ID = "journal-id"
AUDIT = "audit"
UNDECODED = "records could not be decoded, as the start of their run, or the opening of their connection, is gone"
"""In a commit's damages behind the name of a segment: retention keeps that segment."""
LOOKS_BACK_NS = LONGEST_HISTORY_S * 10**9
"""How far back a decision's features reach: `explain` wants the records of that span."""

OnProgress = Callable[[int], None]


class Sink(Protocol):
    """Takes what segments hold, by whose it is."""

    def events(self, key: Key, rows: NDArray[np.void]) -> None:
        """EVENT rows that do not change any more."""

    def side(self, key: Key, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of a side table."""


class Decoding:
    """A record-only pipeline over segments, one after the other."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.start: Start | None = None
        self.first_recv_ns = 0  # of what this one has decoded
        self.last_recv_ns = 0
        self.last_seq = -1
        self.begins_without_books = False  # True: what it holds of a book counts from its next snapshot on
        self.stopped = False  # True: the last segment has records behind those that were asked for
        self.lacks_beginning = False  # True: its run began without a START, or with nothing but one
        self._configure = configure_replay(lambda config: None, None, record_only=True)
        self.pipeline = Pipeline(self._note_config)
        self.pipeline.on_rows = self._take
        self._day = -1
        self._served = Served()
        self._sink: Sink | None = None
        self._kept: list[NDArray[Any]] = []
        self._kept_rows = 0

    def _note_config(self, start: Start) -> Setup:
        self.config = start.config
        return self._configure(start)

    def dump(self) -> bytes:
        """Where it stands, empty where a venue's state cannot be carried."""
        try:
            own = {name: getattr(self, name) for name in _CARRIED}
            return pickle.dumps((own, dump(self.pipeline, self.config)))
        except (pickle.PicklingError, TypeError, AttributeError):
            return b""

    def restore(self, content: bytes) -> None:
        """Go on where the one of `dump` stood."""
        own, state = pickle.loads(content)
        self.config = restore(self.pipeline, state)
        vars(self).update(own)

    def opening(self) -> Opening | None:
        """What another program may begin with from here on, None before the first START."""
        if self.start is None:
            return None
        instruments, channels = self.pipeline.tables.dump()
        start = msgspec.structs.replace(self.start, config=self.config, instruments=instruments, channels=channels)
        return Opening(
            start=start, last_seq=self.last_seq, last_recv_ns=self.pipeline.now_ns, records=self._served.records()
        )

    def begin(self, opening: Opening, sink: Sink | None) -> None:
        """Go on where `opening` was kept, without its books: that each of those has a gap there `sink` is told."""
        self.begins_without_books = True
        self._begin(opening.whole(), sink)
        self.last_seq = opening.last_seq

    def begin_without_connections(self, opening: Opening, seq: int, recv_ns: int) -> None:
        """Begin at record `seq` with nothing but a START: of each connection from its next opening on."""
        self.begins_without_books = True
        self._begin(opening.start_only(seq, recv_ns), None)

    def _begin(self, batch: Batch, sink: Sink | None) -> None:
        self._sink = _OnlyGaps(sink) if sink is not None else None
        self._feed(batch, len(batch.recv_ns))
        self._hand_on()
        self._sink = None

    def run(
        self,
        path: Path,
        sink: Sink | None,
        on_progress: OnProgress = lambda n: None,
        until_ns: int | None = None,
    ) -> list[str]:
        """Decode one segment into `sink`, up to records that came at `until_ns`; returns what could not be read."""
        self._sink = sink
        reader = Reader(path, on_damage="report", merge=MERGE_RECORDS)
        damages = []
        for batch in reader:
            if 0 <= self.last_seq < batch.first_seq - 1 and self.last_seq >> SEQ_COUNT_BITS == _run(batch.first_seq):
                damages.append(f"{path.name}: records {self.last_seq + 1} to {batch.first_seq - 1} are missing")
            n = len(batch.recv_ns)
            if until_ns is not None:
                n = int(np.searchsorted(batch.recv_ns, until_ns, "right"))
                self.stopped = n < len(batch.recv_ns)
            if n:
                self._feed(batch, n)
                self.first_recv_ns = self.first_recv_ns or int(batch.recv_ns[0])
                self.last_recv_ns = int(batch.recv_ns[n - 1])
                self.last_seq = batch.first_seq + n - 1
                on_progress(n)
            if self.stopped:
                break
        self._hand_on()
        self._sink = None
        return damages + [str(damage) for damage in reader.damages]

    def _feed(self, batch: Batch, n: int) -> None:
        """Consume the first `n` records of `batch`."""
        for lo, hi in _cuts(batch, n):
            day = int(batch.recv_ns[lo]) // DAY_NS
            if day != self._day or batch.kind[lo] == Kind.START:
                self._hand_on()
            if day != self._day:
                if 0 <= self._day < day and batch.kind[lo] != Kind.START:
                    self._open_day(day, batch.first_seq + lo - 1)
                self._day = day
            actions = self.pipeline.advance(batch, lo, hi)
            self.pipeline.release_rows()
            if batch.kind[lo] == Kind.START:
                self.start = msgspec.json.decode(batch.payload(lo), type=Start)
            self._served.note(batch, lo, hi)
            self._tell(actions)

    def _open_day(self, day: int, seq: int) -> None:
        """A day opens with the books as they stand."""
        if self._sink is None or self.pipeline.setup is None:
            return
        date, channels = date_of(day * DAY_NS), self.pipeline.tables.channels
        books = self.pipeline.books
        for row in np.flatnonzero(books.books["depth"]).tolist():
            if self.begins_without_books and not books.books[row]["snapshot_ns"]:
                continue  # it has changes, but not yet what they change
            self._sink.events(key_of(channels[row], row, date), checkpoint_rows(books, row, seq, day * DAY_NS))

    def _take(self, rows: NDArray[np.void]) -> None:
        self._served.note_rows(rows)
        if self._sink is not None:
            self._kept.append(rows.view("V64").copy())
            self._kept_rows += len(rows)
            if self._kept_rows >= SPLIT_ROWS:
                self._hand_on()

    def _hand_on(self) -> None:
        """Give the sink the rows that were kept, all of one day and of one channel table."""
        kept, self._kept, self._kept_rows = self._kept, [], 0
        if not kept or self._sink is None:
            return
        rows = np.concatenate(kept).view(EVENT)
        for key, part in split(rows, self.pipeline.tables.channels, self._venues(), date_of(self._day * DAY_NS)):
            self._sink.events(key, part)

    def _venues(self) -> list[str]:
        setup = self.pipeline.setup
        return [venue.name for venue in setup.venues] if setup is not None else []

    def _tell(self, actions: list[Action]) -> None:
        if self._sink is None:
            return
        date = date_of(self._day * DAY_NS)
        for action in actions:
            if not isinstance(action, Tell) or not isinstance(action.rows, list):
                continue
            groups: dict[Key, list[Mapping[str, Any]]] = {}
            for row in action.rows:
                groups.setdefault(self._side_key(action.table, row, date), []).append(row)
            for key, rows in groups.items():
                self._sink.side(key, rows)

    def _side_key(self, table: str, row: Mapping[str, Any], date: str) -> Key:
        channels, channel = self.pipeline.tables.channels, int(row.get("channel", -1))
        if 0 <= channel < len(channels):
            return Key(channels[channel].venue, table, channels[channel].symbol, date)
        venue = int(row.get("conn", -1)) // CONNECTIONS_PER_VENUE
        names = self._venues()
        return Key(names[venue] if 0 <= venue < len(names) else NOBODY, table, NOBODY, date)


_CARRIED = ("last_seq", "start", "lacks_beginning", "_day", "begins_without_books", "_served")


class _OnlyGaps:
    """Hands on that books have a gap from here on, and nothing else."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def events(self, key: Key, rows: NDArray[np.void]) -> None:
        """Nothing."""

    def side(self, key: Key, rows: Sequence[Mapping[str, Any]]) -> None:
        begun = [row for row in rows if key.channel == "gaps" and row["reason"] == START and not row["ended_ns"]]
        if begun:
            self._sink.side(key, begun)


def _run(seq: int) -> int:
    return seq >> SEQ_COUNT_BITS


def _cuts(batch: Batch, n: int) -> Iterator[tuple[int, int]]:
    """Ranges of the first `n` records, each of one day and of one engine start."""
    days = batch.recv_ns[:n] // DAY_NS
    starts = np.flatnonzero(batch.kind[:n] == Kind.START)
    cuts = {0, len(days), *(np.flatnonzero(np.diff(days)) + 1).tolist(), *starts.tolist()}
    ordered = sorted(cuts)
    return itertools.pairwise(ordered)


class Compactor:
    """One journal into one lake. `step` commits the next segments; what it has decoded it carries in memory."""

    def __init__(
        self,
        journal: Path,
        store: Store,
        settings: LakeSettings | None = None,
        *,
        fault: Fault = no_fault,
        commit_bytes: int = COMMIT_BYTES,
        on_progress: OnProgress = lambda n: None,
    ) -> None:
        """Sweeps what a dead compactor left; LakeError or JournalError where another is at work, or it is none."""
        if manifests.load(journal) is None:
            raise JournalError(f"expected a journal with a manifest, was none in {journal}")
        self.journal = journal
        self.store = store
        self.settings = settings or LakeSettings()
        self.notes: list[str] = []
        self.damages: list[str] = []  # those of the notes that say what the lake has not
        self.events = 0
        self._fault = fault
        self._commit_bytes = commit_bytes
        self._on_progress = on_progress
        self._folder = journal / FOLDER
        self._folder.mkdir(exist_ok=True)
        try:
            self._lock = DirectoryLock(self._folder)
        except JournalError as error:
            raise LakeError(
                f"expected to be the only compactor of {journal}, was another at work: wait for it, or "
                "stop the engine that started it"
            ) from error
        try:
            self._id = self._journal_id()
            self.catalogue = Catalogue(store)
            if self.catalogue.journal not in ("", self._id):
                raise LakeError(
                    f"expected a lake of the journal {journal}, was one of another ({store.uri}): name another lake"
                )
            self._decoding: Decoding | None = None
            self._fault("sweep")
            self.swept = sweep(store, self.catalogue)
            self._code = code_version()
            self._kept = Kept(journal, self._code)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let another compactor in."""
        self._lock.release()

    def __enter__(self) -> Compactor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _journal_id(self) -> str:
        """What tells this journal from others; made once."""
        path = self._folder / JOURNAL_ID
        try:
            return path.read_text("utf-8").strip()
        except FileNotFoundError:
            made = os.urandom(8).hex()
            replace_durably(path, made.encode())
            return made

    def pending(self) -> list[Entry]:
        """Closed segments that are not in the lake yet, in order."""
        manifest = manifests.load(self.journal)
        done = self.catalogue.segments
        return [entry for entry in (manifest.segments if manifest else []) if entry.name not in done]

    def step(self) -> int:
        """Commit the next segments; returns how many, 0 where none waits."""
        pending = self.pending()
        if not pending:
            return 0
        group = [pending[0]]
        size = group[0].bytes
        for entry in pending[1:]:
            size += entry.bytes
            if entry.run != group[0].run or size > self._commit_bytes or entry.number != group[-1].number + 1:
                break
            group.append(entry)
        draft = Draft(self.store, self._fault)
        damages: list[str] = []
        try:
            decoding = self._decoding = self._at(group[0], draft)
            for entry in group:
                damages += self._check(entry)
                damages += self._decode(decoding, entry, draft)
            self._fault("decoded")
            draft.finish()
            damages += draft.damages
            last = group[-1].run, group[-1].number
            self._fault("state")
            self._kept.keep(last, decoding.dump(), decoding.opening())
            source = Source(
                kind="journal", journal=self._id, segments=[_segment(entry) for entry in group], damages=damages
            )
            name = commit_name(group[0].run, group[0].number)
            self.catalogue.commits[name] = draft.commit(name, source, self._code)
        except BaseException:
            self._decoding = None  # it is ahead of the lake
            raise
        manifest = manifests.load(self.journal)
        self._kept.forget(last, manifest.segments if manifest else [])
        self.events += sum(file.rows for file in draft.files if file.events)
        self.notes += damages
        self.damages += damages
        return len(group)

    def _decode(self, decoding: Decoding, entry: Entry, draft: Draft) -> list[str]:
        """Decode a segment into `draft`; returns what of it the lake has not."""
        bad = decoding.pipeline.counters["bad_records"]
        damages = decoding.run(self.journal / entry.name, draft, self._on_progress)
        lost = decoding.pipeline.counters["bad_records"] - bad
        return [*damages, f"{entry.name}: {lost} {UNDECODED}"] if lost and decoding.lacks_beginning else damages

    def run(self) -> int:
        """Commit all that waits; returns how many segments that were."""
        total = 0
        while done := self.step():
            total += done
        return total

    def _check(self, entry: Entry) -> list[str]:
        path = self.journal / entry.name
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except OSError as error:
            raise JournalError(
                f"expected the segment {path}, was {error.strerror}: restore it, or take its journal "
                "out of the config and begin another"
            ) from error
        if digest.hexdigest() != entry.sha256:
            return [f"{entry.name}: its bytes are not those that were written (SHA-256 differs from the manifest)"]
        return []

    # what the journal may lose

    def retain(self, tables: Path | None = None) -> list[str]:
        """Let the journal lose what the settings do not keep, oldest first; returns the names of segments.

        Only what is in the lake may go, and nothing that a decision in `tables` rests on within its time. What could
        not be decoded is not in the lake: from there on nothing goes. Where an engine writes the journal it deletes
        them itself, when its next segment ends.
        """
        manifest = manifests.load(self.journal) or manifests.Manifest()
        done, settings = self.catalogue.segments, self.settings
        now_ns = max((entry.last_recv_ns for entry in manifest.segments), default=0)
        allowed = manifests.Retention()
        total = sum(entry.bytes for entry in manifest.segments)
        limited = settings.retention_days > 0 or settings.journal_disk_budget_bytes > 0
        needed = self._decisions(tables if limited else None, now_ns)
        undecoded = self._undecoded()
        dropping = True
        for entry in manifest.segments:
            if entry.name not in done:
                break
            if entry.name in undecoded:
                self.notes.append(f"{entry.name}: kept with all behind it, as not all of it could be decoded")
                break
            allowed.run, allowed.number = entry.run, entry.number
            age_ns = now_ns - entry.last_recv_ns
            if settings.retention_days and age_ns > settings.retention_days * DAY_NS:
                reason = "older than lake.retention_days"
            elif settings.journal_disk_budget_bytes and total > settings.journal_disk_budget_bytes:
                reason = "beyond lake.journal_disk_budget_bytes"
            else:
                dropping = False
            at = np.searchsorted(needed, entry.first_recv_ns)
            rests = at < len(needed) and needed[at] - LOOKS_BACK_NS <= entry.last_recv_ns
            dropping = dropping and not rests
            if dropping:
                allowed.drop[entry.name] = reason
                total -= entry.bytes
        self._fault("retention")
        manifests.save_retention(self.journal, allowed)
        try:
            lock = DirectoryLock(self.journal)
        except JournalError:
            return list(allowed.drop)  # an engine writes there
        with lock:
            manifest = manifests.load(self.journal) or manifests.Manifest()
            manifests.make_room(self.journal, manifest, JournalSettings(), 0, now_ns)
        return list(allowed.drop)

    def _undecoded(self) -> set[str]:
        """Names of segments of which records are in no row, though they are there."""
        damages = (text for commit in self.catalogue.commits.values() for text in commit.source.damages)
        return {text.partition(":")[0] for text in damages if UNDECODED in text}

    def _decisions(self, tables: Path | None, now_ns: int) -> NDArray[np.int64]:
        """Times of decisions that may still be asked about, in order."""
        if tables is None or not (tables / AUDIT).is_dir():
            return np.zeros(0, np.int64)
        oldest_ns = now_ns - int(self.settings.explain_retention_days * DAY_NS)
        # Many are of one moment, and one is as good as all of them.
        found = [np.unique(times[times >= oldest_ns]) for times in column_of(tables, AUDIT, "now_ns")]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    # where it goes on

    def _at(self, entry: Entry, sink: Sink) -> Decoding:
        """A decoding that stands right before segment `entry`, or as near to that as what is left of its run allows."""
        before, now = self._before(entry), self._decoding
        if now is not None and before is not None and now.last_seq == before.last_seq:
            return now
        decoding = Decoding()
        if entry.number == 1:
            return decoding
        place = (before.run, before.number) if before is not None else (entry.run, 0)
        if content := self._kept.state(place):
            decoding.restore(content)
            return decoding
        manifest = manifests.load(self.journal)
        past = [e for e in (manifest.segments if manifest else []) if e.run == entry.run and e.number < entry.number]
        if [e.number for e in past] == list(range(1, entry.number)):
            self.notes.append(f"{entry.name}: decoding {len(past)} segments again from the start of its run")
        elif opening := self._kept.opening(place):
            self.notes.append(
                f"{entry.name}: its run cannot be decoded from its start any more, as older segments are gone; it goes "
                "on with what was kept of them, and books begin with their next snapshot"
            )
            decoding.begin(opening, sink)
            return decoding
        else:
            self.notes.append(
                f"{entry.name}: its run cannot be decoded from its start any more, as older segments are gone, and "
                "what was kept of them too"
            )
            decoding.lacks_beginning = True
            first = past[0] if past else entry
            if opening := self._kept.opening_of(entry.run):
                decoding.begin_without_connections(opening, first.first_seq - 1, first.first_recv_ns)
        for old in past:
            decoding.run(self.journal / old.name, None, self._on_progress)
        return decoding

    def _before(self, entry: Entry) -> Segment | None:
        """The segment of the same run that is in the lake right before `entry`."""
        run = [s for s in self.catalogue.segments.values() if s.run == entry.run and s.number < entry.number]
        return run[-1] if run else None


def _segment(entry: Entry) -> Segment:
    fields = msgspec.structs.asdict(entry)
    fields.pop("note")
    return Segment(**fields)


def lake_uri(state_dir: Path, settings: LakeSettings) -> str:
    """Where the lake of an engine lies."""
    return settings.uri or str(state_dir / "lake")


def compact(
    journal: Path,
    uri: str,
    settings: LakeSettings | None = None,
    tables: Path | None = None,
    on_progress: OnProgress = lambda n: None,
) -> dict[str, Any]:
    """Bring all closed segments of `journal` into the lake at `uri`, then let retention work; returns a summary."""
    started = time.perf_counter()
    with Compactor(journal, Store(uri, settings), settings, on_progress=on_progress) as compactor:
        segments = compactor.run()
        dropped = compactor.retain(tables)
        catalogue = compactor.catalogue
        seconds = time.perf_counter() - started
        return {
            "ok": not compactor.damages,
            "lake": uri,
            "segments": segments,
            "events": compactor.events,
            "dropped": dropped,
            "swept": len(compactor.swept),
            "notes": compactor.notes,
            "lake_segments": len(catalogue.segments),
            "lake_files": sum(1 for _ in catalogue.all_files()),
            "lake_bytes": sum(file.bytes for file in catalogue.all_files()),
            "seconds": round(seconds, 3),
        }
