"""Trade ids seen lately, a ring a channel, so that a trade told twice is taken once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.market.rows import Kind

RING = 4096
"""Trade ids remembered a channel."""
_BLOCK = 64
_TRADE = int(Kind.TRADE)


class Rings:
    """Rings by channel row; `array` is replaced when it grows, so read it again after `of`. Outlives connections."""

    def __init__(self) -> None:
        self.array: NDArray[np.int64] = np.zeros((0, 2 + RING), np.int64)
        self._ring_of: dict[int, int] = {}  # channel row -> row of `array`

    def of(self, channel: int) -> int:
        """The ring of `channel`, made where it has none."""
        ring = self._ring_of.setdefault(channel, len(self._ring_of))
        if ring >= len(self.array):
            more = np.zeros((max(8, len(self.array)), 2 + RING), np.int64)
            self.array = np.concatenate([self.array, more])
        return ring


@kernel
def seen(rings: Any, ring: Any, trade_id: Any) -> Any:
    """Whether `trade_id` is among the last RING ids of a channel.

    `rings[ring]` is count, highest id, then the ids. Ids mostly grow, so most answers need no search; the search
    goes back from the newest in blocks whose comparison the compiler turns into vector instructions.
    """
    count = rings[ring, 0]
    if count == 0 or trade_id > rings[ring, 1]:
        return False
    ids = rings[ring]
    newest = (count - 1) & (RING - 1)
    block = newest // _BLOCK
    for _ in range(RING // _BLOCK):
        first = 2 + block * _BLOCK
        hits: Any = 0
        for k in range(_BLOCK):
            hits += np.int64(ids[first + k] == trade_id)
        if hits > 0:
            return True
        block = (block - 1) & (RING // _BLOCK - 1)
    return False


@kernel
def remember(rings: Any, ring: Any, trade_id: Any) -> None:
    """Put `trade_id` into a channel's ring over the oldest one."""
    count = rings[ring, 0]
    rings[ring, 2 + (count & (RING - 1))] = trade_id
    if count == 0 or trade_id > rings[ring, 1]:
        rings[ring, 1] = trade_id
    rings[ring, 0] = count + 1


@kernel
def forget_trades(rows: Any, first: Any, r: Any, rings: Any) -> None:
    """Forget the TRADE rows `first..r` of a frame that is refused: the venue tells them again.

    Each was remembered when it was written, in the ring that its `part` names.
    """
    for k in range(first, r):
        if rows[k].kind == _TRADE and rows[k].ref != 0:
            ring = np.int64(rows[k].part)
            count = rings[ring, 0] - 1
            rings[ring, 0] = count
            rings[ring, 2 + (count & (RING - 1))] = 0
