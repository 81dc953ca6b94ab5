"""Recovery: makes a journal whole after whatever ended its last writer, and gives out the next run number."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from data_controller.errors import JournalCorrupt, JournalError
from data_controller.journal import manifest as manifests
from data_controller.journal.files import DirectoryLock, journal_error, sync_directory
from data_controller.journal.format import END_OF_STREAM, JOURNAL_SCHEMA, OPEN_SUFFIX, SegmentName, version_of
from data_controller.journal.manifest import Entry, Manifest
from data_controller.journal.reader import segments_of
from data_controller.journal.segment import Piece, SegmentBytes
from data_controller.records import SEQ_COUNT_BITS

QUARANTINE = "quarantine"
MAX_RUN = (1 << 23) - 1


@dataclass(slots=True)
class Recovered:
    """What a start found; `run` is the new start's number, durable and never given out again."""

    run: int
    segments: int = 0  # closed segments in the manifest
    records: int = 0  # in them
    last_seq: int = -1
    closed: int = 0  # segments that a dead run left open
    removed: int = 0  # segments without a record
    cut_bytes: int = 0  # torn tails, kept in the quarantine directory
    notes: list[str] = field(default_factory=list)  # one line each for people


def recover(directory: Path) -> Recovered:
    """Close what a dead run left open, bring the manifest up to date and claim the next run number.

    Creates the directory where it is missing. Raises JournalError where another writer is at work, the journal is of
    a newer version, or the disk refuses; running it again after a crash inside it ends the same.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with DirectoryLock(directory):
            return _recover(directory)
    except OSError as error:
        raise journal_error(error, f"recovering the journal in {directory}") from error


def _recover(directory: Path) -> Recovered:
    found = Recovered(run=0)
    try:
        manifest = manifests.load(directory)
        rebuilt = manifest is None
    except JournalCorrupt as error:
        manifest, rebuilt = None, True
        found.notes.append(str(error))
    manifest = manifest or Manifest()
    paths = segments_of(directory)
    if rebuilt and any(not path.name.endswith(".open") for path in paths):
        found.notes.append("the manifest was rebuilt from the segments")
    deleted = {entry.name for entry in manifest.deleted}
    listed = {entry.name: entry for entry in manifest.segments}
    entries: list[Entry] = []
    highest = max(manifest.run, manifests.last_run(directory))
    for path in paths:
        name = SegmentName.parse(path.name)
        if name is None:
            continue
        highest = max(highest, name.run)
        if path.name in deleted:
            path.unlink()
            found.notes.append(f"{path.name}: deleted, as retention had begun to")
        elif name.open:
            entry = _close(directory, path, name, found)
            entries += [entry] if entry else []
        else:
            entries.append(listed.get(path.name) or _listed(path, name, found))
    for gone in sorted(listed.keys() - {entry.name for entry in entries}):
        found.notes.append(f"{gone}: listed in the manifest, but the file is missing")
    if highest >= MAX_RUN:
        raise JournalError(f"expected a run number below {MAX_RUN}, was {highest}: begin a new journal directory")
    entries.sort(key=lambda entry: (entry.run, entry.number))
    manifest.segments = entries
    manifest.run = highest + 1
    manifests.claim_run(directory, highest + 1)
    manifests.save(directory, manifest)
    found.run = highest + 1
    found.segments = len(entries)
    found.records = sum(entry.records for entry in entries)
    found.last_seq = max((entry.last_seq for entry in entries), default=-1)
    return found


@dataclass(frozen=True, slots=True)
class Ended:
    """A segment that was left open and is now closed, or removed where it held nothing whole."""

    path: Path | None  # where it lies now, None where removed
    cut_bytes: int  # its torn tail, copied to the quarantine directory


def end_segment(path: Path, quarantine: Path, fallback: pa.Schema | None = None) -> Ended:
    """Cut the `.open` segment at `path` behind its last whole batch, end, rename and sync it; raises OSError."""
    content = SegmentBytes(path, fallback) if path.stat().st_size else None
    pieces = [item for item in content or () if isinstance(item, Piece)]
    stop = pieces[-1].stop if pieces else 0
    tail = content.data[stop:].tobytes() if content is not None else b""
    cut = 0 if tail == END_OF_STREAM else len(tail)
    if cut:
        quarantine.mkdir(exist_ok=True)
        (quarantine / f"{path.name}.tail").write_bytes(tail)
    if not pieces:
        path.unlink()
        sync_directory(path.parent)
        return Ended(None, cut)
    with path.open("r+b") as file:
        file.truncate(stop)
        file.seek(stop)
        file.write(END_OF_STREAM)
        file.flush()
        os.fsync(file.fileno())
    closed = path.with_name(path.name.removesuffix(OPEN_SUFFIX))
    path.rename(closed)
    sync_directory(path.parent)
    return Ended(closed, cut)


def _close(directory: Path, path: Path, name: SegmentName, found: Recovered) -> Entry | None:
    ended = end_segment(path, directory / QUARANTINE, JOURNAL_SCHEMA)
    found.cut_bytes += ended.cut_bytes
    if ended.path is None:
        found.removed += 1
        found.notes.append(f"{path.name}: held no whole record, removed")
        return None
    found.closed += 1
    note = f"torn tail of {ended.cut_bytes} bytes cut" if ended.cut_bytes else ""
    entry = _listed(ended.path, name, found, note)
    found.notes.append(f"{entry.name}: left open, closed with {entry.records} records{'; ' + note if note else ''}")
    return entry


def _listed(path: Path, name: SegmentName, found: Recovered, note: str = "") -> Entry:
    """The manifest's entry of a closed segment, from its own bytes."""
    content = SegmentBytes(path, fallback=JOURNAL_SCHEMA)
    if content.header is not None:
        version_of(content.header, path)
    records = 0
    spans: list[tuple[int, int, int, int]] = []
    for item in content:
        if isinstance(item, Piece):
            n = item.batch.num_rows
            times = item.batch.column(1)
            spans.append((item.first, item.first + n - 1, times[0].as_py(), times[n - 1].as_py()))
            records += n
        else:
            note = note or f"damaged at {item.start} to {item.stop}"
            found.notes.append(f"{path.name}: damaged at {item.start} to {item.stop}: {item.reason}")
    first, last = (spans[0], spans[-1]) if spans else ((name.run << SEQ_COUNT_BITS, -1, 0, 0),) * 2
    return Entry(
        name=path.name,
        run=name.run,
        number=name.number,
        records=records,
        first_seq=first[0],
        last_seq=last[1],
        first_recv_ns=first[2],
        last_recv_ns=last[3],
        bytes=content.data.size,
        sha256=hashlib.sha256(content.data.data).hexdigest(),
        note=note,
    )
