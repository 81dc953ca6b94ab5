"""Replay: frames a second from a journal through sequence, checksums, books, features and decisions, on one core.

The journal is made beforehand by the real engine and its recorder (100 instruments, 10,000 frames a second of market
time) and kept under build/. Each timed replay is a process of its own on one core; one more pass says where the time
goes. Run: python -m benchmarks replay (REPLAY_FRAMES=300000 for a small one)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._cores import cores, set_affinity
from data_controller.kernels import sources_hash

ROOT = Path(__file__).parents[1]
FRAMES = int(os.environ.get("REPLAY_FRAMES", "3000000"))
INSTRUMENTS = 100
RATE = 10_000.0
SPARE = 1.09  # the market's rate is an average of orders, not of frames
ROUNDS = 3


def journal(frames: int = FRAMES) -> Path:
    """The journal's folder, made now where it is not there."""
    folder = ROOT / "build" / f"bench-journal-{frames}-{INSTRUMENTS}-{sources_hash()[:12]}"
    if not (folder / "done").exists():
        seconds = str(frames / RATE * SPARE)
        command = [sys.executable, "-P", "-m", "benchmarks._make_journal", str(folder), seconds, str(INSTRUMENTS)]
        subprocess.run([*command, str(RATE)], check=True, env=environment(), stdout=subprocess.DEVNULL)
        (folder / "done").touch()
    return folder / "journal"


def environment() -> dict[str, str]:
    """For a child that imports both the package and the benchmarks."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def child(*arguments: str) -> dict[str, Any]:
    """What this module, run as a program, prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.replay", *arguments],
        check=True,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


class Stages:
    """Time by stage, without what a stage's own calls to other stages took."""

    def __init__(self) -> None:
        self.ns: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self._stack: list[int] = []

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, timed as stage `name`."""
        self.ns.setdefault(name, 0)
        self.calls.setdefault(name, 0)

        def around(*args: Any, **kwargs: Any) -> Any:
            self._stack.append(0)
            started = time.thread_time_ns()
            try:
                return call(*args, **kwargs)
            finally:
                took = time.thread_time_ns() - started
                self.ns[name] += took - self._stack.pop()
                self.calls[name] += 1
                if self._stack:
                    self._stack[-1] += took

        return around

    def iterated(self, name: str, inner: Iterator[Any]) -> Iterator[Any]:
        """`inner`, each step timed as stage `name`."""
        step = self.timed(name, lambda: next(inner, self))
        while (item := step()) is not self:
            yield item


def staged(folder: Path) -> dict[str, Any]:
    """One replay with a clock around each stage: CPU share and nanoseconds a frame."""
    from data_controller.engine import replay as module
    from data_controller.engine.warm_up import warm_up
    from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
    from data_controller.pipeline import pipeline
    from data_controller.pipeline.digest import Digest
    from data_controller.pipeline.tick import Ticks
    from data_controller.trading.trader import Trader

    warm_up()
    stages = Stages()
    read, end_second = module.read, Ticks.end_second
    module.read = lambda *args, **kwargs: stages.iterated("read the journal", read(*args, **kwargs))
    Ticks.end_second = lambda *args, **kwargs: stages.iterated(  # type: ignore[assignment,method-assign]
        "features of a tick, in slices", stages.timed("end a second, copy the books", end_second)(*args, **kwargs)
    )
    for owner, attribute, name in (
        (BitfinexDecoder, "decode", "decode"),
        (pipeline, "run", "books, checksums, feature events"),
        (Digest, "_flush", "digests: SHA-256"),
        (Digest, "add_bytes", "digests: gather"),
        (Trader, "on_answer", "decide"),
        (Trader, "on_time", "trader's deadlines"),
        (module.Replay, "_recompute", "predict"),
    ):
        setattr(owner, attribute, stages.timed(name, getattr(owner, attribute)))
    whole = stages.timed("the pipeline's Python", module.replay)
    summary = whole([folder])
    total = sum(stages.ns.values())
    rows = sorted(stages.ns.items(), key=lambda item: -item[1])
    return {
        "cpu_s": round(total / 1e9, 3),
        "stages": {
            name: {
                "share": round(ns / total, 3),
                "ns_per_frame": round(ns / summary["frames"], 1),
                "calls": stages.calls[name],
            }
            for name, ns in rows
        },
    }


def timed(folder: Path) -> dict[str, Any]:
    """One replay as `data-controller replay` runs it, kernels loaded beforehand."""
    from data_controller.engine.replay import replay
    from data_controller.engine.warm_up import warm_up

    warm_up()
    started = time.process_time()
    summary = replay([folder])
    cpu_s = time.process_time() - started
    keys = ("frames", "events", "checksums_ok", "checksums_bad", "sequence_gaps", "feature_rows", "predictions")
    return {key: summary[key] for key in (*keys, "decisions", "seconds", "frames_per_s", "peak_rss_mb")} | {
        "predictions_differ": summary["predictions_differ"],
        "cpu_s": round(cpu_s, 3),
        "frames_per_cpu_s": round(summary["frames"] / cpu_s),
        "digest": summary["digest"]["features"]["sha256"][:16],
    }


def measure() -> dict[str, Any]:
    """Median frames a second of several replays, and the profile of one more."""
    folder = journal()
    rounds = [child("timed", str(folder)) for _ in range(ROUNDS)]
    first = rounds[0]
    if first["checksums_bad"] or first["sequence_gaps"] or not first["checksums_ok"] or not first["feature_rows"]:
        raise AssertionError(f"expected a clean replay with checksums and features, was {first}")
    rate = median(each["frames_per_s"] for each in rounds)
    return {
        "journal_bytes": sum(file.stat().st_size for file in folder.glob("*.arrows")),
        "instruments": INSTRUMENTS,
        "rounds": rounds,
        "frames_per_s": rate,
        "frames_per_cpu_s": median(each["frames_per_cpu_s"] for each in rounds),
        "profile": child("staged", str(folder)),
        "targets": [
            {
                "what": "replay through checksums and features, one core",
                "target": 500_000,
                "stretch": 1_000_000,
                "measured": rate,
                "unit": "frames/s",
                "better": "more",
            }
        ],
    }


if __name__ == "__main__":
    if cores():
        set_affinity(0, [cores()[-1]])
    print(json.dumps({"timed": timed, "staged": staged}[sys.argv[1]](Path(sys.argv[2]))))
