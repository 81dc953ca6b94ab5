"""Atheris target: the Bitfinex decoder and its books under frames that no venue sends.

python tests/fuzz/fuzz_bitfinex_decoder.py --runs 1000000 [libFuzzer options]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

RESET_EVERY = 500
"""A decoder keeps its state for so many inputs, so that later ones meet channels, sequences and rings."""


def target() -> Any:
    """The function under fuzz; the decoder's Python half is instrumented, compiled code cannot be."""
    import atheris

    import data_controller.exchanges.bitfinex._scanner

    with atheris.instrument_imports(include=["data_controller.exchanges.bitfinex.decoder"]):
        import data_controller.exchanges.bitfinex.decoder  # noqa: F401
    from tests.exchanges.bitfinex.mangling import Machine, frames_of

    machine, count = Machine(), 0

    def one_input(data: bytes) -> None:
        nonlocal count
        if count % RESET_EVERY == 0:
            machine.reset()
        count += 1
        machine.run(frames_of(data))

    return one_input


def main(arguments: list[str]) -> None:
    """Fuzz for `--runs N` inputs, for ever without."""
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]
    import atheris

    options = list(arguments)
    if "--runs" in options:
        at = options.index("--runs")
        options[at : at + 2] = [f"-runs={int(options[at + 1])}"]
    atheris.Setup([sys.argv[0], "-max_len=512", *options], target())
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
