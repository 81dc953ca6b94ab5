"""The golden journal cut at every byte, closed, open and recovered, and with each bit of every byte flipped."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from data_controller.errors import JournalCorrupt
from data_controller.journal import Reader, recover
from tests.journal.journal_making import Record, put, records, records_of

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "journal" / "golden" / "v1" / "journal-0000001-000001.arrows"
ROUNDS = GOLDEN.stat().st_size
MEMORY = Path("/dev/shm")


@cache
def whole() -> tuple[bytes, list[Record]]:
    """The segment's bytes and what they hold."""
    return GOLDEN.read_bytes(), records(GOLDEN)


def attempt(seed: int) -> dict[str, int]:
    """Everything that can be done to byte `seed`."""
    content, expected = whole()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        closed = Path(folder) / GOLDEN.name
        flips = sum(flipped(closed, content, seed, bit, expected) for bit in range(8))
        closed.unlink()
        if seed == 0:
            return {"flips": 8, "flips_reported": flips}
        cut = content[:seed]
        put(closed, cut)
        reader = Reader(closed, on_damage="report")
        found = records_of(reader)
        assert found == expected[: len(found)], f"closed, cut at {seed}: records that were not written"
        assert reader.damages, f"closed, cut at {seed}: no damage said"
        try:
            records(closed)
        except JournalCorrupt:
            pass
        else:
            raise AssertionError(f"closed, cut at {seed}: read as whole")
        closed.unlink()

        left_open = Path(folder) / (GOLDEN.name + ".open")
        put(left_open, cut)
        found = records_of(Reader(left_open, on_damage="report"))
        assert found == expected[: len(found)], f"open, cut at {seed}: records that were not written"
        outcome = recover(Path(folder))
        assert outcome.records == len(found), f"recovered {outcome.records} of {len(found)} records, cut at {seed}"
        assert not left_open.exists(), f"cut at {seed}: still open after recovery"
        if found:
            assert records(Path(folder)) == found, f"cut at {seed}: recovery changed records"
    return {"flips": 8, "flips_reported": flips, "cuts": 1, "records_kept": len(found)}


def flipped(path: Path, content: bytes, at: int, bit: int, expected: list[Record]) -> bool:
    """True where the flip was reported; a flip that is not must have changed no record."""
    damaged = bytearray(content)
    damaged[at] ^= 1 << bit
    put(path, bytes(damaged))
    reader = Reader(path, on_damage="report")
    found = records_of(reader)
    if not reader.damages:
        assert found == expected, f"bit {bit} of byte {at} changed records and was not found"
        return False
    assert all(record in expected for record in found), f"bit {bit} of byte {at} made a record"
    return True
