"""Books whose snapshot comes by the stream and whose messages are numbered or linked: what to take, drop or miss.

A dropped message changes nothing. Where one is missing the book is LOST until a snapshot that is not older than what
was seen; only a new subscription, whose cell begins NEW, takes any.
"""

from __future__ import annotations

from typing import Any

from data_controller.exchanges.streaming.rows import put_gap
from data_controller.exchanges.streaming.state import (
    C_DUPLICATES,
    C_SEQUENCE_GAPS,
    C_STALE_UPDATES,
    CHAINED,
    LOST,
    NEW,
)
from data_controller.kernels import kernel

TAKE, DROP, MISSING = 0, 1, 2


@kernel
def judge_change(cells: Any, at: Any, number: Any, follows: Any, counters: Any) -> Any:
    """What to do with change `number` of cell `at`, which `follows` the last one taken or does not."""
    phase = cells[at].phase
    if phase != CHAINED:
        cells[at].last = max(cells[at].last, number)
        counters[C_STALE_UPDATES] += 1
        return DROP
    if number <= cells[at].last:
        counters[C_DUPLICATES] += 1
        return DROP
    if follows:
        return TAKE
    cells[at].last = number
    return MISSING


@kernel
def judge_snapshot(cells: Any, at: Any, number: Any, counters: Any) -> Any:
    """What to do with a snapshot that stands at `number`."""
    phase = cells[at].phase
    if phase == NEW or number >= cells[at].last:
        return TAKE
    if phase == CHAINED:
        return MISSING
    counters[C_STALE_UPDATES] += 1
    return DROP


@kernel
def lose(cells: Any, at: Any, rows: Any, r: Any, seq: Any, now: Any, counters: Any) -> Any:
    """The GAP row of a book that is LOST from here on; the row behind it."""
    counters[C_SEQUENCE_GAPS] += 1
    cells[at].phase = LOST
    return put_gap(rows, r, seq, now, cells[at].row, 0, 0)
