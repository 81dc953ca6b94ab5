"""What all importers share: a capture read to its end, a journal that takes its place whole or leaves no trace."""

from __future__ import annotations

import bz2
import gzip
import os
import platform
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, TypeVar, cast

import msgspec

from data_controller import __version__
from data_controller.errors import ImportFormatError, JournalError
from data_controller.journal.files import sync_directory
from data_controller.journal.recorder import Recorder
from data_controller.journal.recovery import recover
from data_controller.journal.settings import JournalSettings
from data_controller.lake.tables import TableWriter
from data_controller.records import CAPTURE_ENDS, NO_CONNECTION, Fetched, Kind, Start

MAX_LINE_BYTES = 64 << 20
QUARANTINED_BYTES = 1 << 20
"""How much of one bad line is kept."""
GIVE_UP_LINES = 1000
"""A file whose first lines, that many, are all bad is of another format."""
FAR_AHEAD_NS = 3600 * 10**9
"""A jump of the receive time that the next line must confirm; else one bad digit would drag every later time along."""
MAX_NS = (1 << 63) - 1

Report = dict[str, Any]


class Entry(NamedTuple):
    """One record of a capture."""

    recv_ns: int
    kind: Kind
    payload: bytes


def fetched(request: str, body: bytes) -> bytes:
    """The payload of a FETCHED record: a REST answer that came in full."""
    return msgspec.json.encode(Fetched(request=request, status=200, body=body))


class DraftJournal:
    """A journal under construction beside `out`; it takes its place at the end or leaves no trace."""

    def __init__(self, out: Path, exchange: str, made_up_times: bool) -> None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise JournalError(f"expected a new or empty directory to import into, was taken: {out}: name another")
        out = out.resolve()  # `.` has no name of its own
        self._out = out
        self._draft = out.with_name(f".{out.name}.import-{os.getpid()}")
        self._exchange = exchange
        self._made_up_times = made_up_times
        self._failures: list[JournalError] = []
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft.mkdir()
        except OSError as error:
            raise JournalError(
                f"expected to make a journal in {out.parent}, was {error.strerror}: name a folder that can be written"
            ) from error
        self._run = recover(self._draft).run
        # No clock paces an import: only full arenas and the end write.
        self._recorder = Recorder(JournalSettings(), self._draft, self._run, on_failure=self._failures.append)
        self._quarantine: list[dict[str, Any]] = []
        self._table: TableWriter | None = None
        self._last_ns = 0
        self._open: set[int] = set()
        self._first_bad = ""
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

    def push(self, kind: Kind, recv_ns: int, payload: bytes, conn: int = 0) -> None:
        """Append a record of connection slot `conn`; one that was never opened is opened before its first frame."""
        counts = self.counts
        if recv_ns < self._last_ns:
            recv_ns = self._last_ns
            counts["clamped_times"] += 1
        if counts["records"] == 0:
            counts["first_recv_ns"] = recv_ns
            self._record(Kind.START, NO_CONNECTION, recv_ns, self._start())
        if kind is Kind.OPENED and conn in self._open:
            self._record(Kind.CLOSED, conn, recv_ns, b"the capture opened another connection")
        if kind in (Kind.FRAME, Kind.SENT) and conn not in self._open:
            self._record(Kind.OPENED, conn, recv_ns, b"the capture does not say")
            self._open.add(conn)
            counts["connections"] += 1
        self._record(kind, conn, recv_ns, payload)
        if kind is Kind.OPENED:
            self._open.add(conn)
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

    def garbage(self, line: int, content: bytes, reason: str, file: Path | None = None) -> None:
        """Keep what cannot be read, with its number, in the table `quarantine`."""
        self.counts["garbage_lines"] += 1
        self._first_bad = self._first_bad or f"line {line} is {reason}: {content[:60]!r}"
        row = {"line": line, "reason": reason, "size": len(content), "bytes": content[:QUARANTINED_BYTES]}
        self._quarantine.append(row | {"file": file.name if file is not None else ""})
        if len(self._quarantine) >= 256:
            self._put_aside()

    def _put_aside(self) -> None:
        self._table = self._table or TableWriter(self._draft / "tables", "quarantine")
        self._table.append(self._quarantine)
        self._quarantine = []

    def finish(self) -> Report:
        """Close, move into place, report."""
        for conn in sorted(self._open) or [0]:
            self._record(Kind.CLOSED, conn, self._last_ns, CAPTURE_ENDS.encode())
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

    @property
    def found(self) -> str:
        """What there was instead of anything to import."""
        if self._first_bad:
            return f"{self._first_bad}; another format has another command, see `data-controller import --help`"
        return "it is empty" if self.counts["lines"] == 0 else "it holds neither a frame nor a REST answer"

    def discard(self) -> None:
        """Leave no trace."""
        self._recorder.close()
        shutil.rmtree(self._draft, ignore_errors=True)


def build(out: Path, exchange: str, made_up_times: bool, fill: Callable[[DraftJournal], None], expected: str) -> Report:
    """The report of a journal that `fill` wrote to `out`; nothing is left of it where `fill` raises.

    Raises ImportFormatError with `expected` where it wrote neither a frame nor a REST answer, JournalError where
    `out` is taken.
    """
    journal = DraftJournal(out, exchange, made_up_times)
    try:
        fill(journal)
        if journal.counts["frames"] + journal.counts["fetched"] == 0:
            raise ImportFormatError(f"{expected}: {journal.found}")
        return journal.finish()
    except BaseException:
        journal.discard()
        raise


def open_capture(path: Path) -> IO[bytes]:
    """The file's plain bytes, whether it is plain, gzipped or bzipped; ImportFormatError where it is unreadable."""
    try:
        file = path.open("rb")
        magic = file.read(3)
        file.seek(0)
    except OSError as error:
        advice = "name the files in it" if path.is_dir() else "look at its name and at who may read it"
        raise ImportFormatError(
            f"expected a capture to import, was unreadable: {path}: {error.strerror}: {advice}"
        ) from error
    if magic[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.open(file))
    return cast(IO[bytes], bz2.open(file)) if magic == b"BZh" else file


def lines_of(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends; a line over MAX_LINE_BYTES comes in parts of that size."""
    number = 0
    try:
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            yield number, line.rstrip(b"\r\n")
    except (EOFError, OSError, zlib.error, ValueError) as error:
        raise ImportFormatError(
            f"expected {path} to be readable to its end, was damaged after line {number}: {error}: fetch it again, or "
            "import what can be unpacked of it, whose last line is then kept aside"
        ) from error


class Timed(Protocol):
    """Anything with a receive time."""

    @property
    def recv_ns(self) -> int:
        """When it was received, Unix ns."""
        ...


class Lost(Enum):
    """What stands for a line that could not be read."""

    LINE = 1


T = TypeVar("T", bound=Timed)
L = TypeVar("L")
Parse = Callable[[bytes], Entry | str | None]
"""A line as its record, None where it is to be passed over, or why it cannot be read."""


def entries_of(path: Path, parse: Callable[[bytes], T | str | None], journal: DraftJournal) -> Iterator[T]:
    """What `parse` makes of the lines of a capture, in their order; see `confirmed`."""
    with open_capture(path) as file:
        for found in confirmed(lines_of(file, path), parse, journal, path):
            if not isinstance(found, Lost):
                yield found


def confirmed(
    lines: Iterable[tuple[int, L]],
    parse: Callable[[L], T | str | None],
    journal: DraftJournal,
    path: Path,
    *,
    far_ns: int = FAR_AHEAD_NS,
) -> Iterator[T | Lost]:
    """What `parse` makes of numbered lines (or rows) whose times can be trusted, in their order.

    What it cannot read goes into quarantine and is Lost.LINE here; so does a line whose time is more than `far_ns`
    ahead of the last good one's unless the next line is as far. A file that begins with GIVE_UP_LINES bad lines is
    given up.
    """
    last_ns = 0
    suspect: tuple[int, L, T] | None = None
    lost_behind = False  # something behind the suspect was lost

    def put_aside(number: int, line: L, reason: str) -> None:
        journal.garbage(number, line if isinstance(line, bytes) else repr(line).encode(), reason, path)

    def decided(trusted: bool) -> Iterator[T | Lost]:
        nonlocal suspect, lost_behind
        if suspect is None:
            return
        number, line, found = suspect
        if trusted:
            yield found
        else:
            put_aside(number, line, "its time is far from that of the lines around it")
        if lost_behind or not trusted:
            yield Lost.LINE
        suspect, lost_behind = None, False

    for number, line in lines:
        journal.counts["lines"] += 1
        if not line:
            continue
        found = parse(line)
        if found is None:
            continue
        if isinstance(found, str) or not 0 <= found.recv_ns <= MAX_NS:
            put_aside(number, line, found if isinstance(found, str) else "its time is absurd")
            if suspect is None:
                yield Lost.LINE
            lost_behind = suspect is not None
            if number >= GIVE_UP_LINES and last_ns == 0:
                yield from decided(False)
                return
            continue
        if suspect is not None:
            trusted = found.recv_ns >= suspect[2].recv_ns - far_ns
            last_ns = suspect[2].recv_ns if trusted else last_ns
            yield from decided(trusted)
        if found.recv_ns > last_ns + far_ns:
            suspect = (number, line, found)
            continue
        last_ns = max(last_ns, found.recv_ns)
        yield found
    yield from decided(last_ns == 0)
