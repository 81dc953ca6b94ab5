"""All gaps on disk: those of the lake, and those of journal segments that are not in it yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.engine.tail import tails
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
    """Every gap, by its start; of the journal only segments that are not in the lake are decoded, where possible."""
    rows: list[Mapping[str, Any]] = list(gap_rows(catalogue)) if catalogue is not None else []
    runs = {run.number: run for run in runs_of(catalogue)} if catalogue is not None else {}
    for tail in tails(catalogue, journal) if journal is not None else []:
        sink = _OnlyGaps()
        decoding = tail.decode(sink, on_progress)
        if decoding is not None and decoding.last_recv_ns:
            rows += sink.rows
            known = runs.get(tail.run, Run(tail.run, decoding.first_recv_ns, 0))
            runs[tail.run] = known._replace(last_ns=decoding.last_recv_ns)
    return complete(rows, [runs[number] for number in sorted(runs)])
