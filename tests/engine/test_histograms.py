"""Histograms count exactly, fold exactly, and name quantiles within a bucket's width."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.engine.histograms import _BOUNDS, LatencyHistogram

durations = st.lists(st.integers(-5, 20_000_000_000) | st.sampled_from([1000, 2000, 5000, 10**10]), max_size=200)


def test_bounds_ascend_within_six_percent_from_a_microsecond_to_ten_seconds() -> None:
    ratios = np.array(_BOUNDS[1:]) / np.array(_BOUNDS[:-1])
    assert (_BOUNDS[0], _BOUNDS[-1]) == (1_000, 10**10)
    assert ratios.min() > 1 and ratios.max() < 1.03


@settings(max_examples=100, deadline=None)
@given(durations)
def test_recording_many_equals_recording_one_by_one(values: list[int]) -> None:
    one, many = LatencyHistogram(), LatencyHistogram()
    for value in values:
        one.record(value)
    many.record_many(np.array(values, np.int64))
    assert (one.counts == many.counts).all()
    assert (one.sum_ns, one.max_ns, one.count) == (many.sum_ns, many.max_ns, len(values))


@settings(max_examples=100, deadline=None)
@given(durations)
def test_published_counts_are_those_of_the_raw_values(values: list[int]) -> None:
    histogram = LatencyHistogram()
    histogram.record_many(np.array(values, np.int64))
    told = histogram.to_feed()
    edges = [0, *(round(b * 1e9) for b in told.bounds)]
    clipped = [max(v, 0) for v in values]
    expected = [sum(lo < v <= hi or (lo == 0 and v == 0) for v in clipped) for lo, hi in itertools.pairwise(edges)]
    assert told.counts == [*expected, sum(v > 10**10 for v in clipped)]
    assert told.count == len(values) and told.sum == pytest.approx(sum(clipped) / 1e9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1_001, 10**10), min_size=1, max_size=300), st.floats(0.01, 1))
def test_quantiles_lie_within_a_bucket_of_the_exact_ones(values: list[int], q: float) -> None:
    histogram = LatencyHistogram()
    histogram.record_many(np.array(values, np.int64))
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    told = histogram.quantile_ns(q)
    assert told is not None and exact / 1.031 <= told <= exact * 1.031


def test_an_empty_histogram_has_no_quantiles() -> None:
    histogram = LatencyHistogram()
    assert histogram.quantile_ns(0.5) is None and histogram.summary_us() is None
    assert histogram.to_feed().count == 0


def test_the_maximum_is_exact_also_beyond_the_last_bound() -> None:
    histogram = LatencyHistogram()
    histogram.record(42_000_000_123)
    assert histogram.summary_us() == {
        "p50": 42_000_000.12,
        "p99": 42_000_000.12,
        "p999": 42_000_000.12,
        "max": 42_000_000.12,
    }


def test_merge_adds_and_reset_forgets() -> None:
    a, b = LatencyHistogram(), LatencyHistogram()
    a.record(5_000)
    b.record(9_000)
    a.merge(b)
    assert (a.count, a.max_ns, a.sum_ns) == (2, 9_000, 14_000)
    a.reset()
    assert (a.count, a.max_ns, a.sum_ns) == (0, 0, 0)
