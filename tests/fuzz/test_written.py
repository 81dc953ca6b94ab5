"""What holds a reader's batches against what was written sees every kind of difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_controller.journal.reader import join
from data_controller.records import Batch, sequence
from tests.fuzz.written import Written
from tests.journal.journal_making import ROWS, batch_of

FIRST = sequence(3, 7)
SOUND = [
    Batch(batch.first_seq, batch.recv_ns[:n], batch.kind[:n], batch.conn[:n], batch.offsets[: n + 1], batch.data)
    for rows, first in ((ROWS[:4], FIRST), (ROWS[4:7], FIRST + 4), (ROWS[7:], FIRST + 7))
    for batch, n in [batch_of(rows, first)]
]
SOUND = [replace(batch, data=batch.data[: int(batch.offsets[-1])]) for batch in SOUND]


def test_all_some_or_none_of_what_was_written_is_well() -> None:
    written = Written(SOUND)
    assert written.check(SOUND) == len(ROWS)
    assert written.check([join(SOUND)]) == len(ROWS)
    assert written.check(SOUND[1:2]) == 3
    assert written.check([]) == 0


@pytest.mark.parametrize("column", ["recv_ns", "kind", "conn", "offsets", "data"])
def test_one_changed_value_is_found(column: str) -> None:
    changed = getattr(SOUND[1], column).copy()
    changed[1] ^= 1
    with pytest.raises(AssertionError, match="expected only records that were written"):
        Written(SOUND).check([SOUND[0], replace(SOUND[1], **{column: changed})])


@pytest.mark.parametrize("found", [[0, 0], [1, 0], [2, 1]])
def test_a_record_that_comes_again_or_late_is_found(found: list[int]) -> None:
    with pytest.raises(AssertionError, match="expected records"):
        Written(SOUND).check(SOUND[i] for i in found)


@pytest.mark.parametrize("first", [FIRST - 1, FIRST + 8, sequence(4, 7)])
def test_a_record_of_a_number_that_was_not_written_is_found(first: int) -> None:
    with pytest.raises(AssertionError, match="expected records"):
        Written(SOUND).check([replace(SOUND[2], first_seq=first, recv_ns=np.copy(SOUND[2].recv_ns))])
