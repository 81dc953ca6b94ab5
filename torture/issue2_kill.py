"""kill -9 of a running engine at random moments: the journal opens, lost at most one flush interval, and replays."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.engine.replay import Replay, replay
from data_controller.engine.verify import verify
from data_controller.journal import recover
from data_controller.journal.reader import Reader
from data_controller.records import Kind
from tests.engine.processes import Engine, config_tree, until, write_config
from tests.pipeline.recording import eager_bundle
from tests.simulator.simulator_process import Process

ROUNDS = 50
FLUSH_MS = 1000
STALL_MS = 500
"""A pulse and a write come on top of the interval, and this machine stands still now and then."""


def attempt(seed: int) -> dict[str, Any]:
    """One kill; every fourth falls anywhere in the start, the others in the first seconds of the live part."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        return _attempt(Path(folder), draw, in_start=seed % 4 == 3)


def _attempt(folder: Path, draw: random.Random, in_start: bool) -> dict[str, Any]:
    exchange = Process("--instruments", "2", "--ticks-per-second", "400", "--seed", "3", "--sent-log", str(folder))
    try:
        swift = eager_bundle(folder / "bundle", weights=(("qi_best", 12.0),))
        changes: dict[str, Any] = {"monitoring": {"enabled": False}, "journal": {"flush_interval_ms": FLUSH_MS}}
        config = write_config(folder / "c.yaml", config_tree(folder / "state", exchange.port, swift, **changes))
        with Engine(config) as engine:
            if in_start:
                until(lambda: (engine.state / "journal").exists(), "a journal", 240.0)
            else:
                engine.live()
            time.sleep(draw.uniform(0.0, 2.5))
            killed_ns = time.monotonic_ns()
            os.kill(engine.pid, signal.SIGKILL)
            engine.process.wait()
        exchange.do("save_log")
        return _look(engine.state / "journal", np.load(folder / "sent.npy"), killed_ns)
    finally:
        exchange.end()


def _look(journal: Path, sent: Any, killed_ns: int) -> dict[str, Any]:
    """What the journal holds; AssertionError where it lost too much, or cannot be read before or after recovery."""
    held, records = _last_wire_number(journal)
    stamped = sent[sent["seq"] > 0]
    lost_ms = 0.0
    lost = stamped[(stamped["seq"] > held) & (stamped["mono_ns"] < killed_ns)]
    if len(lost):
        lost_ms = (killed_ns - int(lost["mono_ns"].min())) / 1e6
        assert lost_ms <= FLUSH_MS + STALL_MS, f"{lost_ms:.0f} ms of frames are lost, {len(lost)} of {len(stamped)}"
    run = recover(journal).run
    assert run >= 2 or not records
    again, again_records = _last_wire_number(journal)
    assert (again, again_records) == (held, records), "recovery changed what the journal holds"
    found: dict[str, Any] = {"records": records, "frames_lost": len(lost), "lost_ms": [round(lost_ms)]}
    if records:
        summary = replay([journal])
        assert summary["predictions_differ"] == 0, "a replay predicts something else"
        assert verify([journal])["ok"]
        found["frames"] = summary["frames"]
    else:
        found["before_the_first_record"] = 1
    return found


def _last_wire_number(journal: Path) -> tuple[int, int]:
    """The venue's own number of the last frame that is held, and how many records are."""
    runner = Replay(record_only=True)
    last = records = 0
    reader = Reader([journal])
    for batch in reader:
        n = len(batch.recv_ns)
        runner.feed(batch, 0, n)
        frames = batch.kind == Kind.FRAME
        last = max(last, int(runner.pipeline.wire_numbers(0, n)[frames].max(initial=0)))
        records += n
    assert [d for d in reader.damages if "torn tail" not in d.reason] == []
    return last, records
