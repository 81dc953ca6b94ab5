"""Token bucket in whole nanoseconds: how often a venue lets us open connections."""

from __future__ import annotations

MINUTE_NS = 60_000_000_000


class TokenBucket:
    """At most `burst` takes at once and never more than `per_minute` in any closed window of 60 s.

    The bucket refills by `per_minute - burst` tokens a minute: a window that begins with a full bucket sees `burst`
    and what flows in meanwhile. All arithmetic is exact, a token being worth the time in which it flows in.
    """

    def __init__(self, burst: int = 15, per_minute: int = 20) -> None:
        if not 1 <= burst < per_minute:
            raise ValueError(f"expected 1 <= burst < per_minute, was {burst} and {per_minute}")
        # Rounded up: the bucket may only be slower than asked.
        self._token_ns = -(-MINUTE_NS // (per_minute - burst))
        self._full_ns = burst * self._token_ns
        self._level_ns = self._full_ns
        self._last_ns: int | None = None

    def take(self, now_ns: int) -> int:
        """0 where a token was taken; else nanoseconds until one will be there, and nothing was taken.

        A clock that goes back is taken to stand still.
        """
        if self._last_ns is not None and now_ns > self._last_ns:
            self._level_ns = min(self._full_ns, self._level_ns + now_ns - self._last_ns)
        self._last_ns = now_ns if self._last_ns is None else max(now_ns, self._last_ns)
        if self._level_ns < self._token_ns:
            return self._token_ns - self._level_ns
        self._level_ns -= self._token_ns
        return 0
