"""Wire-to-decision latency of every frame: when it was taken, when the step that held it ended, and its wire number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME_TIME = np.dtype([("conn", "<i4"), ("zero", "<i4"), ("wire_seq", "<i8"), ("end_mono_ns", "<i8")])
CHUNK = 1 << 16


class FrameTimes:
    """Grows by chunks; `add` costs a few microseconds a step whatever the number of frames."""

    def __init__(self, capacity: int = 1 << 23) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._chunks: list[NDArray[np.void]] = [np.zeros(CHUNK, FRAME_TIME)]
        self._filled = 0

    def __len__(self) -> int:
        return (len(self._chunks) - 1) * CHUNK + self._filled

    def add(self, conn: NDArray[np.int32], wire_seq: NDArray[np.int64], end_mono_ns: int) -> None:
        """Note that the frames of one step, `wire_seq` numbered by their connection, were done at `end_mono_ns`."""
        n = len(conn)
        if len(self) + n > self.capacity:
            self.dropped += n
            return
        done = 0
        while done < n:
            if self._filled == CHUNK:
                self._chunks.append(np.zeros(CHUNK, FRAME_TIME))
                self._filled = 0
            take = min(n - done, CHUNK - self._filled)
            part = self._chunks[-1][self._filled : self._filled + take]
            part["conn"] = conn[done : done + take]
            part["wire_seq"] = wire_seq[done : done + take]
            part["end_mono_ns"] = end_mono_ns
            self._filled += take
            done += take

    def array(self) -> NDArray[np.void]:
        """All rows so far, in order."""
        return np.concatenate([*self._chunks[:-1], self._chunks[-1][: self._filled]])


def join(times: NDArray[np.void], sent: NDArray[np.void]) -> NDArray[np.int64]:
    """Latency in ns of each frame of `times` that `sent` (conn, seq, mono_ns) stamped; others are left out."""
    keep = times[times["wire_seq"] > 0]
    if not len(keep) or not len(sent):
        return np.zeros(0, np.int64)
    order = np.lexsort((sent["seq"], sent["conn"]))
    keys = sent["conn"][order].astype(np.int64) << 40 | sent["seq"][order].astype(np.int64)
    wanted = keep["conn"].astype(np.int64) << 40 | keep["wire_seq"]
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    found = keys[at] == wanted
    latency: NDArray[np.int64] = keep["end_mono_ns"][found] - sent["mono_ns"][order][at[found]]
    return latency


def quantiles_us(latency_ns: NDArray[np.int64]) -> dict[str, float] | None:
    """p50, p99, p999 and max in microseconds; None of nothing."""
    if not len(latency_ns):
        return None
    p50, p99, p999 = np.quantile(latency_ns, (0.5, 0.99, 0.999))
    return {
        "p50": round(float(p50) / 1e3, 1),
        "p99": round(float(p99) / 1e3, 1),
        "p999": round(float(p999) / 1e3, 1),
        "max": round(float(latency_ns.max()) / 1e3, 1),
    }
