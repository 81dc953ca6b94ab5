"""CPU of the engine's loop thread by step: frames pushed, stepped and measured in groups, and every part of a tick.

The engine's own Core with recorder, pipeline and ladder is fed from the journal of `replay`, in groups as reads of a
socket would bring them; only sockets and the event loop are missing. All figures are thread CPU time, so what the
machine takes away does not count: this is where "no step of a grid tick above 300 us" can be seen apart from stalls.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replay import journal
from data_controller.engine.clock import Clock
from data_controller.engine.core import Core
from data_controller.engine.latency import FrameTimes
from data_controller.engine.models import Models
from data_controller.engine.setup import configure_replay
from data_controller.journal.reader import read
from data_controller.journal.recorder import Recorder
from data_controller.journal.recovery import recover
from data_controller.journal.settings import JournalSettings
from data_controller.killswitch.latch import Latch, prepare
from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import Kind

GROUPS = (1, 2, 8, 64, 512)
WARM_FRAMES = 600_000
FRAMES_EACH = 120_000
SKIPPED = (int(Kind.ANSWER), int(Kind.SENT), int(Kind.COMMAND), int(Kind.CLOSED))
_FRAME = int(Kind.FRAME)


class Replayed(Clock):
    """Engine time is the time of the record being pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.at_ns = 0

    def now_ns(self) -> int:
        """Arrival of the record being pushed."""
        return self.at_ns

    def of_monotonic(self, mono_ns: int) -> int:
        """The same."""
        return self.at_ns


def records(folder: Path) -> Iterator[tuple[int, int, int, memoryview]]:
    """Kind, connection, time and payload of each record that is input."""
    for batch in read([folder], merge=1 << 14):
        offsets, data = batch.offsets.tolist(), batch.data.data
        columns = zip(batch.kind.tolist(), batch.conn.tolist(), batch.recv_ns.tolist(), strict=True)
        for i, (kind, conn, recv_ns) in enumerate(columns):
            if kind not in SKIPPED:
                yield kind, conn, recv_ns, data[offsets[i] : offsets[i + 1]]


class Bench:
    """A live core without a loop: what it schedules is run, and timed, as soon as the step is over."""

    def __init__(self, folder: Path, state: Path) -> None:
        prepare(state)
        models = Models()
        self.clock = Replayed()
        self.queue: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        settings = JournalSettings(min_free_bytes=0, flush_interval_ms=60_000)
        found = recover(state / "journal")
        self.recorder = Recorder(settings, state / "journal", found.run, on_failure=_raise)
        self.pipeline = Pipeline(configure_replay(models.bundle_of, None))
        self.records = records(folder)
        start = next(self.records)
        self.core = Core(
            clock=self.clock,
            recorder=self.recorder,
            pipeline=self.pipeline,
            ladder=None,
            latch=Latch(state),
            tell=lambda action: None,
            alert=lambda alert: None,
            call_soon=lambda call, *args: self.queue.append((call, args)),
            on_error=_raise,
            frame_times=FrameTimes(1 << 25),
        )
        self.push(start)
        self.core.step()
        self.core.ladder = models.ladder
        self.core.live = True
        self.slices: list[list[float]] = []  # microseconds by tick, in order

    def push(self, record: tuple[int, int, int, memoryview]) -> None:
        """One record into the arena."""
        kind, conn, self.clock.at_ns, payload = record
        self.core.push(kind, conn, self.clock.at_ns, payload)

    def run(self, frames: int, group: int) -> dict[str, list[float]]:
        """Microseconds of pushes and of turns: those of plain frames, with a tick's beginning, with its answer."""
        took: dict[str, list[float]] = {"pushes": [], "frames": [], "tick": [], "answer": [], "pulse": []}
        clock, counters = time.thread_time_ns, self.pipeline.counters
        done, held = 0, []
        for record in self.records:
            held.append(record)
            if len(held) < group and record[0] == _FRAME:
                continue
            while self.recorder.should_pause:
                self.recorder.wait_for_room()
            started = clock()
            for one in held:
                self.push(one)
            pushed = clock()
            ticks = counters["ticks"]
            self.core._turn()
            turned = clock()
            kind = "tick" if counters["ticks"] != ticks else "frames" if held[-1][0] == _FRAME else "pulse"
            took["pushes"].append((pushed - started) / 1e3 / len(held))
            took[kind].append((turned - pushed) / 1e3)
            self.work(took)
            done += len(held)
            held = []
            self.recorder.tick(self.clock.at_ns)
            if done >= frames:
                return took
        raise RuntimeError(f"expected {frames} more records in the journal, was its end")

    def work(self, took: dict[str, list[float]]) -> None:
        """Whatever was scheduled: slices of the tick, then the step that holds the answer."""
        slices = []
        while self.queue:
            call, args = self.queue.popleft()
            started = time.thread_time_ns()
            call(*args)
            us = (time.thread_time_ns() - started) / 1e3
            if call.__name__ == "_slice":
                slices.append(us)
            else:
                took["answer"].append(us)
        if slices:
            self.slices.append(slices)


def _raise(error: Exception) -> None:
    raise error


def spread(us: list[float]) -> dict[str, float]:
    """p50, p99 and max."""
    return {name: round(float(np.quantile(us, q)), 1) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}


def measure() -> dict[str, Any]:
    """CPU microseconds a step by frames in it, and by part of a tick."""
    from data_controller.engine.warm_up import warm_up

    warm_up()
    with tempfile.TemporaryDirectory(prefix="bench-step-") as state:
        bench = Bench(journal(), Path(state))
        bench.run(WARM_FRAMES, 512)
        gc.collect()
        gc.freeze()
        gc.disable()
        bench.slices.clear()
        steps, ticks, answers, pulses = {}, [], [], []
        for group in GROUPS:
            took = bench.run(FRAMES_EACH, group)
            steps[f"frames_{group}"] = spread(took["frames"]) | {
                "us_per_frame": round(sum(took["frames"]) / len(took["frames"]) / group + np.mean(took["pushes"]), 2),
                "push_us": round(float(np.mean(took["pushes"])), 2),
            }
            if group == GROUPS[0]:
                ticks, answers, pulses = took["tick"], took["answer"], took["pulse"]
        gc.enable()
        bench.recorder.close()
    count = max(map(len, bench.slices))
    by_slice = [spread([tick[k] for tick in bench.slices if len(tick) > k]) for k in range(count)]
    worst = max(range(count), key=lambda k: by_slice[k]["p50"])
    parts = [max(np.median(ticks), np.median(answers)), by_slice[worst]["p50"]]
    return {
        "instruments": len(bench.pipeline.tables.instruments),
        "ticks": len(bench.slices),
        "step_cpu_us_by_frames_in_it": steps,
        "tick_begins_cpu_us": spread(ticks),
        "answer_cpu_us": spread(answers),
        "pulse_cpu_us": spread(pulses),
        "slices": count,
        "slice_cpu_us": [each["p50"] for each in by_slice],
        "longest_slice": {"number": worst} | by_slice[worst],
        "targets": [
            {
                "what": "longest part of a grid tick on the loop, 100 instruments (CPU, median over ticks)",
                "target": 300,
                "measured": round(float(max(parts)), 1),
                "unit": "us",
                "better": "less",
            }
        ],
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
