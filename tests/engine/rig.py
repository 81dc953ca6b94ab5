"""A core on a real recorder with a scripted pipeline, a clock by hand and a loop that turns when it is told to."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.actions import Action, Alert, Fetch, Open, Reconnect, Send, Tell
from data_controller.engine.clock import Clock
from data_controller.engine.core import Core
from data_controller.errors import JournalError
from data_controller.journal import JournalSettings, Recorder, recover
from data_controller.journal.files import DiskFile
from data_controller.killswitch.latch import Latch, prepare
from data_controller.records import Batch, Kind

DEADLINE_S = 60.0
T0 = 1_700_000_000 * 10**9


class HandClock:
    """Readings of a wall clock and a monotonic clock that only a test moves, or every reading by `step_ns`."""

    def __init__(self, step_ns: int = 0) -> None:
        self.wall = T0
        self.mono = 5_000
        self.step_ns = step_ns

    def wall_ns(self) -> int:
        self.wall += self.step_ns
        return self.wall

    def monotonic_ns(self) -> int:
        self.mono += self.step_ns
        self.wall += self.step_ns
        return self.mono

    def pass_ns(self, ns: int, wall_ns: int | None = None) -> None:
        self.mono += ns
        self.wall += ns if wall_ns is None else wall_ns


class ScriptedPipeline:
    """Notes every record it consumes and wants what `want(seq, kind, payload)` says; a tick has `slices` slices."""

    def __init__(self, want: Callable[[int, int, bytes], list[Action]] = lambda seq, kind, payload: []) -> None:
        self.want = want
        self.seen: list[tuple[int, int, int, bytes]] = []  # seq, kind, recv_ns, payload
        self.counters = {"ticks": 0}
        self.answered_tick_ns = 0
        self.now_ns = 0
        self.slices = 0
        self.worked = 0
        self.after: list[Action] = []  # what the last slice wants

    @property
    def pending(self) -> bool:
        return self.slices > 0

    def advance(self, batch: Batch, lo: int, hi: int) -> list[Action]:
        actions: list[Action] = []
        for i in range(lo, hi):
            self.now_ns = int(batch.recv_ns[i])
            self.seen.append((batch.first_seq + i, int(batch.kind[i]), self.now_ns, batch.payload(i)))
            actions += self.want(batch.first_seq + i, int(batch.kind[i]), batch.payload(i))
        return actions

    def work(self) -> list[Action]:
        self.slices -= 1
        self.worked += 1
        actions, self.after = (self.after, []) if not self.slices else ([], self.after)
        return actions

    def wire_numbers(self, lo: int, hi: int) -> Any:
        return np.arange(lo, hi)


class Network:
    """What the core asked of the sockets."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.fetched: list[str] = []
        self.paused: list[bool] = []

    def open(self, action: Open) -> None: ...

    def send(self, action: Send) -> None:
        self.sent.append(action.payload)

    def reconnect(self, action: Reconnect) -> None: ...

    def fetch(self, action: Fetch) -> None:
        self.fetched.append(action.url)

    def pause(self) -> None:
        self.paused.append(True)

    def resume(self) -> None:
        self.paused.append(False)


class GatedFile(DiskFile):
    """A disk whose fsync waits for the gate, and fails while `broken`."""

    gate = threading.Event()
    broken = False

    def fsync(self) -> None:
        assert self.gate.wait(DEADLINE_S)
        if self.broken:
            raise OSError(5, "the disk is gone")
        super().fsync()


class Rig:
    """A core, its journal in `folder`, and everything it asked for."""

    def __init__(
        self,
        folder: Path,
        pipeline: Any = None,
        *,
        ladder: Any = None,
        opener: Any = DiskFile,
        clock: HandClock | None = None,
        **settings: Any,
    ) -> None:
        small: dict[str, Any] = {"arena_bytes": 1 << 14, "arena_records": 256, "arenas": 4, "min_free_bytes": 0}
        self.folder = folder
        prepare(folder)
        self.latch = Latch(folder)
        self.hands = clock or HandClock()
        self.turns: list[Callable[..., Any]] = []
        self.calls: queue.Queue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.Queue()
        self.told: list[Tell] = []
        self.alerts: list[Alert] = []
        self.errors: list[Exception] = []
        self.failures: list[JournalError] = []
        self.pipeline = pipeline or ScriptedPipeline()
        self.journal = folder / "journal"
        self.recorder = Recorder(
            JournalSettings(**{**small, **settings}),
            self.journal,
            recover(self.journal).run,
            on_failure=self.failures.append,
            call_soon_threadsafe=lambda function, *args: self.calls.put((function, args)),
            opener=opener,
        )
        self.core = Core(
            clock=Clock(self.hands.wall_ns, self.hands.monotonic_ns),
            recorder=self.recorder,
            pipeline=self.pipeline,
            ladder=ladder,
            latch=self.latch,
            tell=self.told.append,
            alert=self.alerts.append,
            call_soon=self.turns.append,
            on_error=self.errors.append,
        )
        self.network = Network()
        self.core.network = self.network

    def frame(self, payload: bytes = b"[]", at_ns: int | None = None) -> int:
        """Push a frame; its number."""
        seq = self.recorder.next_seq
        self.core.push(Kind.FRAME, 0, self.core.clock.now_ns() if at_ns is None else at_ns, payload)
        return seq

    def turn(self) -> None:
        """Turn the loop until nothing is scheduled."""
        while self.turns:
            self.turns.pop(0)()

    def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop, and let other threads call into it, until `condition`."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            self.turn()
            try:
                function, args = self.calls.get(timeout=0.01)
            except queue.Empty:
                continue
            function(*args)

    def close(self) -> None:
        self.recorder.close()
