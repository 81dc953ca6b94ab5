"""Two venues at once, 100 instruments, 50,000 frames a second: nothing lost, how late, how much memory and CPU.

50 instruments of Bitfinex (P0 and R0 books of 25 with checksums, and trades) and 50 of Binance (depth, spliced to a
fetched snapshot) send half of the frames each, made beforehand, from a process of its own over real sockets; the live
engine has journal, features, predictions, decisions, monitor and metrics on. Times are taken as in `latency`, between
two runs of a client that only receives and stamps. Then the engine runs twice more without staying awake between
frames, over all instruments and over one of each venue at the same rate: its CPU seconds over the frames it took.

Run: python -m benchmarks mixed (MIXED_SECONDS=6 MIXED_RATE=20000 for a small one)
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._cores import hiccups
from benchmarks._load import Run, run
from data_controller.journal.reader import read
from data_controller.records import Kind

SECONDS = float(os.environ.get("MIXED_SECONDS", "30"))
RATE = float(os.environ.get("MIXED_RATE", "50000"))
EACH = int(os.environ.get("MIXED_INSTRUMENTS", "100")) // 2
DROPPED_S = min(5.0, SECONDS / 4)
COALESCE_US = 1000.0
CPU_SECONDS = max(5.0, SECONDS / 3)
CPU_ROUNDS = 3


def engine_figures(done: Run, each: int, folder: Path) -> dict[str, Any]:
    """What the engine says of its own run; AssertionError where a book is not proved or a frame is not on disk."""
    summary = done.summary
    wrong = {name: summary[name] for name in ("sequence_gaps", "checksums_bad", "quarantined", "resyncs")}
    proved = summary["books_proved"], summary["books"]
    if any(wrong.values()) or proved != (3 * each, 3 * each) or not summary["journal_ok"]:
        raise AssertionError(f"expected {3 * each} proved books and nothing wrong, was {proved} and {wrong}")
    frames = int(Kind.FRAME)
    on_disk = sum(int((batch.kind == frames).sum()) for batch in read([folder / "state" / "journal"], merge=1 << 16))
    if on_disk != summary["frames"]:
        raise AssertionError(f"expected {summary['frames']} frames in the journal, was {on_disk}")
    names = ("frames", "events", "checksums_ok", "books_proved", "predictions", "journal_bytes", "peak_rss_mb")
    return {name: summary[name] for name in (*names, "step_us")} | {"frames_in_journal": on_disk}


def loaded(client: str, each: int, seconds: float, *arguments: str, keep: Path | None = None) -> Run:
    """One run over `each` instruments of both venues."""
    half = RATE / 2
    return run(
        client,
        instruments=each,
        rate=half,
        binance_rate=half,
        seconds=seconds,
        drop_s=min(DROPPED_S, seconds / 4),
        coalesce_us=COALESCE_US,
        arguments=arguments,
        keep=keep,
    )


def engine(each: int, seconds: float, *arguments: str) -> tuple[Run, dict[str, Any]]:
    """A run of the engine and its own figures."""
    with tempfile.TemporaryDirectory(prefix="bench-mixed-") as name:
        done = loaded("_engine_process", each, seconds, *arguments, keep=Path(name))
        return done, engine_figures(done, each, Path(name))


def cpu_us_a_frame(each: int) -> dict[str, Any]:
    """CPU of the whole engine process under load, all threads, over the frames sent meanwhile."""
    done, _ = engine(each, CPU_SECONDS, "--spin-us", "0")
    frames = done.sent
    return {
        "instruments": 2 * each,
        "frames": frames,
        "lost": done.figures()["lost"],
        "achieved_rate": done.load["achieved_rate"],
        "cpu_us_a_frame": round(done.load_cpu_s / frames * 1e6, 3),
    }


def measure() -> dict[str, Any]:
    """Loss, latency over the null client's, memory, and CPU a frame by number of instruments."""
    before_hiccups = hiccups()
    before = loaded("_null_client", EACH, SECONDS).figures()
    live, own = engine(EACH, SECONDS)
    after = loaded("_null_client", EACH, SECONDS).figures()
    ours, nulls = live.figures(), [before, after]
    wire = ours["wire_to_decision_us"]
    null = {key: min(each["wire_to_decision_us"][key] for each in nulls) for key in wire}
    few: list[dict[str, Any]] = []
    many: list[dict[str, Any]] = []
    for _ in range(CPU_ROUNDS):
        few.append(cpu_us_a_frame(1))
        many.append(cpu_us_a_frame(EACH))
    base, whole = (median(run["cpu_us_a_frame"] for run in runs) for runs in (few, many))
    return {
        "rate": RATE,
        "instruments": 2 * EACH,
        "seconds": SECONDS,
        "first_seconds_dropped": DROPPED_S,
        "coalesce_us": COALESCE_US,
        "engine": ours | own,
        "null_client_before": before,
        "null_client_after": after,
        "over_the_null_client_us": {key: round(wire[key] - null[key], 1) for key in wire},
        "cpu": {"few": few, "many": many, "times": round(whole / base, 3)},
        "hiccups_before": before_hiccups,
        "targets": [
            {
                "what": f"{RATE:,.0f} frames/s of two venues: frames lost",
                "target": 0,
                "measured": ours["lost"],
                "unit": "",
                "better": "less",
            },
            {
                "what": "two venues, wire to proved book, p99 over the null client's",
                "target": 1000,
                "measured": round(wire["p99"] - null["p99"], 1),
                "unit": "us",
                "better": "less",
            },
            {
                "what": f"two venues, {2 * EACH} instruments: peak resident memory",
                "target": 1500,
                "measured": own["peak_rss_mb"],
                "unit": "MB",
                "better": "less",
            },
            {
                "what": f"CPU a frame, {2 * EACH} instruments (target: 30 % or 0.2 us over that of 2)",
                "target": round(max(1.3 * base, base + 0.2), 3),
                "measured": whole,
                "unit": "us",
                "better": "less",
            },
        ],
    }
