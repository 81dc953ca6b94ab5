"""Atheris target: whatever a journal's bytes, records that were written come out, or an error of our own tree.

The input is a list of edits on a sound segment, or a file of its own; `running` has the command line.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import atheris
import numpy as np

from data_controller.errors import JournalError
from data_controller.journal import format as journal_format
from data_controller.journal import reader, segment
from tests.fuzz.running import fuzz, instrument
from tests.fuzz.written import Written
from tests.journal.journal_making import ROWS, write

GOLDEN = Path(__file__).resolve().parents[1] / "journal" / "golden" / "v1" / "journal-0000001-000001.arrows"


def edited(data: atheris.FuzzedDataProvider, content: bytes) -> bytearray:
    """`content` after the edits that `data` says, or `data` itself."""
    if data.ConsumeIntInRange(0, 9) == 0:
        return bytearray(data.ConsumeBytes(data.remaining_bytes()))
    edit = bytearray(content)
    for _ in range(data.ConsumeIntInRange(1, 8)):
        at = data.ConsumeIntInRange(0, len(edit))
        what = data.ConsumeIntInRange(0, 4)
        if what == 0:
            edit[at:at] = data.ConsumeBytes(data.ConsumeIntInRange(0, 32))
        elif what == 1:
            del edit[at : at + data.ConsumeIntInRange(1, 400)]
        elif what == 2:
            piece = data.ConsumeBytes(data.ConsumeIntInRange(1, 16))
            edit[at : at + len(piece)] = piece
        elif what == 3 and at < len(edit):
            edit[at] ^= 1 << data.ConsumeIntInRange(0, 7)
        else:
            source = data.ConsumeIntInRange(0, len(edit))
            edit[at:at] = edit[source : source + data.ConsumeIntInRange(1, 700)]
    return edit


def main() -> None:
    """Run libFuzzer; it ends the process, with 0 where nothing was found."""
    with tempfile.TemporaryDirectory() as name:
        two, three = Path(name, "two"), Path(name, "three")
        write(two, [ROWS[1:3], ROWS[3:]])
        write(three, [ROWS[1:3], ROWS[3:8], ROWS[8:]])
        # Most inputs edit a small segment: what is left whole costs time and tells little.
        paths = [next(folder.glob("*.arrows")) for folder in (two, two, three, GOLDEN.parent)]
        sources = [(path.read_bytes(), Written(reader.Reader(path))) for path in paths]
    names = (GOLDEN, GOLDEN.with_name(GOLDEN.name + ".open"))
    instrument(reader, segment, journal_format)

    def one(raw: bytes) -> None:
        data = atheris.FuzzedDataProvider(raw)
        is_open = data.ConsumeBool()
        content, written = sources[data.ConsumeIntInRange(0, 3)]
        memory = np.frombuffer(edited(data, content), np.uint8)
        try:
            damaged = segment.SegmentBytes(names[is_open], journal_format.JOURNAL_SCHEMA, memory)
            found = list(reader.Reader([], on_damage="report").segment(damaged, is_open))
        except JournalError:
            return
        written.check(found)

    fuzz(one, max_bytes=4096)


if __name__ == "__main__":
    main()
