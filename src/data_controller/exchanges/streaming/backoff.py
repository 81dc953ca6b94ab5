"""When to ask again: at once the first time, then later and later, until it has held for long enough."""

from __future__ import annotations

from dataclasses import dataclass

_S = 1_000_000_000


def doubling_ns(times: int, first_s: float, most_s: float) -> int:
    """Delay after `times` failures in a row: 0, first, 2 first, 4 first ... up to the most."""
    return 0 if times == 0 else int(min(first_s * 2.0 ** min(times - 1, 32), most_s) * _S)


@dataclass(slots=True)
class Backoff:
    """How often one thing was asked for again, and from when on it may be."""

    in_a_row: int = 0
    noted_ns: int = 0
    not_before_ns: int = 0  # earliest next request

    def note(self, now_ns: int, first_s: float, most_s: float, stable_after_s: float) -> None:
        """It must be asked for again: one that held for `stable_after_s` starts over."""
        if now_ns - max(self.noted_ns, self.not_before_ns) > int(stable_after_s * _S):
            self.in_a_row = 0
        self.not_before_ns = now_ns + doubling_ns(self.in_a_row, first_s, most_s)
        self.in_a_row += 1
        self.noted_ns = now_ns
