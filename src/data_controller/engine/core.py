"""The loop thread's heart: records into the arena, the arena through the pipeline, actions out into the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np

from data_controller.actions import Action, Alert, Fetch, Latch, Open, Predict, Reconnect, Send, Submit, Tell
from data_controller.engine.clock import Clock
from data_controller.engine.histograms import LatencyHistogram
from data_controller.engine.latency import FrameTimes, Steps
from data_controller.errors import JournalError
from data_controller.journal.recorder import Recorder
from data_controller.killswitch.latch import Latch as LatchFile
from data_controller.pipeline.pipeline import Pipeline
from data_controller.prediction.ladder import NONE, Ladder, Reply
from data_controller.records import NO_CONNECTION, Answer, Command, Kind

HEELS_NS = 15_000
"""Frames that come this soon after a step belong to a burst."""

_encode_answer = msgspec.msgpack.Encoder().encode
_encode_command = msgspec.json.Encoder().encode


class Network(Protocol):
    """Whoever opens sockets and sends bytes: the ingest shell, or nobody in a pre-history."""

    def open(self, action: Open) -> None: ...
    def send(self, action: Send) -> object: ...
    def reconnect(self, action: Reconnect) -> None: ...
    def fetch(self, action: Fetch) -> object: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Silent:
    """A network that asks nothing: the records come scripted."""

    def open(self, action: Open) -> None:
        """Nothing is opened."""

    def send(self, action: Send) -> None:
        """Nothing is sent."""

    def reconnect(self, action: Reconnect) -> None:
        """Nothing is reopened."""

    def fetch(self, action: Fetch) -> None:
        """Nothing is fetched."""

    def pause(self) -> None:
        """Nothing is read."""

    def resume(self) -> None:
        """Nothing is read."""


class Core:
    """Takes records, steps the pipeline over them, performs its actions. Everything runs on the loop thread.

    `call_soon` schedules on the loop; `tell` takes table rows; `alert` takes what a person should hear; `on_error`
    hears of an error that nobody expected in a step. After one the core only records: nothing is consumed or done.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        recorder: Recorder,
        pipeline: Pipeline,
        ladder: Ladder | None,
        latch: LatchFile,
        tell: Callable[[Tell], None],
        alert: Callable[[Alert], None],
        call_soon: Callable[..., Any],
        on_error: Callable[[Exception], None],
        frame_times: FrameTimes | None = None,
    ) -> None:
        self.clock = clock
        self.recorder = recorder
        self.push = recorder.push  # takes a record; the pipeline sees it at the next step
        recorder.on_full = self._make_room
        self.pipeline = pipeline
        self.ladder = ladder
        self.latch = latch
        self.network: Network = Silent()
        self.broken = False  # a step raised
        self.answered: Reply | None = None  # the ladder's last
        self._tell = tell
        self._alert = alert
        self._call_soon = call_soon
        self._on_error = on_error
        self._scheduled = False
        self._slicing = False
        self._spinning = False
        self.spin_ns = 0  # how long the loop stays awake after a step over frames
        self._stepped_ns = -HEELS_NS  # monotonic end of the last measured step
        self._paused = False
        self._batch = recorder.arena.batch
        self._done = 0
        self._wanted: list[Action] = []  # what the pipeline asked for and is not yet done
        self._tick_started_ns = 0
        self._ticks = 0
        self._answered_ns = 0
        self.live = False  # latencies count, and slices are left to the loop
        self._steps = Steps(frame_times)
        self.tick_to_decision = LatencyHistogram()
        self.prediction = LatencyHistogram()
        self.slice_time = LatencyHistogram()
        self.predictions_failed = 0  # that no tier answered, one an instrument
        self.orders_held = 0  # submitted, waiting for the journal
        self.orders_left = 0
        self.orders_stopped = 0  # by the latch or a dead journal

    @property
    def wire_to_decision(self) -> LatencyHistogram:
        """From a frame's arrival to the end of the step that held it, live."""
        self.note_steps()
        return self._steps.wire_to_decision

    @property
    def step_time(self) -> LatencyHistogram:
        """Of the steps that held records, live."""
        self.note_steps()
        return self._steps.step_time

    def go_on_from(self, before: Core) -> None:
        """Add to the figures of an earlier core instead of beginning at none."""
        for name in ("wire_to_decision", "tick_to_decision", "prediction", "step_time", "slice_time"):
            getattr(self, name).merge(getattr(before, name))
        self.orders_left, self.orders_stopped = before.orders_left, before.orders_stopped
        self.predictions_failed = before.predictions_failed

    # records in

    def wake(self) -> None:
        """Step in the loop's next turn."""
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._turn)

    def frames_taken(self) -> None:
        """Consume the frames of one read at once; whatever they make the pipeline want is done in the next turn.

        To wait for the reads of other sockets would cost a frame more than a step of its own does. In a burst it is the
        other way round: frames that come on the heels of a step wait for the turn and share the next one.
        """
        if self.broken or self._scheduled:
            return
        if self.clock.monotonic_ns() - self._stepped_ns < HEELS_NS:
            self.wake()
            return
        try:
            self._consume()
        except Exception as error:
            self._break(error)
        if self._wanted or (not self._slicing and self.pipeline.pending):
            self.wake()
        if self.spin_ns and not self._spinning:
            self._spinning = True
            self._call_soon(self._spin)

    def _spin(self) -> None:
        """Keep the loop from sleeping until `spin_ns` after the last step: a core that sleeps wakes late."""
        if self.clock.monotonic_ns() < self._stepped_ns + self.spin_ns:
            self._call_soon(self._spin)
        else:
            self._spinning = False

    def command(self, command: Command) -> None:
        """Record what a person asked and act on it."""
        self.push(Kind.COMMAND, NO_CONNECTION, self.clock.now_ns(), _encode_command(command))
        self.wake()

    def _turn(self) -> None:
        self._scheduled = False
        self.step()
        if self.broken:
            return
        if self.pipeline.pending and not self._slicing:
            self._slicing = True
            self._call_soon(self._slice)
        if self._paused != self.recorder.should_pause:
            self._paused = not self._paused
            (self.network.pause if self._paused else self.network.resume)()

    def step(self) -> None:
        """Run the pipeline over every record taken so far and perform what it wants."""
        try:
            while not self.broken:
                self._consume()
                if not self._wanted:
                    return
                self._perform_wanted()
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        self.broken = True
        self._on_error(error)

    def _perform_wanted(self) -> None:
        actions, self._wanted = self._wanted, []
        for action in actions:
            self.perform(action)

    def _make_room(self) -> None:
        """The arena is about to be exchanged inside a `push`: come to its end.

        What is wanted waits for the next step: its records belong behind the one being pushed, also in time.
        """
        try:
            if not self.broken:
                self._consume()
                self.note_steps()  # while the arena still holds what the steps were about
        except Exception as error:
            self._break(error)
        self.wake()

    def _consume(self) -> None:
        arena = self.recorder.arena
        batch = arena.batch
        if batch is not self._batch:
            self._batch, self._done = batch, 0
        lo, hi = self._done, arena.filled
        if lo < hi:
            started_ns = self.clock.monotonic_ns()
            self._wanted += self.pipeline.advance(batch, lo, hi)
            self._done = hi
            if self.live:
                self._measure(lo, hi, started_ns)
        if not self.live:
            while self.pipeline.pending:
                self._wanted += self.pipeline.work()

    def _slice(self) -> None:
        started_ns = self.clock.monotonic_ns()
        try:
            if not self.broken:
                self._wanted += self.pipeline.work()
                self._perform_wanted()
        except Exception as error:
            self._break(error)
        self.slice_time.record(self.clock.monotonic_ns() - started_ns)
        self._slicing = self.pipeline.pending and not self.broken
        if self._slicing:
            self._call_soon(self._slice)

    def _measure(self, lo: int, hi: int, started_ns: int) -> None:
        ended_ns = self._stepped_ns = self.clock.monotonic_ns()
        if self._steps.add(lo, hi, started_ns, ended_ns):
            self.note_steps()
        pipeline = self.pipeline
        ticks = pipeline.counters["ticks"]
        if ticks != self._ticks:
            self._ticks = ticks
            self._tick_started_ns = started_ns
        if pipeline.answered_tick_ns != self._answered_ns:
            self._answered_ns = pipeline.answered_tick_ns
            if self._tick_started_ns:
                self.tick_to_decision.record(ended_ns - self._tick_started_ns)

    def note_steps(self) -> None:
        """Put the noted steps into their histograms: before the arena that they read is exchanged, and before the clock
        is compared, whose line they are read on.
        """
        if self._steps.noted:
            self._steps.fold(self._batch, self.pipeline.wire_numbers, self.clock.line())

    # actions out

    def perform(self, action: Action) -> None:
        """Do one thing that the pipeline wants done."""
        match action:
            case Send():
                self.network.send(action)
            case Predict():
                self._predict(action)
            case Tell():
                self._tell(action)
            case Submit():
                self._submit(action)
            case Open():
                self.network.open(action)
            case Reconnect():
                self.network.reconnect(action)
            case Fetch():
                self.network.fetch(action)
            case Latch():
                self._latch(action)
            case Alert():
                self._alert(action)

    def _latch(self, action: Latch) -> None:
        try:
            self.latch.set(action.reason, action.who)
        except OSError as error:  # this process reads as latched all the same
            self._alert(Alert("critical", "latch_not_written", f"the latch cannot be written: {error}"))

    def _predict(self, action: Predict) -> None:
        if self.ladder is None:
            return
        started_ns = self.clock.monotonic_ns()
        reply = self.answered = self.ladder.predict(action.features, action.valid)
        if self.live:
            self.prediction.record(self.clock.monotonic_ns() - started_ns)
        if reply.tier == NONE:
            self.predictions_failed += len(reply.valid)
        instruments, horizons, outputs = reply.outputs.shape
        answer = Answer(
            tick_ns=action.tick_ns,
            bundle=reply.bundle,
            tier=reply.tier,
            failed=reply.failed,
            shape=(instruments, horizons, outputs),
            outputs=np.ascontiguousarray(reply.outputs, "<f4").tobytes(),
            valid=np.ascontiguousarray(reply.valid, np.uint8).tobytes(),
        )
        # Behind the records already taken: the answer acts on the book of its arrival.
        now_ns = self.clock.now_ns() if self.live else self.pipeline.now_ns
        self.push(Kind.ANSWER, NO_CONNECTION, now_ns, _encode_answer(answer))
        if self.live:
            self.wake()

    def _submit(self, action: Submit) -> None:
        """An order command leaves only when the journal holds everything its decision used, and the latch is clear."""
        self.orders_held += 1

        def durable(error: JournalError | None) -> None:
            self.orders_held -= 1
            state = self.latch.check()
            released = error is None and not (state.active and action.reason == "entry")
            if released:
                self.orders_left += 1
            else:
                self.orders_stopped += 1
                self._alert(
                    Alert(
                        "critical", "order_stopped", f"order {action.command_id} was not sent: {error or state.reason}"
                    )
                )
            self._tell(Tell("orders", [_order_row(action, self.clock.now_ns(), released)]))

        self.recorder.request_durable(action.seq, durable)


def _order_row(action: Submit, now_ns: int, released: bool) -> dict[str, Any]:
    return {
        "t_ns": now_ns,
        "seq": action.seq,
        "command_id": action.command_id,
        "instrument": action.instrument,
        "side": action.side,
        "size": action.size,
        "reason": action.reason,
        "released": released,
    }
