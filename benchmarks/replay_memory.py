"""Resident memory over 100,000,000 replayed events: one journal, again and again, through one pipeline.

The journal is `replay`'s (100 instruments, 3,000,000 frames); each round begins with its START, so the pipeline begins
anew while its digests, totals and buffers go on. Memory is read after every batch, in a process of its own, with
features and decisions and without (record only): what is resident after a tenth of the events against the most that is
resident in the last tenth. `make bench` takes a tenth of the events, about a minute; the full count by environment.

Run: python -m benchmarks replay_memory (REPLAY_MEMORY_EVENTS=100000000 for the full count)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._cores import cores, set_affinity
from benchmarks.replay import environment, journal

EVENTS = int(os.environ.get("REPLAY_MEMORY_EVENTS", "10000000"))
ALLOWED_MB = 16.0
"""How much more may be resident at the end: what an allocator keeps varies by some megabytes."""


def resident_mb() -> float:
    """Memory of this process that lies in RAM and is no page of a file, where the system tells; else its peak."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    from data_controller.engine.summary import peak_rss_mb

    return peak_rss_mb()


def played(folder: Path, events: int, record_only: bool) -> dict[str, Any]:
    """Play `folder` until `events` have passed."""
    from data_controller.engine.replay import MERGE_RECORDS, Replay
    from data_controller.engine.summary import peak_rss_mb
    from data_controller.engine.warm_up import warm_up
    from data_controller.journal.reader import read

    warm_up()
    runner = Replay(record_only=record_only)
    counters = runner.pipeline.counters
    readings: list[tuple[int, float]] = []
    rounds = 0
    while counters["events"] < events:
        rounds += 1
        before = counters["events"]
        for batch in read([folder], merge=MERGE_RECORDS):
            runner.feed(batch, 0, len(batch.recv_ns))
            readings.append((counters["events"], resident_mb()))
            if counters["events"] >= events:
                break
        if counters["events"] == before:
            raise AssertionError(f"expected events in {folder}, was none")
    runner.finish()
    total = counters["events"]
    early = next(mb for seen, mb in readings if seen >= total // 10)
    late = max(mb for seen, mb in readings if seen >= total - total // 10)
    totals = runner.pipeline.totals()
    if totals["checks_bad"] or totals["sequence_gaps"] or not totals["checks_ok"]:
        raise AssertionError(f"expected a clean replay with checksums, was {totals}")
    return {
        "events": total,
        "rounds": rounds,
        "feature_rows": counters["feature_rows"],
        "resident_mb_after_a_tenth": round(early, 1),
        "resident_mb_most_of_last_tenth": round(late, 1),
        "grown_mb": round(late - early, 1),
        "peak_rss_mb": peak_rss_mb(),
    }


def measure() -> dict[str, Any]:
    """Both ways of replaying, each in a process of its own."""
    folder = journal()
    results = {}
    for name in ("whole", "record_only"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "benchmarks.replay_memory", str(folder), str(EVENTS), name],
            check=True,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        results[name] = json.loads(done.stdout.splitlines()[-1])
    return results | {
        "targets": [
            {
                "what": f"resident memory gained between a tenth and all of {EVENTS:,} replayed events ({name})",
                "target": ALLOWED_MB,
                "measured": result["grown_mb"],
                "unit": "MB",
                "better": "less",
            }
            for name, result in results.items()
        ]
    }


if __name__ == "__main__":
    if cores():
        set_affinity(0, [cores()[-1]])
    print(json.dumps(played(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "record_only")))
