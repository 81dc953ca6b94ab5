"""How often a venue lets us do something, in whole nanoseconds: open connections, or spend weight on requests."""

from __future__ import annotations

from collections import deque

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

    def other_clock(self) -> None:
        """From here on times are another clock's: what flowed in since the last take is forgotten."""
        self._last_ns = None


class Window:
    """Never more than `budget` units in any closed window of `span_ns`, whoever spends them when.

    It remembers each spending until its window has passed: at most `budget` of them, each of one unit or more.
    """

    def __init__(self, budget: int, span_ns: int) -> None:
        if budget < 1 or span_ns < 1:
            raise ValueError(f"expected a budget and a span of 1 or more, was {budget} and {span_ns}")
        self.budget = budget
        self.span_ns = span_ns
        self.spent = 0  # within the window that ends at the last look
        self._spendings: deque[tuple[int, int]] = deque()  # when, units
        self._blocked_until_ns = 0
        self._now_ns = 0

    def take(self, units: int, now_ns: int) -> int:
        """0 where `units` were spent; else nanoseconds until they may be, and nothing was spent.

        More than the whole budget is taken for the whole budget. A clock that goes back is taken to stand still.
        """
        units = min(max(1, units), self.budget)
        self._look(now_ns)
        if self._now_ns < self._blocked_until_ns:
            return self._blocked_until_ns - self._now_ns
        over = self.spent + units - self.budget
        if over > 0:
            for at_ns, spent in self._spendings:
                over -= spent
                if over <= 0:
                    return at_ns + self.span_ns + 1 - self._now_ns
        self._spendings.append((self._now_ns, units))
        self.spent += units
        return 0

    def used(self, units: int, now_ns: int) -> None:
        """The venue says that `units` of the window are used: what we did not, others behind our address spent."""
        self._look(now_ns)
        others = min(units, self.budget) - self.spent
        if others > 0:
            self._spendings.append((self._now_ns, others))
            self.spent += others

    def block(self, span_ns: int, now_ns: int) -> None:
        """Nothing may be spent for `span_ns` from now on."""
        self._look(now_ns)
        self._blocked_until_ns = max(self._blocked_until_ns, self._now_ns + span_ns)

    def _look(self, now_ns: int) -> None:
        self._now_ns = max(now_ns, self._now_ns)
        spendings = self._spendings
        while spendings and spendings[0][0] + self.span_ns < self._now_ns:
            self.spent -= spendings.popleft()[1]
