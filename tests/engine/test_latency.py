"""Every frame's latency: kept by chunks, joined with what the peer stamped, nothing counted that was not stamped."""

from __future__ import annotations

import numpy as np
import pytest

from data_controller.engine import latency
from data_controller.engine.histograms import LatencyHistogram
from data_controller.engine.latency import FRAME_TIME, MAX_STEPS, FrameTimes, Steps, join, quantiles_us
from data_controller.records import Batch, Kind

SENT = np.dtype([("conn", "<i8"), ("seq", "<i8"), ("mono_ns", "<i8")])


def i4(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def i8(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


FRAME, PULSE = int(Kind.FRAME), int(Kind.PULSE)


def batch_of(kinds: list[int], recv_ns: list[int]) -> Batch:
    n = len(kinds)
    return Batch(0, i8(*recv_ns), np.array(kinds, np.uint8), i4(*range(n)), i4(*[0] * (n + 1)), np.zeros(1, np.uint8))


def test_steps_are_counted_later_as_if_frame_by_frame() -> None:
    times = FrameTimes()
    steps = Steps(times)
    batch = batch_of([FRAME, PULSE, FRAME, FRAME], [100, 150, 200, 300])
    assert not steps.add(0, 2, 4_000, 9_000)  # a frame that took 5,000, in a step of 5,000
    assert not steps.add(2, 4, 9_000, 9_500)
    assert steps.noted == 2
    steps.fold(batch, lambda lo, hi: i8(11, 0, 12, 13)[lo:hi], (4_000, 100, 0))
    assert steps.noted == 0
    expected, expected_steps = LatencyHistogram(), LatencyHistogram()
    for ns in (5_000, 5_400, 5_300):
        expected.record(ns)
    for ns in (5_000, 500):
        expected_steps.record(ns)
    for mine, theirs in ((steps.wire_to_decision, expected), (steps.step_time, expected_steps)):
        assert (mine.counts == theirs.counts).all()
        assert (mine.sum_ns, mine.max_ns) == (theirs.sum_ns, theirs.max_ns)
    rows = times.array()
    assert rows["wire_seq"].tolist() == [11, 12, 13] and rows["conn"].tolist() == [0, 2, 3]
    assert rows["end_mono_ns"].tolist() == [9_000, 9_500, 9_500]


def test_steps_say_when_they_must_be_counted() -> None:
    steps = Steps()
    due = [steps.add(k, k + 1, 0, 1) for k in range(MAX_STEPS)]
    assert due == [False] * (MAX_STEPS - 1) + [True]
    steps.fold(batch_of([FRAME] * MAX_STEPS, [0] * MAX_STEPS), lambda lo, hi: i8(), (0, 0, 0))
    assert steps.wire_to_decision.count == MAX_STEPS


def test_frames_are_kept_in_order_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CHUNK", 4)
    times = FrameTimes()
    for step in range(5):
        room = times.room(3)
        room["wire_seq"][:3] = [3 * step, 3 * step + 1, 3 * step + 2]
        times.add(3)
    assert len(times.array()) == 15
    assert times.array()["wire_seq"].tolist() == list(range(15))


def test_what_does_not_fit_is_counted_not_kept() -> None:
    times = FrameTimes(capacity=4)
    times.room(3)
    times.add(3)
    assert len(times.room(2)) == 0
    assert (len(times.array()), times.dropped) == (3, 2)


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
