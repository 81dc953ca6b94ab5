"""Captures by cryptofeed's raw data collection: a line a frame, with its receive time, in one file or several."""

from __future__ import annotations

import ast
import heapq
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_controller.lake.importers._journal import DraftJournal, Entry, Report, build, entries_of, fetched
from data_controller.records import Kind

_STAMP = rb"(\d{9,10})(?:\.(\d{1,9}))?"
_RECEIVED = re.compile(_STAMP + rb": (.*)", re.DOTALL)
_SENT = re.compile(rb"(\S+) <- " + _STAMP + rb": (.*)", re.DOTALL)
_FETCHED = re.compile(rb"(\S+) -> " + _STAMP + rb": (.*)", re.DOTALL)
_OPENED = re.compile(rb"(\S+) <-> " + _STAMP)
_NO_LINE = "not a line of a cryptofeed capture"


def import_cryptofeed(files: Path | Sequence[Path], exchange: str, out: Path) -> Report:
    """Import a cryptofeed capture, plain, gzipped or bzipped, into a new journal `out`; returns the counts.

    The files of one capture (REST lists, sockets) become one journal, merged by time, each file with a connection slot
    of its own. Frames that the capture holds as Python bytes are recorded as those bytes. Times are taken digit for
    digit; one that goes back is raised to the last and counted in `clamped_times`. Lines that are none of the format
    are counted in `garbage_lines` and kept, with number and bytes, in the table `quarantine` under `out`/tables.
    Raises ImportFormatError where no file holds a frame or a REST answer, JournalError where `out` is taken.
    """
    paths = [files] if isinstance(files, Path) else list(files)

    def fill(journal: DraftJournal) -> None:
        if len(paths) == 1:
            for entry in entries_of(paths[0], _parsed, journal):
                journal.push(entry.kind, entry.recv_ns, entry.payload)
            return
        streams = [_in_order(entries_of(path, _parsed, journal), slot, journal) for slot, path in enumerate(paths)]
        for at_ns, slot, entry in heapq.merge(*streams, key=lambda item: item[:2]):
            journal.push(entry.kind, at_ns, entry.payload, slot)

    named = ", ".join(map(str, paths))
    return build(
        out,
        exchange,
        False,
        fill,
        f"expected lines of a cryptofeed capture (`UNIX_TIME: FRAME`), was no such line in {named}",
    )


def _in_order(entries: Iterator[Entry], slot: int, journal: DraftJournal) -> Iterator[tuple[int, int, Entry]]:
    """A file's entries with times that do not decrease, so that merging keeps its order."""
    last_ns = 0
    for entry in entries:
        if entry.recv_ns < last_ns:
            journal.counts["clamped_times"] += 1
        last_ns = max(last_ns, entry.recv_ns)
        yield last_ns, slot, entry


def _nanoseconds(seconds: bytes, fraction: bytes | None) -> int:
    return int(seconds) * 10**9 + int((fraction or b"").ljust(9, b"0"))


def _wire_bytes(text: bytes) -> bytes:
    """What was received: `text`, or the bytes that it writes as a Python literal; ValueError where it does badly."""
    if text[:2] not in (b"b'", b'b"'):
        return text
    try:
        value = ast.literal_eval(text.decode("ascii"))
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, bytes):
        raise ValueError("no bytes")
    return value


def _parsed(line: bytes) -> Entry | str | None:
    if match := _RECEIVED.fullmatch(line):
        try:
            return Entry(_nanoseconds(match[1], match[2]), Kind.FRAME, _wire_bytes(match[3]))
        except ValueError:
            return "not the bytes that it says it is"
    if match := _SENT.fullmatch(line):
        return Entry(_nanoseconds(match[2], match[3]), Kind.SENT, match[4])
    if match := _OPENED.fullmatch(line):
        return Entry(_nanoseconds(match[2], match[3]), Kind.OPENED, match[1])
    if match := _FETCHED.fullmatch(line):
        address = match[1].decode("utf-8", "replace")
        return Entry(_nanoseconds(match[2], match[3]), Kind.FETCHED, fetched(address, match[4]))
    return None if line.startswith(b"configuration: {") else _NO_LINE
