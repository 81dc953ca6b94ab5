"""Atheris target: the Bitfinex decoder and its books under frames that no venue sends.

`running` has the command line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.bitfinex import decoder
from tests.exchanges.bitfinex.mangling import MAX_BATCH, PLACES, Machine, frames_of
from tests.fuzz.running import fuzz, instrument

RESET_EVERY = 500
"""A decoder keeps its state for so many inputs, so that later ones meet channels, sequences and rings."""
SIZES = (*[MAX_BATCH] * 13, 1, 2, 5)
"""Frames a batch by an input's first byte; single ones are dear, but each ends at the edge of readable memory."""


def main() -> None:
    """Run libFuzzer; it ends the process, with 0 where nothing was found."""
    instrument(decoder)
    machine, count = Machine(), 0

    def one_input(data: bytes) -> NDArray[np.int64]:
        nonlocal count
        if count % RESET_EVERY == 0:
            machine.reset()
        count += 1
        machine.run(frames_of(data[1:]), SIZES[data[0] % len(SIZES) if data else 0])
        return machine.seen

    fuzz(one_input, max_bytes=512, places=PLACES)


if __name__ == "__main__":
    main()
