"""Importers: foreign captures become journals, line for line, and what cannot be read is counted and kept aside."""

from __future__ import annotations

import gzip
import os
import platform
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from data_controller import __version__
from data_controller.errors import ImportFormatError, JournalError
from data_controller.journal.files import sync_directory
from data_controller.journal.recorder import Recorder
from data_controller.journal.recovery import recover
from data_controller.journal.settings import JournalSettings
from data_controller.lake.tables import TableWriter
from data_controller.records import CAPTURE_ENDS, NO_CONNECTION, Fetched, Kind, Start

MADE_UP_START_NS = 1_577_836_800 * 10**9
"""Where made-up receive times begin: 2020-01-01T00:00:00Z."""
MADE_UP_STEP_NS = 1_000_000
MAX_LINE_BYTES = 64 << 20
QUARANTINED_BYTES = 1 << 20
"""How much of one bad line is kept."""
GIVE_UP_LINES = 1000
"""A file whose first lines, that many, are all bad is of another format."""
FAR_AHEAD_NS = 3600 * 10**9
"""A jump of the receive time that the next line must confirm; else one bad digit would drag every later time along."""

_STAMP = rb"(\d{9,10})(?:\.(\d{1,9}))?"
_RECEIVED = re.compile(_STAMP + rb": (.*)", re.DOTALL)
_SENT = re.compile(rb"(\S+) <- " + _STAMP + rb": (.*)", re.DOTALL)
_FETCHED = re.compile(rb"(\S+) -> " + _STAMP + rb": (.*)", re.DOTALL)
_OPENED = re.compile(rb"(\S+) <-> " + _STAMP)
_MAX_NS = (1 << 63) - 1

Report = dict[str, Any]


class _Journal:
    """A journal under construction beside `out`; it takes its place at the end or leaves no trace."""

    def __init__(self, out: Path, exchange: str, made_up_times: bool) -> None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise JournalError(f"expected a new or empty directory to import into, was taken: {out}")
        self._out = out
        self._draft = out.with_name(f".{out.name}.import-{os.getpid()}")
        self._exchange = exchange
        self._made_up_times = made_up_times
        self._failures: list[JournalError] = []
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._draft, ignore_errors=True)
        self._run = recover(self._draft).run
        # No clock paces an import: only full arenas and the end write.
        self._recorder = Recorder(JournalSettings(), self._draft, self._run, on_failure=self._failures.append)
        self._quarantine: list[dict[str, Any]] = []
        self._table: TableWriter | None = None
        self._last_ns = 0
        self._open = False
        self.counts: Report = {
            "journal": str(out),
            "exchange": exchange,
            "made_up_times": made_up_times,
            "lines": 0,
            "records": 0,
            "frames": 0,
            "sent": 0,
            "fetched": 0,
            "connections": 0,
            "garbage_lines": 0,
            "clamped_times": 0,
            "first_recv_ns": 0,
            "last_recv_ns": 0,
        }

    def push(self, kind: Kind, recv_ns: int, payload: bytes) -> None:
        counts = self.counts
        if recv_ns < self._last_ns:
            recv_ns = self._last_ns
            counts["clamped_times"] += 1
        if counts["records"] == 0:
            counts["first_recv_ns"] = recv_ns
            self._record(Kind.START, NO_CONNECTION, recv_ns, self._start())
        if kind is Kind.OPENED and self._open:
            self._record(Kind.CLOSED, 0, recv_ns, b"the capture opened another connection")
        if kind in (Kind.FRAME, Kind.SENT) and not self._open:
            self._record(Kind.OPENED, 0, recv_ns, b"the capture does not say")
            self._open = True
            counts["connections"] += 1
        self._record(kind, 0, recv_ns, payload)
        if kind is Kind.OPENED:
            self._open = True
        counts[{Kind.FRAME: "frames", Kind.SENT: "sent", Kind.FETCHED: "fetched"}.get(kind, "connections")] += 1

    def _record(self, kind: Kind, conn: int, recv_ns: int, payload: bytes) -> None:
        if self._recorder.should_pause:
            self._recorder.wait_for_room()
        self._recorder.push(kind, conn, recv_ns, payload)
        self._last_ns = recv_ns
        self.counts["records"] += 1
        if self._failures:
            raise self._failures[0]

    def _start(self) -> bytes:
        start = Start(
            run=self._run,
            code=__version__,
            lock="",
            platform=platform.platform(),
            config={"exchange": self._exchange},
            instruments=[],
            channels=[],
            restored={},
            made_up_times=self._made_up_times,
        )
        return msgspec.json.encode(start)

    def garbage(self, line: int, content: bytes, reason: str) -> None:
        self.counts["garbage_lines"] += 1
        row = {"line": line, "reason": reason, "size": len(content), "bytes": content[:QUARANTINED_BYTES]}
        self._quarantine.append(row)
        if len(self._quarantine) >= 256:
            self._put_aside()

    def _put_aside(self) -> None:
        self._table = self._table or TableWriter(self._draft / "tables", "quarantine")
        self._table.append(self._quarantine)
        self._quarantine = []

    def finish(self) -> Report:
        """Close, move into place, report."""
        self._record(Kind.CLOSED, 0, self._last_ns, CAPTURE_ENDS.encode())
        if self._quarantine:
            self._put_aside()
        if self._table is not None:
            self._table.close()
        self._recorder.close()
        if self._failures:
            raise self._failures[0]
        self.counts["last_recv_ns"] = self._last_ns
        self.counts["journal_bytes"] = self._recorder.bytes_written
        self._draft.replace(self._out)
        sync_directory(self._out.parent)
        return self.counts

    def discard(self) -> None:
        """Leave no trace."""
        self._recorder.close()
        shutil.rmtree(self._draft, ignore_errors=True)


def _open_capture(path: Path) -> IO[bytes]:
    try:
        file = path.open("rb")
        magic = file.read(2)
        file.seek(0)
    except OSError as error:
        raise ImportFormatError(f"expected a capture to import, was unreadable: {path}: {error.strerror}") from error
    return cast(IO[bytes], gzip.open(file)) if magic == b"\x1f\x8b" else file


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends; a line over MAX_LINE_BYTES comes in parts of that size."""
    number = 0
    try:
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            yield number, line.rstrip(b"\r\n")
    except (EOFError, OSError, zlib.error) as error:
        raise ImportFormatError(
            f"expected {path} to be readable to its end, was damaged after line {number}: {error}"
        ) from error


def _nanoseconds(seconds: bytes, fraction: bytes | None) -> int:
    return int(seconds) * 10**9 + int((fraction or b"").ljust(9, b"0"))


def _parsed(line: bytes) -> tuple[Kind, int, bytes] | None:
    """Kind, time and payload of a cryptofeed line, None where it is not one."""
    if match := _RECEIVED.fullmatch(line):
        kind, recv_ns, payload = Kind.FRAME, _nanoseconds(match[1], match[2]), match[3]
    elif match := _SENT.fullmatch(line):
        kind, recv_ns, payload = Kind.SENT, _nanoseconds(match[2], match[3]), match[4]
    elif match := _OPENED.fullmatch(line):
        kind, recv_ns, payload = Kind.OPENED, _nanoseconds(match[2], match[3]), match[1]
    elif match := _FETCHED.fullmatch(line):
        fetched = Fetched(request=match[1].decode("utf-8", "replace"), status=200, body=match[4])
        kind, recv_ns, payload = Kind.FETCHED, _nanoseconds(match[2], match[3]), msgspec.json.encode(fetched)
    else:
        return None
    return (kind, recv_ns, payload) if recv_ns <= _MAX_NS else None


def _confirmed(lines: Iterator[tuple[int, bytes]], journal: _Journal) -> Iterator[tuple[Kind, int, bytes]]:
    """Parsed lines; a time far ahead of the last good one counts only where the next line is as far."""
    last_ns = 0
    suspect: tuple[int, bytes, tuple[Kind, int, bytes]] | None = None
    for number, line in lines:
        journal.counts["lines"] = number
        if not line or (number == 1 and line.startswith(b"configuration:")):
            continue
        found = _parsed(line)
        if found is None:
            journal.garbage(number, line, "not a line of a cryptofeed capture")
            if number >= GIVE_UP_LINES and last_ns == 0:
                return
            continue
        if suspect is not None:
            if found[1] >= suspect[2][1] - FAR_AHEAD_NS:
                last_ns = suspect[2][1]
                yield suspect[2]
            else:
                journal.garbage(suspect[0], suspect[1], "its time is far from that of the lines around it")
            suspect = None
        if found[1] > last_ns + FAR_AHEAD_NS:
            suspect = (number, line, found)
            continue
        last_ns = max(last_ns, found[1])
        yield found
    if suspect is not None and last_ns == 0:
        yield suspect[2]
    elif suspect is not None:
        journal.garbage(suspect[0], suspect[1], "its time is far from that of the lines around it")


def import_cryptofeed(file: Path, exchange: str, out: Path) -> Report:
    """Import a cryptofeed capture, plain or gzipped, into a new journal `out`; returns the counts.

    Times are taken digit for digit; one that goes back is raised to the last and counted in `clamped_times`. Lines that
    are none of the format are counted in `garbage_lines` and kept, with number and bytes, in the table `quarantine`
    under `out`/tables. Raises ImportFormatError where the file holds no frame, JournalError where `out` is taken.
    """
    with _open_capture(file) as capture:
        journal = _Journal(out, exchange, made_up_times=False)
        try:
            for kind, recv_ns, payload in _confirmed(_lines(capture, file), journal):
                journal.push(kind, recv_ns, payload)
            if journal.counts["frames"] == 0:
                raise ImportFormatError(
                    f"expected lines of a cryptofeed capture (`UNIX_TIME: FRAME`), was no such line in {file}"
                )
            return journal.finish()
        except BaseException:
            journal.discard()
            raise


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return False
    return True


def _elements(text: bytes) -> list[bytes] | None:
    """The elements of a JSON array of frames as their own text; None where `text` is not one."""
    try:
        elements = [bytes(memoryview(item)) for item in msgspec.json.decode(text, type=list[msgspec.Raw])]
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    return elements if elements and all(element[:1] in (b"[", b"{") for element in elements) else None


def _one_array(file: IO[bytes], path: Path) -> list[bytes] | None:
    """The frames of a file that is one JSON array of them, None where it is not; the file is then at its beginning."""
    filled = (line for _, line in _lines(file, path) if line.strip())
    first, more = next(filled, b""), next(filled, None)
    elements = None
    if first.lstrip()[:1] == b"[" and (more is None or not _is_json(first)):
        file.seek(0)
        elements = _elements(file.read())
    file.seek(0)
    return elements


def _frames(file: IO[bytes], path: Path, journal: _Journal) -> Iterator[bytes]:
    """Frames of a file that is one JSON array of them, or has one a line."""
    elements = _one_array(file, path)
    if elements is not None:
        yield from elements
        return
    good = False
    for number, line in _lines(file, path):
        journal.counts["lines"] = number
        if not line.strip():
            continue
        if _is_json(line):
            good = True
            yield line
            continue
        journal.garbage(number, line, "not a JSON text")
        if number >= GIVE_UP_LINES and not good:
            return


def import_frames(file: Path, exchange: str, out: Path) -> Report:
    """Import bare frames, plain or gzipped, into a new journal `out`; returns the counts.

    The file has one frame a line, or is one JSON array of frames, whose text is then kept as it stands. Receive times
    are made up, 1 ms apart from 2020 on, and START says so. Raises ImportFormatError where the file holds no frame,
    JournalError where `out` is taken.
    """
    with _open_capture(file) as capture:
        journal = _Journal(out, exchange, made_up_times=True)
        try:
            now_ns = MADE_UP_START_NS
            for frame in _frames(capture, file, journal):
                journal.push(Kind.FRAME, now_ns, frame)
                now_ns += MADE_UP_STEP_NS
            if journal.counts["frames"] == 0:
                raise ImportFormatError(
                    f"expected a JSON text a line, or one JSON array of frames, was neither in {file}"
                )
            return journal.finish()
        except BaseException:
            journal.discard()
            raise
