"""Arbitrary and mutated frames never raise and never leave their memory; `make torture-2` does this for longer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchanges.bitfinex.mangling import Machine, frames_of

machine = Machine()


@given(st.lists(st.binary(max_size=60), max_size=8))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_are_rows_or_quarantine(frames: list[bytes]) -> None:
    machine.reset()
    machine.run(frames)
    assert machine.decoder.counters["frames"] == len(frames)


@given(st.binary(min_size=8, max_size=300))
@settings(max_examples=300, deadline=None)
def test_damaged_frames_keep_books_sorted_and_memory_whole(data: bytes) -> None:
    machine.reset()
    machine.run(frames_of(bytes([2, 4, 5, 6, 7, 8, 11, 16]) + data))


@given(st.binary(min_size=8, max_size=120), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_batches_make_no_difference_to_damaged_frames(data: bytes, size: int) -> None:
    results = []
    frames = frames_of(bytes([1, 4, 11]) + data)
    for pieces in (64, size):
        machine.reset()
        machine.run(frames, pieces)
        results.append((machine.books.books.tobytes(), machine.books.levels.tobytes(), machine.decoder.counters))
    assert results[0] == results[1]


def test_the_first_byte_behind_a_frame_cannot_be_read() -> None:
    # Each seed cut at each place, at the edge of readable memory: a reader that goes one too far ends the process.
    for seed in range(27):
        whole = frames_of(bytes([seed]))[0]
        machine.reset()
        machine.run(frames_of(bytes([1, 4, 5, 6, 7, 8])))
        for cut in range(len(whole)):
            machine.run([whole[:cut]], 1)
