"""Every frame's latency: kept by chunks, joined with what the peer stamped, nothing counted that was not stamped."""

from __future__ import annotations

import numpy as np
import pytest

from data_controller.engine import latency
from data_controller.engine.latency import FRAME_TIME, FrameTimes, join, quantiles_us

SENT = np.dtype([("conn", "<i8"), ("seq", "<i8"), ("mono_ns", "<i8")])


def i4(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def i8(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_frames_are_kept_in_order_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CHUNK", 4)
    times = FrameTimes()
    for step in range(5):
        times.add(i4(step, step, step), i8(3 * step, 3 * step + 1, 3 * step + 2), i8(*[100 + step] * 3))
    rows = times.array()
    assert len(times) == len(rows) == 15
    assert rows["wire_seq"].tolist() == list(range(15))
    assert rows["end_mono_ns"].tolist() == [100 + step for step in range(5) for _ in range(3)]


def test_what_does_not_fit_is_counted_not_kept() -> None:
    times = FrameTimes(capacity=4)
    times.add(i4(0, 0, 0), i8(1, 2, 3), i8(10, 10, 10))
    times.add(i4(0, 0), i8(4, 5), i8(11, 11))
    assert (len(times), times.dropped) == (3, 2)


def test_a_join_finds_each_stamped_frame_and_leaves_out_the_others() -> None:
    times = np.array([(0, 0, 1, 1_000), (1, 0, 1, 2_000), (0, 0, 2, 3_000), (0, 0, 0, 9_000), (5, 0, 1, 1)], FRAME_TIME)
    sent = np.array([(1, 1, 1_500), (0, 2, 2_900), (0, 1, 100), (0, 7, 1)], SENT)
    assert join(times, sent).tolist() == [900, 500, 100]


def test_a_join_of_nothing_is_nothing() -> None:
    assert len(join(np.zeros(0, FRAME_TIME), np.zeros(3, SENT))) == 0
    assert len(join(np.ones(3, FRAME_TIME), np.zeros(0, SENT))) == 0
    assert quantiles_us(i8()) is None


def test_quantiles_are_those_of_all_frames_in_microseconds() -> None:
    found = quantiles_us(np.arange(1, 100_001, dtype=np.int64) * 1_000)
    assert found == {"p50": 50_000.5, "p99": 99_000.0, "p999": 99_900.0, "max": 100_000.0}
