"""SHA-256 over everything the pipeline concluded, in order: two runs are the same when these five are."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BUFFER_BYTES = 1 << 18
_LARGE_BYTES = 1 << 16
"""Pieces from here on are hashed where they lie."""
_WORTH_A_CALL_BYTES = 1 << 15


class Digest:
    """A running SHA-256 with a row count; small pieces are gathered, and hashed when `work` finds time for it."""

    __slots__ = ("_buffer", "_filled", "_sha", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._sha = hashlib.sha256()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0

    def add(self, array: NDArray[Any], rows: int) -> None:
        """Append the bytes of C-contiguous `array` as `rows` rows."""
        self.add_bytes(array.reshape(-1).view(np.uint8).data, rows)

    def add_bytes(self, data: memoryview, rows: int) -> None:
        """Append bytes [n] as `rows` rows."""
        self.rows += rows
        size = len(data)
        filled = self._filled
        if filled + size > _BUFFER_BYTES or size >= _LARGE_BYTES:
            self._flush()
            filled = 0
            if size >= _LARGE_BYTES:
                self._sha.update(data)
                return
        self._buffer[filled : filled + size] = data
        self._filled = filled + size

    @property
    def pending(self) -> bool:
        """Whether `work` has enough to do."""
        return self._filled >= _WORTH_A_CALL_BYTES

    def work(self) -> None:
        """Hash what was gathered."""
        self._flush()

    def add_int(self, value: int) -> None:
        """Append one 64-bit integer, little-endian; counts as no row."""
        self.add(np.array([value], "<i8"), 0)

    def result(self) -> dict[str, Any]:
        """`{"sha256": hex, "rows": n}` of all that was added so far; adding may go on."""
        self._flush()
        return {"sha256": self._sha.hexdigest(), "rows": self.rows}

    def _flush(self) -> None:
        if self._filled:
            self._sha.update(self._buffer[: self._filled])
            self._filled = 0


class Digests:
    """The five digests of a run."""

    NAMES = ("events", "books", "features", "predictions", "decisions")

    def __init__(self) -> None:
        self.events = Digest()
        self.books = Digest()
        self.features = Digest()
        self.predictions = Digest()
        self.decisions = Digest()

    def result(self) -> dict[str, dict[str, Any]]:
        """Name -> sha256 and row count."""
        return {name: getattr(self, name).result() for name in self.NAMES}
