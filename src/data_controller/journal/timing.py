"""A histogram of durations, small enough for any thread to keep."""

from __future__ import annotations

import bisect

TIMING_BOUNDS_NS = tuple(int(base * 10**power) for power in range(4, 10) for base in (1, 2.5, 5))
"""Upper bounds of a Timing's buckets: 10 µs to 5 s; what is longer falls in a last bucket without a bound."""


class Timing:
    """A histogram of durations with last and worst; one thread adds, any may read."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.last_ns = 0
        self.max_ns = 0
        self.buckets = [0] * (len(TIMING_BOUNDS_NS) + 1)  # not cumulative
        self._worst_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        self.count += 1
        self.total_ns += duration_ns
        self.last_ns = duration_ns
        self.max_ns = max(self.max_ns, duration_ns)
        self._worst_ns = max(self._worst_ns, duration_ns)
        self.buckets[bisect.bisect_left(TIMING_BOUNDS_NS, duration_ns)] += 1

    def take_worst(self) -> int | None:
        """The worst duration since the last call, None where there was none: a PULSE's vitals."""
        worst, self._worst_ns = self._worst_ns, 0
        return worst or None
