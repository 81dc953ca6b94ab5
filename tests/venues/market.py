"""A small book that moves by seed: the source of messages for dialects of which nothing was captured."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

Entries = list[tuple[str, str]]


class Market:
    """Ten prices a side at most, never crossed: bids end below `middle`, asks begin above it."""

    def __init__(self, seed: int, middle: int) -> None:
        self._rng = random.Random(seed)
        self._middle = middle
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.number = 1000  # of the last change
        self._moved: list[int] = []
        for side, sign in ((self.bids, -1), (self.asks, 1)):
            for step in range(1, 8):
                side[self._price(sign * step)] = self._size()

    def _price(self, steps: int) -> str:
        return f"{self._middle + steps / 2:.1f}"

    def _size(self) -> str:
        return f"{self._rng.randrange(1, 10**9) / 1e8:.8f}"

    def whole(self) -> tuple[Entries, Entries]:
        """Bids and asks, best first."""
        bids = sorted(self.bids.items(), key=lambda e: -float(e[0]))
        return bids, sorted(self.asks.items(), key=lambda e: float(e[0]))

    def move(self) -> tuple[Entries, Entries]:
        """One or two changes, applied; size 0 takes a level away.

        None of a price that the move before changed: what makes good for a lost message would hide its loss.
        """
        told: tuple[Entries, Entries] = ([], [])
        self.number += 1
        steps = self._rng.sample([step for step in range(1, 11) if step not in self._moved], self._rng.randrange(1, 3))
        self._moved = steps
        for step in steps:
            k = self._rng.randrange(2)
            side, price = (self.bids, self.asks)[k], self._price(step if k else -step)
            if price in side and len(side) > 4 and self._rng.random() < 0.4:
                del side[price]
                told[k].append((price, "0"))
            else:
                side[price] = self._size()
                told[k].append((price, side[price]))
        return told

    def play(
        self,
        snapshot: Callable[[Entries, Entries], bytes],
        change: Callable[[Entries, Entries], bytes],
    ) -> Iterator[bytes]:
        """The whole book as it is now, then its changes without end; the market goes on from one play to the next."""
        yield snapshot(*self.whole())
        while True:
            yield change(*self.move())
