"""Frames that come compressed are inflated before the scan, into a private batch; a bomb is quarantined."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.protocols import RecordBatch, Rows
from data_controller.exchanges.streaming.decoder import StreamDecoder

RAW_DEFLATE, GZIP = -15, 31
"""Values of `window`, as zlib names them."""
MAX_INFLATED = 8 << 20
"""Bytes that a frame may hold; a snapshot of 45,000 levels has 2 MB."""
MAX_TOGETHER = 16 << 20
"""Inflated bytes after which frames are scanned before the next one is inflated."""
MAX_FRAMES = 64
"""Frames inflated at a time: where the row buffer is full, those behind are inflated again."""

_FRAME = 4  # records.Kind.FRAME, which this room may not import


@dataclass(slots=True)
class _Inflated:
    first_seq: int
    recv_ns: NDArray[np.int64]
    kind: NDArray[np.uint8]
    conn: NDArray[np.int32]
    offsets: NDArray[np.int32]
    data: NDArray[np.uint8]


class InflatingDecoder(StreamDecoder):
    """A StreamDecoder whose frames are compressed; those that begin as JSON does are taken as they are.

    What lands in quarantine is the frame as it came.
    """

    window: ClassVar[int] = RAW_DEFLATE

    def __init__(self, tables: Any) -> None:
        super().__init__(tables)
        self._whole: RecordBatch | None = None
        self._reasons: dict[int, str] = {}  # seq -> why a frame could not be inflated

    def decode(self, batch: RecordBatch, lo: int, hi: int, rows: Rows, last_recv_ns: NDArray[np.int64]) -> int:
        """As StreamDecoder.decode."""
        if len(self.wire_seq) < hi:
            self.wire_seq = np.zeros(max(hi, 2 * len(self.wire_seq)), np.int64)
        self._whole = batch
        try:
            while lo < hi:
                part = self._inflate(batch, lo, hi)
                done = super().decode(part, 0, len(part.kind), rows, last_recv_ns)
                lo += done
                if done < len(part.kind):
                    break
        finally:
            self._whole = None
        return lo

    def _inflate(self, batch: RecordBatch, lo: int, hi: int) -> _Inflated:
        """Records `lo` and following, at most MAX_FRAMES; what cannot be inflated is left empty, which is no JSON."""
        frames: list[bytes] = []
        ends = [0]
        self._reasons.clear()
        i = lo
        while i < min(hi, lo + MAX_FRAMES) and ends[-1] < MAX_TOGETHER:
            frame = b""
            if batch.kind.item(i) == _FRAME:
                frame = batch.data[batch.offsets.item(i) : batch.offsets.item(i + 1)].tobytes()
                if frame[:1] not in (b"{", b"["):
                    frame = self._inflated(frame, batch.first_seq + i)
            frames.append(frame)
            ends.append(ends[-1] + len(frame))
            i += 1
        data = np.zeros(max(1, ends[-1]), np.uint8)
        data[: ends[-1]] = np.frombuffer(b"".join(frames), np.uint8)
        return _Inflated(
            batch.first_seq + lo,
            np.array(batch.recv_ns[lo:i]),
            np.array(batch.kind[lo:i]),
            np.array(batch.conn[lo:i]),
            np.array(ends, np.int32),
            data,
        )

    def _inflated(self, frame: bytes, seq: int) -> bytes:
        """What `frame` holds; nothing, and a reason by its `seq`, where that is no whole stream or too much."""
        stream = zlib.decompressobj(self.window)
        try:
            out = stream.decompress(frame, MAX_INFLATED + 1)
        except zlib.error as error:
            self._reasons[seq] = f"expected a compressed frame, was not: {error}"
            return b""
        if len(out) > MAX_INFLATED:
            self._reasons[seq] = f"expected a frame of at most {MAX_INFLATED} bytes when inflated, was more"
        elif not stream.eof or stream.unused_data:
            self._reasons[seq] = "expected one whole compressed frame, was cut or followed by more"
        return b"" if seq in self._reasons else out

    def _quarantine(self, reason: str, frame: bytes, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        batch = self._whole
        if batch is not None:
            i = seq - batch.first_seq
            frame = batch.data[batch.offsets.item(i) : batch.offsets.item(i + 1)].tobytes()
        super()._quarantine(self._reasons.pop(seq, reason), frame, conn, seq, recv_ns, rows)
