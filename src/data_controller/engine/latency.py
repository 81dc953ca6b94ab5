"""Wire-to-decision latency of every frame: when it was taken, when the step that held it ended, and its wire number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_controller.engine.histograms import BOUNDS, LatencyHistogram, count_one
from data_controller.kernels import kernel
from data_controller.records import Batch, Kind

FRAME_TIME = np.dtype([("conn", "<i4"), ("zero", "<i4"), ("wire_seq", "<i8"), ("end_mono_ns", "<i8")])
CHUNK = 1 << 16
_FRAME = int(Kind.FRAME)
_NO_FRAMES = np.zeros(0, FRAME_TIME)
_NO_NUMBERS = np.zeros(0, np.int64)
MAX_STEPS = 4096
"""Steps that may wait to be folded."""


class FrameTimes:
    """Every frame of a run, for a benchmark: when the step that held it ended. Grows by chunks."""

    def __init__(self, capacity: int = 1 << 23) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._chunks: list[NDArray[np.void]] = [np.zeros(CHUNK, FRAME_TIME)]
        self._filled = 0

    def __len__(self) -> int:
        return (len(self._chunks) - 1) * CHUNK + self._filled

    def room(self, rows: int) -> NDArray[np.void]:
        """Rows to fill, `rows` of them at most, to be told of with `add`; none where the capacity is reached."""
        if len(self) + rows > self.capacity:
            self.dropped += rows
            return self._chunks[0][:0]
        if self._filled + rows > len(self._chunks[-1]):
            self._chunks[-1] = self._chunks[-1][: self._filled]
            self._chunks.append(np.zeros(max(CHUNK, rows), FRAME_TIME))
            self._filled = 0
        return self._chunks[-1][self._filled :]

    def add(self, rows: int) -> None:
        """Keep the first `rows` that `room` gave."""
        self._filled += rows

    def array(self) -> NDArray[np.void]:
        """All rows so far, in order."""
        return np.concatenate([*self._chunks[:-1], self._chunks[-1][: self._filled]])


NOTE = ("hi", "started_mono_ns", "ended_mono_ns")
"""Columns of a noted step: the record behind its last one, when it began and ended."""


@kernel
def _fold(
    notes: NDArray[np.int64],
    noted: int,
    lo: int,
    anchor_mono_ns: int,
    anchor_ns: int,
    rate_ppm: int,
    kinds: NDArray[np.uint8],
    conns: NDArray[np.int32],
    recv_ns: NDArray[np.int64],
    wire_seq: NDArray[np.int64],
    bounds: NDArray[np.int64],
    frames: NDArray[np.int64],
    frame_totals: NDArray[np.int64],
    steps: NDArray[np.int64],
    step_totals: NDArray[np.int64],
    out: NDArray[np.void],
) -> int:
    """Count the noted steps and their frames, and write a FRAME_TIME for each frame that `out` has room for."""
    first, written = lo, 0
    for k in range(noted):
        count_one(bounds, steps, step_totals, notes[k, 2] - notes[k, 1])
        elapsed = notes[k, 2] - anchor_mono_ns
        ended_ns = anchor_ns + elapsed + elapsed * rate_ppm // 1_000_000
        for i in range(lo, notes[k, 0]):
            if kinds[i] == _FRAME:
                count_one(bounds, frames, frame_totals, ended_ns - recv_ns[i])
                if written < out.shape[0]:
                    out[written].conn = conns[i]
                    out[written].wire_seq = wire_seq[i - first] if i - first < wire_seq.shape[0] else 0
                    out[written].end_mono_ns = notes[k, 2]
                    written += 1
        lo = notes[k, 0]
    return written


class Steps:
    """Notes each step in passing and counts its frames' latencies later, many steps at once.

    A step's own share is three stores: what is done for a figure after every frame delays the next frame.
    """

    def __init__(self, frame_times: FrameTimes | None = None) -> None:
        self.wire_to_decision = LatencyHistogram()
        self.step_time = LatencyHistogram()
        self._frame_times = frame_times
        self._lo = 0  # first record of the first step noted
        self._notes = np.zeros((MAX_STEPS, len(NOTE)), np.int64)
        self._cells = self._notes.reshape(-1).data
        self._at = 0  # the next cell

    @property
    def noted(self) -> int:
        """Steps that `fold` has not counted."""
        return self._at // len(NOTE)

    def add(self, lo: int, hi: int, started_mono_ns: int, ended_mono_ns: int) -> bool:
        """Note a step over records `lo..hi`, which follow those of the step before; True where `fold` is due."""
        at, cells = self._at, self._cells
        if at == 0:
            self._lo = lo
        cells[at] = hi
        cells[at + 1] = started_mono_ns
        cells[at + 2] = ended_mono_ns
        self._at = at = at + 3
        return at == len(cells)

    def fold(
        self, batch: Batch, wire_numbers: Callable[[int, int], NDArray[np.int64]], line: tuple[int, int, int]
    ) -> None:
        """Count what was noted, of records of `batch`.

        `wire_numbers(lo, hi)` are the venues' own numbers; `line` is the clock's (`Clock.line`).
        """
        noted, lo, times = self.noted, self._lo, self._frame_times
        hi = int(self._notes[noted - 1, 0])
        out = _NO_FRAMES if times is None else times.room(hi - lo)
        written = _fold(
            self._notes,
            noted,
            lo,
            *line,
            batch.kind,
            batch.conn,
            batch.recv_ns,
            _NO_NUMBERS if times is None else wire_numbers(lo, hi),
            BOUNDS,
            self.wire_to_decision.counts,
            self.wire_to_decision.totals,
            self.step_time.counts,
            self.step_time.totals,
            out,
        )
        if times is not None:
            times.add(written)
        self._at = 0


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
