"""Atheris target: the Bitfinex decoder and its books under frames that no venue sends.

`running` has the command line.
"""

from __future__ import annotations

import atheris

import data_controller.exchanges.bitfinex._scanner
from tests.fuzz.running import fuzz

# The decoder's Python half is instrumented; compiled code cannot be, so the scanner is imported before.
with atheris.instrument_imports(include=["data_controller.exchanges.bitfinex.decoder"]):
    import data_controller.exchanges.bitfinex.decoder  # noqa: F401
from tests.exchanges.bitfinex.mangling import Machine, frames_of

RESET_EVERY = 500
"""A decoder keeps its state for so many inputs, so that later ones meet channels, sequences and rings."""


def main() -> None:
    """Run libFuzzer; it ends the process, with 0 where nothing was found."""
    machine, count = Machine(), 0

    def one_input(data: bytes) -> None:
        nonlocal count
        if count % RESET_EVERY == 0:
            machine.reset()
        count += 1
        machine.run(frames_of(data))

    fuzz(one_input, max_bytes=512)


if __name__ == "__main__":
    main()
