"""Engine time: Unix ns anchored to the wall clock once, advanced by the monotonic clock, slewed, never back."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """The only reader of the clocks. `wall_ns` and `monotonic_ns` are seams for tests."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        *,
        max_slew_ppm: int = 500,
        step_ns: int = 1_000_000_000,
    ) -> None:
        """A wall clock more than `step_ns` off engine time was stepped, it did not drift."""
        self._max_slew_ppm = max_slew_ppm
        self._step_ns = step_ns
        self._wall_ns = wall_ns
        self.monotonic_ns = monotonic_ns
        self._anchor_mono_ns = monotonic_ns()
        self._anchor_ns = wall_ns()
        self._rate_ppm = 0
        self.offset_ns = 0  # wall minus engine time at the last comparison

    def now_ns(self) -> int:
        """Engine time; does not decrease."""
        elapsed = self.monotonic_ns() - self._anchor_mono_ns
        return self._anchor_ns + elapsed + elapsed * self._rate_ppm // 1_000_000

    def compare(self) -> int:
        """Compare with the wall clock, bend the rate towards it and return the offset in ns."""
        mono = self.monotonic_ns()
        now = self.of_monotonic(mono)  # of the same reading, or time would jump by what lies between two
        self._anchor_ns, self._anchor_mono_ns = now, mono
        self.offset_ns = self._wall_ns() - now
        # An offset is worked off over about ten seconds; below that the bend is proportional and dies out.
        wanted_ppm = self.offset_ns // 10_000
        self._rate_ppm = max(-self._max_slew_ppm, min(self._max_slew_ppm, wanted_ppm))
        return self.offset_ns

    @property
    def stepped(self) -> bool:
        """True where the wall clock was stepped since the run began: the run ends and another starts."""
        return abs(self.offset_ns) > self._step_ns

    def line(self) -> tuple[int, int, int]:
        """What `of_monotonic` computes with until the next comparison: monotonic anchor, engine time there, ppm."""
        return self._anchor_mono_ns, self._anchor_ns, self._rate_ppm

    def of_monotonic(self, mono_ns: int) -> int:
        """Engine time of a monotonic reading taken since the last comparison."""
        elapsed = mono_ns - self._anchor_mono_ns
        return self._anchor_ns + elapsed + elapsed * self._rate_ppm // 1_000_000
