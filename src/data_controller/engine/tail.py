"""What of a journal is not in the lake yet, and a decoding that stands right before it, however it gets there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_controller.engine.compact import Decoding, Sink
from data_controller.engine.kept import Kept
from data_controller.engine.provenance import code_version
from data_controller.errors import JournalError
from data_controller.journal.format import SegmentName
from data_controller.journal.reader import Reader, segments_of
from data_controller.lake.catalogue import Catalogue, Segment


@dataclass(frozen=True)
class Tail:
    """Segments of one run that are not in the lake, the open one included."""

    run: int
    segments: list[Path]
    _numbers: list[int]
    _past: list[Path]  # those of the run before them that are still there
    _past_numbers: list[int]
    _before: Segment | None  # the last of the run that is in the lake
    _kept: Kept

    @property
    def first_ns(self) -> int:
        """When its first record came; 0 where it has none yet."""
        for path in self.segments:
            for batch in Reader(_now(path), on_damage="report"):
                return int(batch.recv_ns[0])
        return 0

    def decode(
        self, sink: Sink | None, on_progress: Callable[[int], None] = lambda n: None, until_ns: int | None = None
    ) -> Decoding | None:
        """The decoding behind its records (of those that came until `until_ns`), which `sink` was told.

        It goes on from what the compactor kept, else from the start of the run. None where neither is left.
        """
        decoding = self._begun(on_progress)
        for path in self.segments if decoding is not None else []:
            assert decoding is not None
            _decode(decoding, path, sink, on_progress, until_ns)
            if decoding.stopped:
                break
        return decoding

    def _begun(self, on_progress: Callable[[int], None]) -> Decoding | None:
        decoding, before = Decoding(), self._before
        if before is None:
            return decoding if self._numbers[0] == 1 else None
        place = before.run, before.number
        if state := self._kept.state(place):
            decoding.restore(state)
        elif self._past_numbers == list(range(1, before.number + 1)):
            for path in self._past:
                _decode(decoding, path, None, on_progress, None)
        elif opening := self._kept.opening(place):
            decoding.begin(opening, None)
        else:
            return None
        return decoding


def tails(catalogue: Catalogue | None, journal: Path) -> list[Tail]:
    """The tail of each run that has one, in order."""
    lake = catalogue.segments if catalogue is not None else {}
    last = {segment.run: segment for segment in lake.values()}
    runs: dict[int, list[tuple[int, Path]]] = {}
    for path in segments_of(journal):
        name = SegmentName.parse(path.name)
        if name is not None:
            runs.setdefault(name.run, []).append((name.number, path))
    kept = Kept(journal, code_version())
    found = []
    for run, segments in runs.items():
        before = last.get(run)
        done = before.number if before is not None else 0
        waiting, past = [s for s in segments if s[0] > done], [s for s in segments if s[0] <= done]
        if waiting:
            parts = ([path for _, path in waiting], [n for n, _ in waiting])
            found.append(Tail(run, *parts, [path for _, path in past], [n for n, _ in past], before, kept))
    return found


def _now(path: Path) -> Path:
    """The segment under the name that it has by now: the open one may have been closed since it was listed."""
    closed = path.with_name(path.name.removesuffix(".open"))
    return closed if closed.exists() else path


def _decode(
    decoding: Decoding, path: Path, sink: Sink | None, on_progress: Callable[[int], None], until_ns: int | None
) -> None:
    before = decoding.last_seq
    try:
        decoding.run(_now(path), sink, on_progress, until_ns)
    except (OSError, JournalError):
        if _now(path) == path or decoding.last_seq != before:
            raise
        decoding.run(_now(path), sink, on_progress, until_ns)  # it was closed in between
