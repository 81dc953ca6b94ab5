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
from data_controller.config import Config, parse
from data_controller.engine.latency import FrameTimes
from data_controller.engine.live import LiveEngine, run_loop
from data_controller.simulator.exchange import instrument_names


def config_for(state_dir: Path, port: int, instruments: int) -> Config:
    """Books P0 of 25 with checksums, and trades; everything else as shipped, trading as in the demo."""
    return parse(
        {
            "state_dir": str(state_dir),
            "exchanges": {
                "bitfinex": {
                    "url": f"ws://127.0.0.1:{port}/ws/2",
                    "instruments": instrument_names(instruments),
                    "books": [{"precision": "P0", "frequency": "F0", "length": 25}],
                    "tickers": False,
                }
            },
            "features": {"leader": "bitfinex:tBTCUSD"},
            "trading": {"fee_bps": 0.0, "min_edge_bps": 0.05, "latency_drift_bps": 0.0, "allow_short": True},
            "risk": {"max_open_positions": instruments},
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
    args = parser.parse_args()
    times = FrameTimes(1 << 25)

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "live" and args.core >= 0:
            keep_core(args.core)
        print(json.dumps(event), flush=True)

    engine = LiveEngine(
        config_for(args.folder / "state", args.port, args.instruments),
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
