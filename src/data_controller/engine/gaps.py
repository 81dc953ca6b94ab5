"""All gaps on disk: those of the lake, and those of journal segments that are not in it yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.engine.compact import Decoding
from data_controller.journal.format import SegmentName
from data_controller.journal.reader import Reader, segments_of
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.gaps import Gap, Run, complete, gap_rows, runs_of
from data_controller.lake.layout import Key


class _OnlyGaps:
    """A sink that keeps rows of the table `gaps`."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []

    def events(self, key: Key, rows: NDArray[np.void]) -> None:
        """Nothing."""

    def side(self, key: Key, rows: Sequence[Mapping[str, Any]]) -> None:
        if key.channel == "gaps":
            self.rows += rows


def all_gaps(
    catalogue: Catalogue | None, journal: Path | None, on_progress: Callable[[int], None] = lambda n: None
) -> list[Gap]:
    """Every gap, by its start; runs of which the lake has not all are decoded from the journal instead."""
    rows: list[Mapping[str, Any]] = list(gap_rows(catalogue)) if catalogue is not None else []
    runs = {run.number: run for run in runs_of(catalogue)} if catalogue is not None else {}
    done = catalogue.segments if catalogue is not None else {}
    paths: dict[int, list[Path]] = {}
    for path in segments_of(journal) if journal is not None else []:
        name = SegmentName.parse(path.name)
        if name is not None:
            paths.setdefault(name.run, []).append(path)
    for number, segments in paths.items():
        first = SegmentName.parse(segments[0].name)
        if all(path.name in done for path in segments) or first is None or first.number != 1:
            continue
        sink, decoding = _OnlyGaps(), Decoding()
        for path in segments:
            if path.stat().st_size:
                decoding.run(path, sink, on_progress)
        rows = [row for row in rows if row["seq"] >> 40 != number] + sink.rows
        times = [int(t) for b in Reader(segments, on_damage="report") for t in (b.recv_ns[0], b.recv_ns[-1])]
        if times:
            runs[number] = Run(number, times[0], times[-1])
    return complete(rows, [runs[number] for number in sorted(runs)])
