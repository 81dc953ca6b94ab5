"""The knee: the highest rate of frames that the live engine takes without loss and without falling behind.

The same load as in `latency`, at rising rates, with writes gathered for a millisecond; beside it the null client at the
same rate, so that a simulator or a socket that is at its own end is seen. A rate is sustained where the sender kept it,
every frame came through, and frames of the last fifth were not later than those before: their median below 10 ms or
below twice that of the second fifth.

Run: python -m benchmarks knee (KNEE_SECONDS=5 KNEE_RATES=20000,100000)
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from benchmarks._load import Run, run

SECONDS = float(os.environ.get("KNEE_SECONDS", "12"))
# A little above the round figures, as a sender stays a little below what it is asked for.
RATES = [int(rate) for rate in os.environ.get("KNEE_RATES", "20000,50000,75000,102000,125000,153000,200000").split(",")]
COALESCE_US = 1000.0
TARGET, STRETCH = 100_000, 150_000


def lag_us(done: Run) -> list[float]:
    """Median latency by fifth of the run, in order of arrival."""
    parts = np.array_split(done.latency_ns, 5)
    return [round(float(np.median(part)) / 1e3, 1) for part in parts if len(part)]


def row(rate: int, done: Run) -> dict[str, Any]:
    """Figures of one run and whether the rate was sustained."""
    figures, lag = done.figures(), lag_us(done)
    sender = done.load
    kept = sender["achieved_rate"] >= 0.97 * rate and not sender["broken"]
    steady = len(lag) == 5 and (lag[-1] < 10_000 or lag[-1] < 2 * lag[1])
    wrong = sum(done.summary.get(name, 0) for name in ("sequence_gaps", "checksums_bad", "resyncs"))
    return {
        "sent_per_s": sender["achieved_rate"],
        "blocked_sends": sender["blocked_sends"],
        "lost": figures["lost"],
        "gaps_bad_checksums_resyncs": wrong,
        "median_latency_us_by_fifth": lag,
        "p99_us": (figures["wire_to_decision_us"] or {}).get("p99"),
        "process_cpu_s": figures["process_cpu_s"],
        "sustained": bool(kept and steady and figures["lost"] == 0 and wrong == 0),
    }


def measure() -> dict[str, Any]:
    """The table by rate, and the highest sustained rate with all below it sustained too."""
    table: dict[str, Any] = {}
    best, going = 0.0, True
    for rate in RATES:
        load: dict[str, Any] = {"rate": rate, "seconds": SECONDS, "drop_s": SECONDS / 6, "coalesce_us": COALESCE_US}
        engine = row(rate, run("_engine_process", **load))
        table[str(rate)] = {"engine": engine, "null_client": row(rate, run("_null_client", **load))}
        going = going and engine["sustained"]
        if going:
            best = engine["sent_per_s"]
        elif rate > TARGET:
            break
    return {
        "seconds": SECONDS,
        "coalesce_us": COALESCE_US,
        "rates": table,
        "highest_sustained": best,
        "targets": [
            {
                "what": "frames a second sustained without loss or growing lag",
                "target": TARGET,
                "stretch": STRETCH,
                "measured": best,
                "unit": "frames/s",
                "better": "more",
            }
        ],
    }
