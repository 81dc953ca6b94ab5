"""The reader: batches of a journal in the order they were taken, each checked against what was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_controller.errors import JournalCorrupt, JournalError
from data_controller.journal import manifest as manifests
from data_controller.journal.format import JOURNAL_SCHEMA, VERSIONS, SegmentName, version_of
from data_controller.journal.segment import Hole, Piece, SegmentBytes
from data_controller.journal.writer import NAME
from data_controller.records import SCHEMA_VERSION, SEQ_COUNT_BITS, Batch

OnDamage = Literal["raise", "report"]
Source = str | Path


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that was written and cannot be read, or a record that is not there."""

    file: str
    batch: int  # number of whole batches before it in the file
    first_seq: int  # first record known to be missing, -1 where not known
    last_seq: int  # last one, -1 where not known
    start: int  # where its bytes lie in the file
    stop: int
    reason: str

    def __str__(self) -> str:
        span = f"records {self.first_seq} to {self.last_seq}" if self.first_seq >= 0 else "an unknown number of records"
        return (
            f"expected the bytes that were written, was damage in {self.file} at {self.start} to {self.stop}: "
            f"{self.reason}; {span} lost"
        )


@dataclass(slots=True)
class JournalInfo:
    """What a journal holds."""

    segments: int = 0
    open_segments: int = 0
    runs: list[int] = field(default_factory=list)
    batches: int = 0
    records: int = 0
    first_seq: int = -1
    last_seq: int = -1
    first_recv_ns: int = 0
    last_recv_ns: int = 0
    bytes: int = 0
    by_kind: dict[int, int] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)


def segments_of(directory: Path) -> list[Path]:
    """The segment files of a journal's directory in the order they were written, the open one included."""
    try:
        names = ((SegmentName.parse(path.name), path) for path in directory.iterdir())
        return [path for name, path in sorted((n, p) for n, p in names if n is not None and n.name == NAME)]
    except OSError as error:
        raise JournalError(f"expected a directory that can be read, was {error.strerror}: {directory}") from error


def journals_of(sources: Iterable[Source]) -> list[list[Path]]:
    """`sources` by the journal that they are of: a folder is one, and so are segment files in their order.

    Each is for a Reader of its own, as journals of several engines number their runs alike. Raises JournalError where
    one is named twice.
    """
    journals: list[list[Path]] = []
    last: SegmentName | None = None
    seen: set[Path] = set()
    for source in sources:
        path = Path(source)
        path = path.parent if path.name == manifests.MANIFEST else path
        if path.resolve() in seen:
            raise JournalError(f"expected each journal once, was named twice: {path}")
        seen.add(path.resolve())
        name = None if path.is_dir() else SegmentName.parse(path.name)
        goes_on = name is not None and last is not None and (last.run, last.number) < (name.run, name.number)
        if goes_on:
            journals[-1].append(path)
        else:
            journals.append([path])
        last = name
    return journals


def _files(sources: Source | Iterable[Source]) -> tuple[list[Path], list[Path]]:
    """Segment files to read, in order, and the directories that were named."""
    files: list[Path] = []
    directories: list[Path] = []
    for source in [sources] if isinstance(sources, (str, Path)) else sources:
        path = Path(source)
        if path.name == manifests.MANIFEST:
            path = path.parent
        if path.is_dir():
            found = segments_of(path)
            if not found and manifests.load(path) is None:
                inside = path / "journal"
                advice = f": name {inside}" if inside.is_dir() else ""
                raise JournalError(f"expected a journal, was a directory without one: {path}{advice}")
            files += found
            directories.append(path)
        elif path.exists():
            files.append(path)
        else:
            raise JournalError(f"expected a journal, was nothing there: {path}")
    return files, directories


def _view(buffer: pa.Buffer | None, dtype: Any, n: int) -> NDArray[Any]:
    """`n` items of an Arrow buffer as a writable array; a copy only where the buffer itself may not be written."""
    if n == 0 or buffer is None:
        return np.empty(0, dtype)
    array = np.frombuffer(buffer, dtype, n)
    return array if array.flags.writeable and array.flags.aligned else array.copy()


def to_batch(batch: pa.RecordBatch) -> Batch:
    """A checked record batch of the current version as the pipeline's arrays, without a copy where possible.

    Raises ValueError where `seq` is not a run of consecutive numbers of one engine start.
    """
    n = batch.num_rows
    seq, recv_ns, kind, conn = (
        _view(batch.column(i).buffers()[1], dtype, n)
        for i, dtype in enumerate((np.int64, np.int64, np.uint8, np.int32))
    )
    first, last = int(seq[0]), int(seq[-1])
    if last - first != n - 1 or first >> SEQ_COUNT_BITS != last >> SEQ_COUNT_BITS or (seq[1:] - seq[:-1] != 1).any():
        raise ValueError(f"expected consecutive numbers of one run, were {first} to {last} over {n} records")
    _, offset_buffer, data_buffer = batch.column(4).buffers()
    offsets = _view(offset_buffer, np.int32, n + 1)
    if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("expected offsets that rise from 0")
    return Batch(first, recv_ns, kind, conn, offsets, _view(data_buffer, np.uint8, int(offsets[-1])))


def join(batches: list[Batch]) -> Batch:
    """Consecutive batches as one."""
    if len(batches) == 1:
        return batches[0]
    starts = np.cumsum([0, *(len(batch.data) for batch in batches[:-1])])
    offsets = [batch.offsets[:-1] + np.int32(start) for batch, start in zip(batches, starts, strict=True)]
    data = np.concatenate([batch.data for batch in batches])
    return Batch(
        batches[0].first_seq,
        np.concatenate([batch.recv_ns for batch in batches]),
        np.concatenate([batch.kind for batch in batches]),
        np.concatenate([batch.conn for batch in batches]),
        np.concatenate([*offsets, np.array([len(data)], np.int32)]),
        data,
    )


class Reader:
    """Iterates over a journal once; `info` and `damages` grow with it.

    Damage raises JournalCorrupt, or with `on_damage="report"` is skipped, put in `damages`, and its bytes are copied
    into the directory `quarantine` where one is given. A torn tail of an open segment (a kill, or a writer at work) is
    always in `damages` and never raised. With `merge`, small batches of a run are joined up to that many records.
    """

    def __init__(
        self,
        sources: Source | Iterable[Source],
        *,
        on_damage: OnDamage = "raise",
        quarantine: Path | None = None,
        merge: int = 0,
    ) -> None:
        """`sources` are directories, manifests or segment files. Raises JournalError where they are no journal."""
        self._files, self._directories = _files(sources)
        self._on_damage = on_damage
        self._quarantine = quarantine
        self._merge = merge
        self._next_seq = -1
        self.info = JournalInfo()

    @property
    def damages(self) -> list[Damage]:
        """What could not be read so far."""
        return self.info.damages

    def __iter__(self) -> Iterator[Batch]:
        self._check_manifests()
        if self._merge <= 0:
            yield from self._batches()
            return
        waiting: list[Batch] = []
        records = n_bytes = 0
        for batch in self._batches():
            size, next_bytes = len(batch.recv_ns), len(batch.data)
            consecutive = not waiting or waiting[-1].first_seq + len(waiting[-1].recv_ns) == batch.first_seq
            if waiting and (not consecutive or records + size > self._merge or n_bytes + next_bytes > 1 << 30):
                yield join(waiting)
                waiting, records, n_bytes = [], 0, 0
            waiting.append(batch)
            records += size
            n_bytes += next_bytes
        if waiting:
            yield join(waiting)

    def _check_manifests(self) -> None:
        """Every listed segment must be there; a damaged manifest is only noted, the segments speak for themselves."""
        for directory in self._directories:
            try:
                manifest = manifests.load(directory)
            except JournalCorrupt as error:
                self.damages.append(Damage(str(directory / manifests.MANIFEST), 0, -1, -1, 0, 0, str(error)))
                continue
            present = {path.name for path in self._files}
            for entry in manifest.segments if manifest else []:
                if entry.name not in present:
                    path = str(directory / entry.name)
                    self._damaged(Damage(path, 0, entry.first_seq, entry.last_seq, 0, 0, "the segment is missing"))

    def _batches(self) -> Iterator[Batch]:
        for path in self._files:
            name = SegmentName.parse(path.name)
            is_open = name is not None and name.open
            if is_open and path.stat().st_size == 0:
                continue
            yield from self.segment(SegmentBytes(path, fallback=JOURNAL_SCHEMA), is_open)

    def segment(self, content: SegmentBytes, is_open: bool) -> Iterator[Batch]:
        """Batches of one segment, whose bytes need not come from a file; what iterating does for each."""
        path = content.path
        version = VERSIONS[SCHEMA_VERSION]
        named = SegmentName.parse(path.name) is not None
        if content.header is not None:
            if content.header.get("kind") != NAME:
                raise JournalError(f"expected a journal's segment, was a {content.header.get('kind')} file: {path}")
            version = version_of(content.header, path)
        elif not named and not any(isinstance(item, Piece) for item in content):
            raise JournalError(f"expected a journal's segment (an Arrow stream of our own), was something else: {path}")
        elif not is_open:
            self._damaged(Damage(str(path), 0, -1, -1, 0, 0, "the header is damaged"), content)
        self.info.segments += 1
        self.info.open_segments += is_open
        self.info.bytes += content.data.size
        number = 0
        holes: list[Hole] = []
        for item in content:
            if isinstance(item, Hole):
                holes.append(item)
                continue
            try:
                if not item.batch.schema.equals(version.schema):
                    raise ValueError("expected the columns of a journal, was something else")
                batch = to_batch(version.upgrade(item.batch))
            except ValueError as error:
                holes.append(Hole(item.start, item.stop, str(error)))
                continue
            for hole in holes:
                self._lost(path, number, hole, batch.first_seq, content)
            if self._in_order(path, number, item, batch, bool(holes)):
                number += 1
                self._count(batch)
                yield batch
            holes.clear()
        for hole in holes:
            if is_open:
                self._note_torn(path, number, hole, content)
            else:
                self._lost(path, number, hole, -1, content)

    def _lost(self, path: Path, number: int, hole: Hole, found_seq: int, content: SegmentBytes) -> None:
        known = 0 <= self._next_seq < found_seq and self._next_seq >> SEQ_COUNT_BITS == found_seq >> SEQ_COUNT_BITS
        first, last = (self._next_seq, found_seq - 1) if known else (-1, -1)
        self._damaged(Damage(str(path), number, first, last, hole.start, hole.stop, hole.reason), content)

    def _note_torn(self, path: Path, number: int, hole: Hole, content: SegmentBytes) -> None:
        if hole.stop == hole.start:
            return
        damage = Damage(
            str(path), number, -1, -1, hole.start, hole.stop, f"torn tail of an open segment: {hole.reason}"
        )
        self.damages.append(damage)
        self._put_aside(damage, content)

    def _in_order(self, path: Path, number: int, item: Piece, batch: Batch, said: bool) -> bool:
        """True where `batch` comes next, or after a gap that is reported; False where it repeats what was read."""
        expected, found = self._next_seq, batch.first_seq
        same_run = expected >= 0 and expected >> SEQ_COUNT_BITS == found >> SEQ_COUNT_BITS
        if expected >= 0 and found < expected:
            self._damaged(
                Damage(
                    str(path), number, found, found + len(batch.recv_ns) - 1, item.start, item.stop, "repeated records"
                )
            )
            return False
        if same_run and found > expected and not said:
            self._damaged(Damage(str(path), number, expected, found - 1, item.start, item.start, "records are missing"))
        self._next_seq = found + len(batch.recv_ns)
        return True

    def _damaged(self, damage: Damage, content: SegmentBytes | None = None) -> None:
        if self._on_damage == "raise":
            raise JournalCorrupt(str(damage))
        self.damages.append(damage)
        self._put_aside(damage, content)

    def _put_aside(self, damage: Damage, content: SegmentBytes | None) -> None:
        if self._quarantine is None or content is None or damage.stop <= damage.start:
            return
        path = self._quarantine / f"{Path(damage.file).name}.{damage.start}-{damage.stop}"
        try:
            self._quarantine.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.data[damage.start : damage.stop].tobytes())
        except OSError as error:
            raise JournalError(f"expected to put damaged bytes aside, was {error.strerror}: {path}") from error

    def _count(self, batch: Batch) -> None:
        info = self.info
        n = len(batch.recv_ns)
        if info.records == 0:
            info.first_seq, info.first_recv_ns = batch.first_seq, int(batch.recv_ns[0])
        run = batch.first_seq >> SEQ_COUNT_BITS
        if not info.runs or info.runs[-1] != run:
            info.runs.append(run)
        info.batches += 1
        info.records += n
        info.last_seq = batch.first_seq + n - 1
        info.last_recv_ns = int(batch.recv_ns[-1])
        for kind, times in enumerate(np.bincount(batch.kind).tolist()):
            if times:
                info.by_kind[kind] = info.by_kind.get(kind, 0) + times


def read(
    sources: Source | Iterable[Source],
    *,
    on_damage: OnDamage = "raise",
    quarantine: Path | None = None,
    merge: int = 0,
) -> Iterator[Batch]:
    """Batches of a journal, in order; see Reader, which also tells what was damaged."""
    return iter(Reader(sources, on_damage=on_damage, quarantine=quarantine, merge=merge))


def info(sources: Source | Iterable[Source]) -> JournalInfo:
    """What a journal holds, found by reading all of it; damage is reported in it, not raised."""
    reader = Reader(sources, on_damage="report")
    for _ in reader:
        pass
    return reader.info
