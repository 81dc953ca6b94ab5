"""What the lake's tests share: a journal of simulated traffic that crosses midnight, and its rows decoded straight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.engine.compact import Decoding
from data_controller.journal import JournalSettings
from data_controller.journal.recovery import recover
from data_controller.journal.writer import JournalWriter
from data_controller.lake.catalogue import Catalogue, File
from data_controller.lake.layout import DAY_NS, Key
from data_controller.market.rows import EVENT, Flag
from data_controller.records import Batch, sequence
from tests.pipeline.recording import Recording, eager_config

SYMBOLS = ["tBTCUSD", "tETHUSD"]
Rows = dict[tuple[str, ...], NDArray[np.void]]


def recorded(bundle: Path, *, seed: int = 7, seconds: float = 8.0, cut_at: float = 0.5) -> Batch:
    """Records of simulated traffic; midnight falls at `cut_at` of it."""
    batch = Recording(eager_config(bundle, SYMBOLS), seed=seed, seconds=seconds, ticks_per_second=120.0).batch
    first, last = int(batch.recv_ns[0]), int(batch.recv_ns[-1])
    middle = first + int((last - first) * cut_at)
    shift = DAY_NS - middle % DAY_NS
    return replace(batch, recv_ns=batch.recv_ns + shift)


def write_journal(directory: Path, batch: Batch, ends: Iterable[int], *, close: bool = True) -> int:
    """A journal of a new run with `batch`, whose segments end at records `ends`; returns the run's number."""
    run = recover(directory).run
    batch = replace(batch, first_seq=sequence(run, 0))
    settings = JournalSettings(min_free_bytes=0, segment_s=1)
    writer = JournalWriter(settings, directory, run)
    n = len(batch.recv_ns)
    lo = 0
    for end in [*sorted({e for e in ends if 0 < e < n}), n]:
        middle = (lo + end) // 2
        for a, b in ((lo, middle), (middle, end)):
            if b > a:
                writer.append(batch, a, b)
        lo = end
        if end < n or close:
            writer._end_segment()
    if not close:
        writer.sync()
        writer.abandon()
    return run


class Straight:
    """A sink that keeps all rows by whose they are."""

    def __init__(self) -> None:
        self.parts: dict[Key, list[NDArray[np.void]]] = {}
        self.sides: dict[Key, list[dict[str, Any]]] = {}

    def events(self, key: Key, rows: NDArray[np.void]) -> None:
        self.parts.setdefault(key, []).append(rows.copy())

    def side(self, key: Key, rows: Any) -> None:
        self.sides.setdefault(key, []).extend(rows)

    def rows(self) -> dict[Key, NDArray[np.void]]:
        return {key: joined(parts) for key, parts in self.parts.items()}


def joined(parts: list[NDArray[np.void]]) -> NDArray[np.void]:
    return np.concatenate([p.view("V64") for p in parts]).view(EVENT) if parts else np.zeros(0, EVENT)


def straight(journal: Path) -> Straight:
    """All segments of a journal, decoded in one go."""
    sink = Straight()
    decoding = Decoding()
    for path in sorted(journal.glob("journal-*.arrows")):
        assert decoding.run(path, sink) == []
    return sink


def lake_rows(catalogue: Catalogue) -> dict[Key, NDArray[np.void]]:
    """All event rows of a lake, by whose they are."""
    found: dict[Key, list[NDArray[np.void]]] = {}
    for file in catalogue.files(events=True):
        found.setdefault(key_of_file(file), []).append(catalogue.events(file))
    return {key: joined(parts) for key, parts in found.items()}


def key_of_file(file: File) -> Key:
    return Key(
        file.exchange, file.channel, file.instrument, file.date, file.precision, file.frequency, file.length, file.row
    )


def without_checkpoints(rows: NDArray[np.void]) -> NDArray[np.void]:
    return rows[(rows["flags"] & Flag.CHECKPOINT) == 0]
