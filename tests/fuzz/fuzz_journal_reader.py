"""Atheris target: whatever a journal's bytes, records that were written come out, or an error of our own tree.

The input is a list of edits on a sound segment, or a file of its own; `running` has the command line.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import atheris

from tests.fuzz.running import fuzz

GOLDEN = Path(__file__).resolve().parents[1] / "journal" / "golden" / "v1" / "journal-0000001-000001.arrows"

with atheris.instrument_imports(include=["data_controller.journal"]):
    from data_controller.errors import JournalError
    from data_controller.journal.reader import Reader


def records(path: Path) -> list[tuple[int, int, int, int, bytes]]:
    """Every record that can be read."""
    return [
        (batch.first_seq + i, int(batch.recv_ns[i]), int(batch.kind[i]), int(batch.conn[i]), batch.payload(i))
        for batch in Reader(path, on_damage="report")
        for i in range(len(batch.recv_ns))
    ]


def edited(data: atheris.FuzzedDataProvider, content: bytes) -> bytes:
    """`content` after the edits that `data` says, or `data` itself."""
    if data.ConsumeIntInRange(0, 9) == 0:
        return bytes(data.ConsumeBytes(data.remaining_bytes()))
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
    return bytes(edit)


def main() -> None:
    """Run libFuzzer; it ends the process, with 0 where nothing was found."""
    content = GOLDEN.read_bytes()
    expected = set(records(GOLDEN))
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-journal-", dir=memory if memory.is_dir() else None))
    folder.rmdir()
    closed = folder / GOLDEN.name
    left_open = folder / (GOLDEN.name + ".open")

    def one(raw: bytes) -> None:
        data = atheris.FuzzedDataProvider(raw)
        path = left_open if data.ConsumeBool() else closed
        folder.mkdir()
        path.write_bytes(edited(data, content))
        try:
            found = records(path)
        except JournalError:
            return
        finally:  # libFuzzer ends the process without Python's clean-up, so nothing may outlive a run
            path.unlink()
            folder.rmdir()
        unknown = [record for record in found if record not in expected]
        if unknown:
            raise AssertionError(f"expected only records that were written, was also {unknown[0]}")

    fuzz(one, max_bytes=4096)


if __name__ == "__main__":
    main()
