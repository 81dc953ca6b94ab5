"""Makes a journal as a live engine writes it: simulated frames, the real recorder, answers and decisions in it.

Runs in a process of its own: `python -m benchmarks._make_journal FOLDER SECONDS INSTRUMENTS RATE`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._engine_process import config_for
from data_controller.engine.live import LiveEngine, run_loop
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.prehistory import Chunk, cut, generate


def main(folder: Path, seconds: float, instruments: int, rate: float) -> None:
    """Play `seconds` of a market of `rate` frames a second through an engine that ends before its live part."""
    duration_ns = int(seconds * 1e9)
    exchange = Exchange(3, instruments, ticks_per_second=rate, start_ns=time.time_ns() - duration_ns - 1_000_000_000)

    def chunks() -> Iterator[list[Chunk]]:
        for big in generate(exchange, duration_ns, raw_books=0):
            yield list(cut(big))

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "prehistory":
            engine.stop("made")

    engine = LiveEngine(config_for(folder, 1, instruments), prehistory=chunks(), on_event=on_event)
    run_loop(engine)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
