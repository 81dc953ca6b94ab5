"""The live engine in a process of its own for a load run: the one that `run` starts, with every frame's end noted.

It ends at SIGTERM; then `summary.json` and `frames.npz` lie in the folder given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks._cores import set_affinity
from benchmarks._load import binance_names
from data_controller.config import Config, parse
from data_controller.engine.latency import FrameTimes
from data_controller.engine.live import LiveEngine, run_loop
from data_controller.simulator.exchange import instrument_names


def config_for(
    state_dir: Path,
    port: int,
    instruments: int,
    *,
    raw_books: bool = False,
    binance_port: int = 0,
    spin_us: int | None = None,
) -> Config:
    """Books P0 of 25 with checksums, and trades; everything else as shipped, trading as in the demo.

    With `raw_books` also R0 of 25; with `binance_port` the depth of as many instruments there.
    """
    books = [{"precision": precision, "frequency": "F0", "length": 25} for precision in ("P0", "R0")[: 1 + raw_books]]
    exchanges: dict[str, Any] = {
        "bitfinex": {
            "url": f"ws://127.0.0.1:{port}/ws/2",
            "instruments": instrument_names(instruments),
            "books": books,
            "tickers": False,
        }
    }
    if binance_port:
        exchanges["binance"] = {
            "url": f"ws://127.0.0.1:{binance_port}/stream",
            "rest_url": f"http://127.0.0.1:{binance_port}/api/v3",
            "instruments": binance_names(instruments),
            "trades": False,
        }
    return parse(
        {
            "state_dir": str(state_dir),
            "exchanges": exchanges,
            "engine": {} if spin_us is None else {"spin_us": spin_us},
            "features": {"leader": "bitfinex:tBTCUSD"},
            "trading": {"fee_bps": 0.0, "min_edge_bps": 0.05, "latency_drift_bps": 0.0, "allow_short": True},
            "risk": {"max_open_positions": instruments * (2 if binance_port else 1)},
        }
    )


def keep_core(core: int) -> None:
    """Give `core` to the calling thread alone: the process's other threads and its monitor take the others."""
    others = sorted(os.sched_getaffinity(0) - {core})
    if not others:
        return
    for thread in Path("/proc/self/task").iterdir():
        if int(thread.name) != threading.get_native_id():
            set_affinity(int(thread.name), others)
    for child in psutil.Process().children(recursive=True):
        for thread in child.threads():
            set_affinity(thread.id, others)
    set_affinity(0, [core])


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instruments", type=int, required=True)
    parser.add_argument("--core", type=int, default=-1)
    parser.add_argument("--record-only", action="store_true")
    parser.add_argument("--raw-books", action="store_true")
    parser.add_argument("--binance-port", type=int, default=0)
    parser.add_argument("--spin-us", type=int)
    args = parser.parse_args()
    times = FrameTimes(1 << 25)

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "live" and args.core >= 0:
            keep_core(args.core)
        print(json.dumps(event), flush=True)

    config = config_for(
        args.folder / "state",
        args.port,
        args.instruments,
        raw_books=args.raw_books,
        binance_port=args.binance_port,
        spin_us=args.spin_us,
    )
    engine = LiveEngine(
        config,
        record_only=args.record_only,
        frame_times=times,
        on_event=on_event,
    )
    summary = run_loop(engine)
    summary["frame_times_dropped"] = times.dropped
    ports = np.array([[slot, port] for slot, port in engine.local_ports.items()], np.int64).reshape(-1, 2)
    np.savez(args.folder / "frames.npz", times=times.array(), ports=ports)
    (args.folder / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    sys.exit(main())
