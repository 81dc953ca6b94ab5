"""The arena: preallocated columns that the loop fills, the journal writes without a copy, and the pipeline reads."""

from __future__ import annotations

import numpy as np

from data_controller.records import Batch

Payload = bytes | bytearray | memoryview

FULL = -1
"""What `push` returns where the record does not fit; nothing was stored."""


class Arena:
    """Records side by side in memory that was touched when it was made, so that filling it never faults a page in.

    `batch` views the whole arrays; records `0 .. filled - 1` of it are valid and never change again until `reset`.
    """

    __slots__ = ("_bytes", "_conn", "_data", "_kind", "_offsets", "_records", "_recv_ns", "batch", "filled", "used")

    def __init__(self, n_bytes: int = 4 << 20, records: int = 65_536, first_seq: int = 0) -> None:
        # np.zeros maps pages lazily; fill touches them.
        recv_ns, kind, conn, offsets, data = (
            np.empty(records, np.int64),
            np.empty(records, np.uint8),
            np.empty(records, np.int32),
            np.empty(records + 1, np.int32),
            np.empty(n_bytes, np.uint8),
        )
        for array in (recv_ns, kind, conn, offsets, data):
            array.fill(0)
        self._recv_ns = recv_ns.data
        self._kind = kind.data
        self._conn = conn.data
        self._offsets = offsets.data
        self._data = data.data
        self._bytes = n_bytes
        self._records = records
        self.batch = Batch(first_seq, recv_ns, kind, conn, offsets, data)
        self.filled = 0  # records held
        self.used = 0  # payload bytes held

    def reset(self, first_seq: int) -> None:
        """Empty the arena; its first record will be `first_seq`."""
        batch = self.batch
        self.batch = Batch(first_seq, batch.recv_ns, batch.kind, batch.conn, batch.offsets, batch.data)
        self.filled = 0
        self.used = 0

    def room(self, n_bytes: int) -> bool:
        """True where a record with a payload of `n_bytes` still fits."""
        return self.filled < self._records and self.used + n_bytes <= self._bytes

    def push(self, kind: int, conn: int, recv_ns: int, payload: Payload) -> int:
        """Append a record; returns its index, or FULL where it does not fit. `payload` is bytes-like, format `B`."""
        i = self.filled
        start = self.used
        stop = start + len(payload)
        if stop > self._bytes or i >= self._records:
            return FULL
        self._data[start:stop] = payload
        self._recv_ns[i] = recv_ns
        self._kind[i] = kind
        self._conn[i] = conn
        i += 1
        self._offsets[i] = stop
        self.used = stop
        self.filled = i
        return i - 1
