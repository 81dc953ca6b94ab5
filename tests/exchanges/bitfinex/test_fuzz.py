"""Arbitrary and mutated frames never raise and never leave their memory; `make torture-2` does this for longer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.market.layout import Proof
from tests.exchanges.bitfinex.mangling import SEEDS, Machine, frames_of

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


def with_a_book() -> tuple[Machine, int]:
    """A machine that holds one sound book of two bids, and the book's row."""
    planted = Machine()
    planted.run([SEEDS[1], SEEDS[4], SEEDS[11]])
    assert planted.books.books["n_bid"].tolist() == [2]
    return planted, 0


@pytest.mark.parametrize(
    ("field", "value", "story"),
    [
        ("proof", max(Proof) + 1, "a proof that there is"),
        ("usable", 1, "only a proved book to be usable"),
        ("n_bid", -1, "as many entries as a side has room for"),
        ("n_ask", 10_000, "as many entries as a side has room for"),
    ],
)
def test_a_book_that_breaks_a_promise_is_found(field: str, value: int, story: str) -> None:
    planted, row = with_a_book()
    planted.books.books[row]["proof"], planted.books.books[row]["usable"] = Proof.PENDING, 0
    planted.books.books[row][field] = value
    with pytest.raises(AssertionError, match=story):
        planted.run([])


@pytest.mark.parametrize(
    ("side", "field", "value", "story"),
    [
        (1, "size", 0.0, "sizes above 0"),
        (-1, "size", float("nan"), "sizes above 0"),
        (1, "price", 99.0, "prices from best to worst"),
        (1, "price", float("nan"), "prices from best to worst"),
    ],
)
def test_a_level_that_no_book_may_hold_is_found(side: int, field: str, value: float, story: str) -> None:
    planted, row = with_a_book()
    planted.books.side(row, side)[field][0] = value
    with pytest.raises(AssertionError, match=story):
        planted.run([])


@pytest.mark.parametrize("margin", [0, 1])
def test_a_row_written_outside_its_buffer_is_found(margin: int) -> None:
    planted, _ = with_a_book()
    planted.margins[margin]["part"][-1 if margin == 0 else 0] = 1
    with pytest.raises(AssertionError, match="expected rows inside their buffer"):
        planted.run([])


def test_what_compiled_code_did_is_told() -> None:
    planted, _ = with_a_book()
    known = set(planted.seen.nonzero()[0].tolist())
    planted.run([SEEDS[13]])
    assert planted.seen.any()
    assert set(planted.seen.nonzero()[0].tolist()) - known != set()
