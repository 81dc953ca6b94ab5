"""What the compactor keeps beside the journal to go on from: states for its own program, openings for any."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from data_controller.engine.opening import Opening, decode, encode
from data_controller.journal.files import replace_durably
from data_controller.journal.manifest import Entry

FOLDER = "compaction"
"""Folder in the journal's directory: the compactor's lock, and where it goes on."""
SPREAD = 8
"""States kept over the segments that are there, so that `verify` can begin near the first of them."""
_NAME = re.compile(r"(state|opening)-(\d{7})-(\d{6})\.(?:bin|json)")

Place = tuple[int, int]
"""Run and number of a segment: what is kept stands right behind it."""


class Kept:
    """The files of one journal's compactor. A state is of the very program that wrote it; an opening is of its run."""

    def __init__(self, journal: Path, code: str) -> None:
        self._folder = journal / FOLDER
        self._code = code

    def state(self, place: Place) -> bytes:
        """The state behind a segment; empty where there is none, it is damaged, or another program's."""
        code, content = self._read(self._path("state", place))
        return content if code == self._code else b""

    def opening(self, place: Place) -> Opening | None:
        """The opening behind a segment, None where there is none that can be read."""
        try:
            return decode(self._read(self._path("opening", place))[1])
        except (ValueError, msgspec.MsgspecError):
            return None

    def opening_of(self, run: int) -> Opening | None:
        """Any opening of a run, None where there is none."""
        found = [self.opening(place) for place in self._places("opening") if place[0] == run]
        return next((opening for opening in reversed(found) if opening is not None), None)

    def keep(self, place: Place, state: bytes, opening: Opening | None) -> None:
        """Put both down behind a segment, durably; a state that is empty is none."""
        if opening is not None:
            self._write(self._path("opening", place), encode(opening))
        if state:
            self._write(self._path("state", place), state)

    def forget(self, last: Place, present: Sequence[Entry]) -> None:
        """Delete what nobody can use any more, now that the lake ends behind `last` and the journal has `present`.

        Of the openings those of this run are left that it may go on from, and one of each run that is there. Of the
        states the two newest are left, as readers may be about to use the one before, and `SPREAD` over the segments.
        """
        order = {(entry.run, entry.number): n for n, entry in enumerate(present)}
        places = self._places("opening")
        runs = {run for run, _ in order} | {last[0]}
        newest = {place[0]: place for place in places if place <= last}
        keep = {place for place in newest.values() if place[0] in runs} | set(_two_newest(places, last))
        self._delete("opening", places, keep)
        places = self._places("state")
        keep = set(_two_newest(places, last))
        apart, at = -(-len(order) // SPREAD), -len(order) - 1
        for place in places:
            follows = order.get((place[0], place[1] + 1))
            if follows is not None and place <= last and follows - at >= apart and self._is_own(place):
                keep.add(place)
                at = follows
        self._delete("state", places, keep)

    def _path(self, what: str, place: Place) -> Path:
        return self._folder / f"{what}-{place[0]:07d}-{place[1]:06d}.{'bin' if what == 'state' else 'json'}"

    def _places(self, what: str) -> list[Place]:
        names = (_NAME.fullmatch(path.name) for path in self._folder.glob(f"{what}-*"))
        return sorted((int(name[2]), int(name[3])) for name in names if name is not None)

    def _is_own(self, place: Place) -> bool:
        """Whether a state is this program's, as its first line says."""
        try:
            with self._path("state", place).open("rb") as file:
                return file.readline(256).startswith(f"{self._code} ".encode())
        except OSError:
            return False

    def _delete(self, what: str, places: list[Place], keep: set[Place]) -> None:
        for place in places:
            if place not in keep:
                self._path(what, place).unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        replace_durably(path, f"{self._code} {hashlib.sha256(content).hexdigest()}\n".encode() + content)

    def _read(self, path: Path) -> tuple[str, bytes]:
        """Which program wrote a file, and its content; empty where it is missing or damaged."""
        try:
            head, _, content = path.read_bytes().partition(b"\n")
        except OSError:
            return "", b""
        code, _, digest = head.decode("ascii", "replace").partition(" ")
        return (code, content) if digest == hashlib.sha256(content).hexdigest() else ("", b"")


def _two_newest(places: list[Place], last: Place) -> list[Place]:
    return [place for place in places if place <= last][-2:]
