"""What the lake has: per venue, instrument and day the rows, bytes, gaps, and how long books were proved."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.lake.catalogue import Catalogue
from data_controller.lake.gaps import Gap, Run, complete, gap_rows, runs_of
from data_controller.lake.layout import CONTROL, DAY_NS, NOBODY


def listing(catalogue: Catalogue) -> list[dict[str, Any]]:
    """A row for each venue, instrument and day, in that order.

    `proved` is the share of the recorded time of its books in which none of them was in a gap, None where it has no
    book or nothing says when an engine ran.
    """
    runs = runs_of(catalogue)
    gaps = [gap for gap in complete(gap_rows(catalogue), runs) if gap.exchange != "*"]
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    books: dict[tuple[str, str, str], set[tuple[int, int]]] = {}
    for file in catalogue.all_files():
        if file.instrument == NOBODY or file.channel == CONTROL:
            continue
        key = (file.exchange, file.instrument, file.date)
        row = found.setdefault(
            key,
            {
                "exchange": file.exchange,
                "instrument": file.instrument,
                "date": file.date,
                "channels": set(),
                "rows": 0,
                "bytes": 0,
                "gaps": 0,
                "proved": None,
            },
        )
        row["channels"].add(file.channel)
        row["rows"] += file.rows
        row["bytes"] += file.bytes
        if file.channel == "book" and file.events:
            books.setdefault(key, set()).add((file.first_seq >> 40, file.row))
    for key, row in found.items():
        row["channels"] = sorted(row["channels"])
        day_ns = int(np.datetime64(key[2], "D").astype(np.int64)) * DAY_NS
        mine = [gap for gap in gaps if gap[:2] == key[:2] and _overlap(gap, day_ns, day_ns + DAY_NS)]
        row["gaps"] = sum(gap.cause != "START" for gap in mine)
        row["proved"] = _proved(mine, books.get(key, set()), runs, day_ns)
    return [found[key] for key in sorted(found)]


def _overlap(gap: Gap, start_ns: int, stop_ns: int) -> bool:
    return gap.start_ns < stop_ns and (gap.end_ns == 0 or gap.end_ns >= start_ns)


def _proved(gaps: list[Gap], books: set[tuple[int, int]], runs: list[Run], day_ns: int) -> float | None:
    recorded = lost = 0
    spans = {run.number: run for run in runs}
    for number, channel in books:
        run = spans.get(number)
        if run is None:
            continue
        start, stop = max(run.first_ns, day_ns), min(run.last_ns, day_ns + DAY_NS)
        if stop <= start:
            continue
        recorded += stop - start
        reached = start
        for gap in sorted(gaps):  # by channel, then by their start
            if gap.seq >> 40 == number and gap.row == channel:
                low, high = max(gap.start_ns, reached), min(gap.end_ns or stop, stop)
                lost += max(0, high - low)
                reached = max(reached, high)
    return 1 - lost / recorded if recorded else None
