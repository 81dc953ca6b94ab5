"""Damaged and arbitrary Bitfinex frames: the decoder and its books never raise and never leave their memory."""

from __future__ import annotations

import random
from functools import cache

from tests.exchanges.bitfinex.mangling import Machine, frames_of

ROUNDS = 10_000
INPUTS = 1_000
"""Inputs a round: 10**7 in all, each of one to 24 frames."""


@cache
def machine() -> Machine:
    """The one decoder of this run; its memory is guarded."""
    return Machine()


def attempt(seed: int) -> dict[str, int]:
    """INPUTS seeded inputs on one decoder that starts from nothing."""
    draw = random.Random(seed)
    under_test = machine()
    under_test.reset()
    rows = 0
    for _ in range(INPUTS):
        rows += under_test.run(frames_of(draw.randbytes(draw.randint(1, 60))))
        under_test.decoder.side_rows["quarantine"].clear()
    counters = under_test.decoder.counters
    return {"inputs": INPUTS, "frames": counters["frames"], "rows": rows, "quarantined": counters["quarantined"]}
