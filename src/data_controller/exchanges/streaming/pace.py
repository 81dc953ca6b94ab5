"""How fast a connection may be asked things: a token bucket on time that is passed in, in whole nanoseconds."""

from __future__ import annotations

_S = 1_000_000_000


class Pace:
    """Lets through at most `per_s` requests in any second, some of them at once; below two a second evenly spaced.

    0 stands for no limit. Half of a second's requests may go at once and the other half trickles in, so that no window
    of a second holds more, wherever it begins.
    """

    __slots__ = ("_every_ns", "_full_ns", "_most_ns")

    def __init__(self, per_s: float) -> None:
        at_once = max(1, int(per_s) // 2)
        trickle = per_s - at_once if per_s >= 2 else per_s
        self._every_ns = -int(-_S // trickle) if per_s > 0 else 0
        self._most_ns = at_once * self._every_ns
        self._full_ns = 0  # when the bucket is full again

    def take(self, now_ns: int) -> bool:
        """True where a request may go now; it then counts."""
        if max(self._full_ns, now_ns) + self._every_ns - now_ns > self._most_ns:
            return False
        self.spend(now_ns)
        return True

    def spend(self, now_ns: int) -> None:
        """Count a request that goes in any case, such as a ping; those behind it wait for longer."""
        self._full_ns = max(self._full_ns, now_ns) + self._every_ns
