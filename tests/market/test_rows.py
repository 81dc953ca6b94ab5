"""Event rows: a copy is one, whatever the layout."""

from __future__ import annotations

import numpy as np

from data_controller.market.rows import EVENT, copy_rows


def test_a_copy_holds_the_same_rows_and_is_nobody_elses_memory() -> None:
    rows = np.zeros(10, EVENT)
    rows["price"], rows["kind"] = np.arange(10), 3
    for part in (rows, rows[2:5], rows[::2], rows[:0]):
        copied = copy_rows(part)
        assert copied.dtype == EVENT and copied.tobytes() == part.tobytes()
        assert not np.shares_memory(copied, rows) or not len(copied)
