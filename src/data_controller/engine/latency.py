"""Wire-to-decision latency of every frame: when it was taken, when the step that held it ended, and its wire number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_controller.engine.histograms import LatencyHistogram
from data_controller.records import Batch, Kind

FRAME_TIME = np.dtype([("conn", "<i4"), ("zero", "<i4"), ("wire_seq", "<i8"), ("end_mono_ns", "<i8")])
CHUNK = 1 << 16
MAX_STEPS = 4096
"""Steps that may wait to be folded."""


class FrameTimes:
    """Every frame of a run, for a benchmark; grows by chunks."""

    def __init__(self, capacity: int = 1 << 23) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._chunks: list[NDArray[np.void]] = [np.zeros(CHUNK, FRAME_TIME)]
        self._filled = 0

    def __len__(self) -> int:
        return (len(self._chunks) - 1) * CHUNK + self._filled

    def add(self, conn: NDArray[np.int32], wire_seq: NDArray[np.int64], end_mono_ns: NDArray[np.int64]) -> None:
        """Note when each frame, `wire_seq` numbered by its connection, was done; all are of one length."""
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
            part["end_mono_ns"] = end_mono_ns[done : done + take]
            self._filled += take
            done += take

    def array(self) -> NDArray[np.void]:
        """All rows so far, in order."""
        return np.concatenate([*self._chunks[:-1], self._chunks[-1][: self._filled]])


class Steps:
    """Notes each step in passing and computes its frames' latencies later, many steps at once.

    A step's own share is four appends: what is done for a figure after every frame delays the next frame.
    """

    def __init__(self, frame_times: FrameTimes | None = None) -> None:
        self.wire_to_decision = LatencyHistogram()
        self.step_time = LatencyHistogram()
        self._frame_times = frame_times
        self._lo = 0  # first record of the first step noted
        self._hi: list[int] = []
        self._took_ns: list[int] = []
        self._ended_mono_ns: list[int] = []
        self._ended_ns: list[int] = []

    @property
    def noted(self) -> bool:
        """Whether `fold` has something to do."""
        return bool(self._hi)

    def add(self, lo: int, hi: int, started_mono_ns: int, ended_mono_ns: int, ended_ns: int) -> bool:
        """Note a step over records `lo..hi`, which follow those of the step before; True where `fold` is due."""
        if not self._hi:
            self._lo = lo
        self._hi.append(hi)
        self._took_ns.append(ended_mono_ns - started_mono_ns)
        self._ended_mono_ns.append(ended_mono_ns)
        self._ended_ns.append(ended_ns)
        return len(self._hi) >= MAX_STEPS

    def fold(self, batch: Batch, wire_numbers: Callable[[int, int], NDArray[np.int64]]) -> None:
        """Record what was noted, of records of `batch`; `wire_numbers(lo, hi)` are the venues' own numbers."""
        lo, hi = self._lo, self._hi[-1]
        self.step_time.record_many(np.array(self._took_ns, np.int64))
        frames = batch.kind[lo:hi] == Kind.FRAME
        ends = np.array([lo, *self._hi], np.int64)
        counts = ends[1:] - ends[:-1]
        ended_ns = np.repeat(np.array(self._ended_ns, np.int64), counts)[frames]
        self.wire_to_decision.record_many(ended_ns - batch.recv_ns[lo:hi][frames])
        if self._frame_times is not None:
            ended_mono_ns = np.repeat(np.array(self._ended_mono_ns, np.int64), counts)[frames]
            self._frame_times.add(batch.conn[lo:hi][frames], wire_numbers(lo, hi)[frames], ended_mono_ns)
        for noted in (self._hi, self._took_ns, self._ended_mono_ns, self._ended_ns):
            noted.clear()


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
