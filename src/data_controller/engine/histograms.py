"""Latency histograms: fixed log-spaced bounds, cheap to record into, exact to merge, small to publish."""

from __future__ import annotations

import itertools
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from data_controller.control import Histogram
from data_controller.kernels import kernel

_FINE = 32
_COARSE_NS = [m * 10**e for e in range(3, 10) for m in (1, 2, 5)] + [10**10]
"""1, 2, 5, 10 us ... 10 s: what is published."""


def _fine_bounds() -> list[int]:
    bounds: list[int] = []
    for lo, hi in itertools.pairwise(_COARSE_NS):
        bounds += [round(lo * (hi / lo) ** (i / _FINE)) for i in range(_FINE)]
    return [*bounds, _COARSE_NS[-1]]


_BOUNDS = _fine_bounds()
BOUNDS = np.array(_BOUNDS, np.int64)
"""Upper bounds of the buckets, ns; one more bucket holds what is above them."""
_COARSE_S = [ns / 1e9 for ns in _COARSE_NS]
_FOLD = np.concatenate(([0], np.arange(0, len(_BOUNDS) - 1, _FINE) + 1, [len(_BOUNDS)]))
"""First fine bucket of every published one, as `np.add.reduceat` takes it."""


@kernel
def count_one(bounds: NDArray[np.int64], counts: NDArray[np.int64], totals: NDArray[np.int64], ns: int) -> None:
    """`LatencyHistogram.record` for compiled code: `counts` and `totals` are the histogram's."""
    ns = max(ns, 0)
    lo, hi = 0, bounds.shape[0]
    while lo < hi:
        middle = (lo + hi) >> 1
        if bounds[middle] < ns:
            lo = middle + 1
        else:
            hi = middle
    counts[lo] += 1
    totals[0] += ns
    totals[1] = max(totals[1], ns)


class LatencyHistogram:
    """Durations in ns: 673 bounds from 1 us to 10 s, at most 3 % apart; 1, 2, 5, 10 ... are among them.

    Readers get whole buckets, so published counts are exact; a quantile is off by at most one bucket's width.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(len(_BOUNDS) + 1, np.int64)
        self.totals: NDArray[np.int64] = np.zeros(2, np.int64)  # sum and maximum, ns
        # An item of a view costs a third of an array's.
        self._cells, self._sums = self.counts.data, self.totals.data

    @property
    def sum_ns(self) -> int:
        """Sum of all durations."""
        return int(self.totals[0])

    @property
    def max_ns(self) -> int:
        """The longest one."""
        return int(self.totals[1])

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return int(self.counts.sum())

    def record(self, ns: int) -> None:
        """Record one duration; below zero counts as zero."""
        ns = ns if ns > 0 else 0
        self._cells[bisect_left(_BOUNDS, ns)] += 1
        self._sums[0] += ns
        if ns > self._sums[1]:
            self._sums[1] = ns

    def record_many(self, ns: NDArray[np.int64]) -> None:
        """Record every duration of `ns` [n]; the same result as one by one."""
        if ns.size == 0:
            return
        values = np.maximum(ns, 0)
        places = np.searchsorted(BOUNDS, values, side="left")
        self.counts += np.bincount(places, minlength=self.counts.size)
        self.totals[0] += values.sum()
        self.totals[1] = max(self.max_ns, int(values.max()))

    def quantile_ns(self, q: float) -> float | None:
        """The duration that a share `q` of all does not exceed, linear within its bucket; None while empty."""
        total = self.count
        if total == 0:
            return None
        cumulative = np.cumsum(self.counts)
        rank = max(q * total, 1e-9)
        place = int(np.searchsorted(cumulative, rank, side="left"))
        if place >= len(_BOUNDS):
            return float(self.max_ns)
        below = float(cumulative[place - 1]) if place else 0.0
        lo = float(_BOUNDS[place - 1]) if place else 0.0
        hi = float(_BOUNDS[place])
        value = lo + (hi - lo) * (rank - below) / float(self.counts[place])
        return min(value, float(self.max_ns))

    def summary_us(self) -> dict[str, float] | None:
        """p50, p99, p999 and max in microseconds, as summaries print them; None while empty."""
        quantiles = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
        if self.count == 0:
            return None
        found = {name: round((self.quantile_ns(q) or 0.0) / 1e3, 2) for name, q in quantiles.items()}
        return {**found, "max": round(self.max_ns / 1e3, 2)}

    def merge(self, other: LatencyHistogram) -> None:
        """Add what `other` recorded."""
        self.counts += other.counts
        self.totals[0] += other.sum_ns
        self.totals[1] = max(self.max_ns, other.max_ns)

    def reset(self) -> None:
        """Forget everything: where a warm-up ends and the measured part begins."""
        self.counts[:] = 0
        self.totals[:] = 0

    def to_feed(self) -> Histogram:
        """The published form: seconds, bounds 1, 2, 5, 10 us ... 10 s."""
        counts = np.add.reduceat(self.counts, _FOLD).tolist()
        return Histogram(_COARSE_S, counts, self.sum_ns / 1e9, sum(counts))
