"""The log of what was sent: connection, sequence and the monotonic time just before each send."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SENT = np.dtype([("conn", "<i8"), ("seq", "<i8"), ("mono_ns", "<i8")])
"""A sent frame. `mono_ns` is CLOCK_MONOTONIC of this machine, the same for every process."""


class SentLog:
    """Collects rows in memory; `save` writes them all as one structured .npy file."""

    def __init__(self) -> None:
        self._rows = array("q")
        self._blocks: list[NDArray[np.void]] = []

    def __len__(self) -> int:
        return len(self._rows) // 3 + sum(len(block) for block in self._blocks)

    def add(self, conn: int, seq: int, mono_ns: int) -> None:
        """Note one frame."""
        self._rows.extend((conn, seq, mono_ns))

    def add_block(self, conn: int, seq: NDArray[np.int64], mono_ns: NDArray[np.int64]) -> None:
        """Note many frames of one connection."""
        block = np.empty(len(seq), SENT)
        block["conn"], block["seq"], block["mono_ns"] = conn, seq, mono_ns
        self._blocks.append(block)

    def rows(self) -> NDArray[np.void]:
        """Everything noted so far."""
        own = np.frombuffer(self._rows.tobytes(), SENT)
        return np.concatenate([own, *self._blocks])

    def save(self, path: Path) -> None:
        """Write the log; a reader never sees half a file."""
        part = path.with_suffix(".part")
        with part.open("wb") as out:
            np.save(out, self.rows())
        part.replace(path)
