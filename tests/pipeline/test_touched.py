"""Order flow looks at no level better than those a message touched, and sees all the same what a full look sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.features.accumulate import on_book
from data_controller.features.parameters import load_parameters
from data_controller.features.settings import FeatureSettings
from data_controller.features.state import FeatureState
from data_controller.market.books import Books
from data_controller.market.core import BOOK_CHANGED, apply_row
from data_controller.market.layout import Proof
from data_controller.market.rows import EVENT, Flag, Kind
from data_controller.market.tables import Channel, Tables

NOW_NS = 1_700_000_000_000_000_000
Change = tuple[bool, int, int, int]  # bid, steps from the middle, size (0 deletes), order id

changes = st.tuples(st.booleans(), st.integers(1, 14), st.integers(0, 3), st.integers(1, 20))
messages = st.lists(st.lists(changes, min_size=1, max_size=4), min_size=1, max_size=60)


def rows_of(message: list[Change], precision: str, at: int, snapshot: bool) -> np.ndarray:
    rows = np.zeros(len(message), EVENT)
    for k, (bid, step, size, ref) in enumerate(message):
        row = rows[k]
        row["seq"], row["recv_ns"], row["part"] = at, NOW_NS + at * 1_000, k
        row["price"], row["size"], row["side"] = (1000 - step if bid else 1000 + step), size, 1 if bid else -1
        row["ref"] = ref + (0 if bid else 100)
        row["kind"] = Kind.SET if precision == "P0" else Kind.CHANGE if size else Kind.CANCEL
        row["flags"] = Flag.SNAPSHOT if snapshot else 0
    rows[-1]["flags"] |= Flag.LAST
    return rows


def ends_of(stream: list[np.ndarray], precision: str, full: bool) -> bytes:
    tables = Tables()
    tables.channel(Channel("bitfinex", "tBTCUSD", "book", precision, "F0", 100))
    books = Books(tables, (1 << Proof.PENDING) | (1 << Proof.PROVED) | (1 << Proof.UNVERIFIABLE))
    features = FeatureState(1, FeatureSettings(), load_parameters())
    for rows in stream:
        for r in range(len(rows)):
            code = apply_row(rows, r, books.books, books.levels, books.index, books.scratch)
            if code == BOOK_CHANGED:
                if full:
                    books.books["touched_bid"] = books.books["touched_ask"] = 0
                on_book(features.acc, 0, books.books, 0, books.levels, int(rows[r]["recv_ns"]), features.params)
    assert features.acc[0]["sums"].any()
    return features.acc.tobytes()


@pytest.mark.parametrize("precision", ["P0", "R0"])
@settings(max_examples=60, deadline=None)
@given(stream=messages)
def test_what_was_touched_is_all_that_can_differ(precision: str, stream: list[list[Change]]) -> None:
    reset = np.zeros(1, EVENT)
    reset["kind"], reset["flags"], reset["recv_ns"] = Kind.RESET, Flag.SNAPSHOT, NOW_NS
    begin = [(bid, step, 2, step) for bid in (True, False) for step in range(1, 13)]
    rows = [reset, rows_of(begin, precision, 0, snapshot=True)]
    rows += [rows_of(message, precision, at, snapshot=False) for at, message in enumerate(stream, 1)]
    assert ends_of(rows, precision, full=False) == ends_of(rows, precision, full=True)
