from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.features.closing import seal
from data_controller.features.layout import (
    BUY_QUOTE,
    HIST,
    MINUTE_S,
    OFI,
    SPREAD_BINS,
    SPREAD_HIGH_BPS,
    SPREAD_LOW_BPS,
    bins_dtype,
    ring_size,
)
from data_controller.features.windows import (
    kyle_lambda,
    spread_quantile,
    spread_times,
    volume_over_median,
    whole_minutes,
    window_sum,
)

RING = 1024
NEWEST = 1_700_000_123
FIRST = NEWEST - 900


def random_bins(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bins = np.zeros(1, bins_dtype(RING))
    bins[0]["first"], bins[0]["newest"] = FIRST, NEWEST
    bins["sums"] = rng.normal(0.0, 1e3, bins["sums"].shape)
    seal(bins, np.zeros(1, HIST), 0, NEWEST)
    return bins


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), begin=st.integers(FIRST, NEWEST), length=st.integers(1, 900))
def test_a_windows_sum_runs_over_head_seconds_whole_minutes_and_tail_seconds(
    seed: int, begin: int, length: int
) -> None:
    bins = random_bins(seed)
    end = min(begin + length, NEWEST + 1)
    second = [float(bins[0]["sums"][OFI][s % RING]) for s in range(begin, end)]
    total, s = 0.0, begin
    while s < end:
        if s % MINUTE_S == 0 and s + MINUTE_S <= end:
            part = 0.0
            for value in second[s - begin : s - begin + MINUTE_S]:
                part += value
            s += MINUTE_S
        else:
            part = second[s - begin]
            s += 1
        total += part
    assert window_sum(bins, 0, OFI, begin, end) == total


@pytest.mark.parametrize(
    ("begin", "end", "minutes"),
    [(0, 60, (0, 1)), (1, 60, (1, 1)), (0, 59, (0, 0)), (59, 181, (1, 3)), (61, 119, (2, 2))],
)
def test_whole_minutes_lie_inside(begin: int, end: int, minutes: tuple[int, int]) -> None:
    assert whole_minutes(begin, end) == minutes


def test_quantiles_of_time_spent_at_two_spreads() -> None:
    times = np.zeros(SPREAD_BINS, np.int64)
    times[64] = 600
    times[80] = 400
    step = (SPREAD_HIGH_BPS / SPREAD_LOW_BPS) ** (1 / SPREAD_BINS)
    assert spread_quantile(times, 0.3) == pytest.approx(SPREAD_LOW_BPS * step**64.5)
    assert spread_quantile(times, 0.6) == pytest.approx(SPREAD_LOW_BPS * step**65)
    assert spread_quantile(times, 0.9) == pytest.approx(SPREAD_LOW_BPS * step**80.75)


def test_a_quantile_of_no_time_is_not_a_number() -> None:
    assert np.isnan(spread_quantile(np.zeros(SPREAD_BINS, np.int64), 0.5))


def test_spread_times_of_a_window_are_those_of_its_seconds() -> None:
    rng = np.random.default_rng(1)
    hist = np.zeros(1, HIST)
    hist["second_ns"] = rng.integers(0, 1_000_000_000, hist["second_ns"].shape)
    bins = np.zeros(1, bins_dtype(RING))
    bins[0]["first"], bins[0]["newest"] = FIRST, NEWEST
    seal(bins, hist, 0, NEWEST)
    times = np.empty(SPREAD_BINS, np.int64)
    for window in (5, 61, 300):
        spread_times(hist, 0, NEWEST + 1 - window, NEWEST + 1, times)
        seconds = [s % 512 for s in range(NEWEST + 1 - window, NEWEST + 1)]
        assert list(times) == list(hist[0]["second_ns"][seconds].astype(np.int64).sum(axis=0))


def test_volume_over_its_median() -> None:
    bins = np.zeros(1, bins_dtype(RING))
    bins[0]["first"], bins[0]["newest"] = FIRST, NEWEST
    for k, volume in enumerate((6.0, 1.0, 2.0, 3.0)):
        bins["sums"][0, BUY_QUOTE, (NEWEST - 10 * k - 4) % RING] = volume
    seal(bins, np.zeros(1, HIST), 0, NEWEST)
    assert volume_over_median(bins, 0, NEWEST + 1, 10, 4) == 6.0 / 2.5
    assert np.isnan(volume_over_median(bins, 0, NEWEST + 1, 10, 20))


def test_kyle_lambda_needs_thirty_steps_and_some_variance() -> None:
    bins = random_bins(2)
    bins["log_mid"] = np.random.default_rng(3).normal(4.6, 1e-4, bins["log_mid"].shape)
    assert np.isfinite(kyle_lambda(bins, 0, NEWEST + 1, 150))
    assert np.isnan(kyle_lambda(bins, 0, NEWEST + 1, 145))
    bins["sums"] = 0.0
    assert np.isnan(kyle_lambda(bins, 0, NEWEST + 1, 150))


@pytest.mark.parametrize(("history_s", "ring"), [(3601, 4096), (900, 1024), (1000, 2048), (7200, 8192)])
def test_the_ring_follows_the_longest_history(history_s: int, ring: int) -> None:
    assert ring_size(history_s) == ring
