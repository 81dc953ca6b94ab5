"""Bare frames: one a line, or one JSON array of them; their receive times are made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from data_controller.errors import ImportFormatError
from data_controller.lake.importers._journal import (
    GIVE_UP_LINES,
    DraftJournal,
    Report,
    build,
    lines_of,
    open_capture,
)
from data_controller.records import Kind

MADE_UP_START_NS = 1_577_836_800 * 10**9
"""Where made-up receive times begin: 2020-01-01T00:00:00Z."""
MADE_UP_STEP_NS = 1_000_000
MAX_ARRAY_BYTES = 1 << 30
"""A file that is one JSON array is read whole, up to this size."""


def import_frames(file: Path, exchange: str, out: Path) -> Report:
    """Import bare frames, plain, gzipped or bzipped, into a new journal `out`; returns the counts.

    The file has one frame a line, or is one JSON array of frames, whose text is then kept as it stands. Receive times
    are made up, 1 ms apart from 2020 on, and START says so. Raises ImportFormatError where the file holds no frame,
    JournalError where `out` is taken.
    """

    def fill(journal: DraftJournal) -> None:
        now_ns = MADE_UP_START_NS
        with open_capture(file) as capture:
            for frame in _frames(capture, file, journal):
                journal.push(Kind.FRAME, now_ns, frame)
                now_ns += MADE_UP_STEP_NS

    expected = f"expected a JSON text a line, or one JSON array of frames, was neither in {file}"
    return build(out, exchange, True, fill, expected)


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
    filled = (line for _, line in lines_of(file, path) if line.strip())
    first, more = next(filled, b""), next(filled, None)
    elements = None
    if first.lstrip()[:1] == b"[" and (more is None or not _is_json(first)):
        file.seek(0)
        text = file.read(MAX_ARRAY_BYTES + 1)
        if len(text) > MAX_ARRAY_BYTES:
            raise ImportFormatError(
                f"expected an array of at most {MAX_ARRAY_BYTES} bytes, was more in {path}: write a frame a line"
            )
        elements = _elements(text)
    file.seek(0)
    return elements


def _frames(file: IO[bytes], path: Path, journal: DraftJournal) -> Iterator[bytes]:
    """Frames of a file that is one JSON array of them, or has one a line."""
    elements = _one_array(file, path)
    if elements is not None:
        yield from elements
        return
    good = False
    for number, line in lines_of(file, path):
        journal.counts["lines"] = number
        if not line.strip():
            continue
        if _is_json(line):
            good = True
            yield line
            continue
        journal.garbage(number, line, "not a JSON text", path)
        if number >= GIVE_UP_LINES and not good:
            return
