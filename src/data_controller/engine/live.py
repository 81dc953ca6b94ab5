"""The live driver: sockets, clock and people around one pipeline, from the first lock to the last fsync."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller import __version__
from data_controller.actions import Alert, Tell
from data_controller.actions import Latch as LatchAction
from data_controller.config import Config, check_reload, load
from data_controller.control import Request, StateLock, default_who, encode_feed
from data_controller.engine.clock import Clock
from data_controller.engine.control_server import ControlServer
from data_controller.engine.core import Core, Silent
from data_controller.engine.feed import FeedBuilder
from data_controller.engine.histograms import LatencyHistogram
from data_controller.engine.latency import FrameTimes
from data_controller.engine.models import Models
from data_controller.engine.monitor_keeper import MonitorKeeper
from data_controller.engine.setup import configure_live
from data_controller.engine.state import load_state, save_state
from data_controller.engine.summary import peak_rss_mb, summary_of
from data_controller.engine.tables_out import TablesOut
from data_controller.engine.vitals import JournalLag, Vitals
from data_controller.engine.warm_up import ensure_compiled, warm_up
from data_controller.errors import ConfigError, ControlError, DataControllerError, JournalError
from data_controller.ingest.websocket import WebSocketShell
from data_controller.journal.recorder import Recorder
from data_controller.journal.recovery import recover
from data_controller.kernels import sources_hash
from data_controller.killswitch.latch import Latch, prepare
from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import NO_CONNECTION, Command, Kind, Start

_CLOSED, _PULSE = int(Kind.CLOSED), int(Kind.PULSE)

CLOCK_STEP = "clock_step"
"""Why an engine stopped whose wall clock was stepped."""

OnEvent = Callable[[dict[str, Any]], None]


class Chunk(Protocol):
    """Scripted records of a pre-history: columns as in records.Batch."""

    @property
    def recv_ns(self) -> NDArray[np.int64]: ...
    @property
    def kind(self) -> NDArray[np.uint8]: ...
    @property
    def conn(self) -> NDArray[np.int32]: ...
    @property
    def offsets(self) -> NDArray[np.int32]: ...
    @property
    def data(self) -> NDArray[np.uint8]: ...


class LiveEngine:
    """One engine start. `main()` runs it to its end and returns the summary."""

    def __init__(
        self,
        config: Config,
        *,
        config_path: Path | None = None,
        for_s: float | None = None,
        record_only: bool = False,
        from_proved: bool = False,
        prehistory: Iterator[Iterable[Chunk]] | None = None,
        frame_times: FrameTimes | None = None,
        world_ended: Callable[[], str] = lambda: "",
        on_event: OnEvent = lambda event: None,
        make_clock: Callable[..., Clock] = Clock,
        after: LiveEngine | None = None,
    ) -> None:
        """`from_proved` counts `for_s` from the moment all books are usable, else from the start of the live part.

        Once `world_ended` gives a reason, nothing more can come and the engine stops. Counts, digests and latencies
        go on where those of `after` ended.
        """
        self.config = config
        self.config_path = config_path
        self.state_dir = Path(config.state_dir).expanduser()
        self.stopped_by = ""
        self.local_ports: dict[int, int] = {}  # at the end: our port by connection slot
        self.frame_times = frame_times
        self._for_s = for_s
        self._record_only = record_only
        self._from_proved = from_proved
        self._prehistory = prehistory
        self._world_ended = world_ended
        self._emit = on_event
        self._models: Models = Models() if after is None else after._models
        self._make_clock = make_clock
        engine = config.engine
        self._clock = make_clock(max_slew_ppm=engine.clock_slew_ppm, step_ns=engine.clock_step_ms * 1_000_000)
        self._after = after
        self._proved = False
        self._live_since_ns = 0
        self._failure: Exception | None = None
        self._reloading: asyncio.Lock
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.pulse_time = LatencyHistogram()
        self._saving: asyncio.Future[None] | None = None
        self._next_save_ns = 0
        self._next_vitals_ns = 0

    async def main(self) -> dict[str, Any]:
        """Start, run until told to stop, end in order; raises what keeps an engine from starting, or what broke it."""
        async with contextlib.AsyncExitStack() as stack:
            prepare(self.state_dir)
            self._stop, self._reloading = asyncio.Event(), asyncio.Lock()
            lock = StateLock(self.state_dir).acquire()
            stack.callback(lock.release)
            await self._build(stack, lock)
            stack.push_async_callback(self.monitor.stop)
            await self.monitor.start()
            await self._start_record()
            await self._run()
            summary = await self._end()
        if self._failure is not None:
            raise self._failure
        return summary

    # start

    async def _build(self, stack: contextlib.AsyncExitStack, lock: StateLock) -> None:
        """Make every part; `stack` ends those that would outlive a failed start."""
        config = self.config
        loop = self._loop = asyncio.get_running_loop()
        self._models.bundle_of(config)
        self._emit({"event": "compiling"})
        await asyncio.to_thread(ensure_compiled)
        warm_up()
        journal_dir = self.state_dir / "journal"
        recovered = recover(journal_dir)
        for note in recovered.notes:
            self._emit({"event": "recovered", "note": note})
        self._run_number = recovered.run
        self.latch = Latch(self.state_dir, config.killswitch.lock_wait_s)
        self.recorder = Recorder(
            config.journal,
            journal_dir,
            recovered.run,
            on_failure=self._on_journal_failure,
            call_soon_threadsafe=loop.call_soon_threadsafe,
        )
        stack.callback(self.recorder.close)
        self.tables = TablesOut(
            self.state_dir / "tables",
            config_hash=config.hash,
            on_error=self._on_table_error,
        )
        stack.callback(self.tables.close)
        if self._after is None:
            self.pipeline = Pipeline(configure_live(self._models.bundle_of, record_only=self._record_only))
        else:
            self.pipeline = self._after.pipeline
        self.core = Core(
            clock=self._clock,
            recorder=self.recorder,
            pipeline=self.pipeline,
            ladder=self._models.ladder,
            latch=self.latch,
            tell=self._tell,
            alert=self._on_alert,
            call_soon=loop.call_soon,
            on_error=self._on_error,
            frame_times=self.frame_times,
        )
        if self._after is not None:
            self.core.go_on_from(self._after.core)
        self.vitals = Vitals(self.state_dir, int(config.monitoring.loop_lag_degraded_s * 1e9))
        self.feed = FeedBuilder(
            self.core,
            run=recovered.run,
            info={
                "version": __version__,
                "code": sources_hash()[:16],
                "config": config.hash[:16],
                "python": platform.python_version(),
            },
            started_ns=self._clock.now_ns(),
        )
        self.shell = WebSocketShell(self.core, self._clock.now_ns, self._on_alert, config.ingest)
        stack.push_async_callback(self.shell.close)
        self.server = ControlServer(self.state_dir, self._answer, lock=lock)
        stack.push_async_callback(self.server.stop)
        self._tell_the_feed()
        self.monitor = MonitorKeeper(self.state_dir, config.web, config.monitoring, self._on_alert)
        loop.set_exception_handler(self._on_stray_error)
        await self.server.start()

    def _tell_the_feed(self) -> None:
        """Name the figures that lie outside the core."""
        feed, lag = self.feed, JournalLag()
        feed.queues.append(self.tables.queue)
        feed.gauges.append(self.vitals.gauges)
        feed.gauges.append(
            lambda: {
                "journal_lag_seconds": lag.look(self.recorder.next_seq, self.recorder.durable_seq, self._clock.now_ns())
            }
        )

        def counts() -> dict[str, int]:
            return {
                "loop_stalls": self.vitals.stalls,
                "feeds_dropped": self.server.dropped,
                "reconnects": self.shell.reconnects(),
                "table_rows_dropped": self.tables.dropped(),
                "predictions_failed": self.core.predictions_failed,
            }

        feed.counters.append(counts)

    async def _start_record(self) -> None:
        """Push START, at the time of the pre-history's first record where there is one."""
        self._first = list(await asyncio.to_thread(next, self._prehistory, ())) if self._prehistory else []
        start_ns = int(self._first[0].recv_ns[0]) if self._first else self._clock.now_ns()
        latch = self.latch.read()
        start = Start(
            run=self._run_number,
            code=f"{__version__}+{sources_hash()[:16]}",
            lock="",
            platform=f"{sys.platform}-{platform.machine()}-{platform.python_version()}",
            config=self.config.effective(),
            instruments=[],
            channels=[],
            restored={
                "trader": load_state(self.state_dir),
                "latch": (latch.reason or "latched") if latch.active else "",
                "record_only": self._record_only,
            },
        )
        self.core.push(Kind.START, NO_CONNECTION, start_ns, msgspec.json.encode(start))
        if latch.active:
            self._on_alert(Alert("critical", "kill_switch", f"starts latched, by {latch.who}: {latch.reason}"))
        if not self._first:
            self.core.network = self.shell
        self.core.step()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number, handler in (
            (signal.SIGTERM, lambda: self.stop("SIGTERM")),
            (signal.SIGINT, lambda: self.stop("SIGINT")),
            (signal.SIGHUP, self._reload_by_signal),
            (signal.SIGUSR1, lambda: self._kill("SIGUSR1", "signal")),
        ):
            loop.add_signal_handler(number, handler)
        self._emit({"event": "ready", "dashboard": self.monitor.url})
        if self._first:
            self.feed.phase = "prehistory"
            await self._play_prehistory()
        if not self._stop.is_set():
            self._go_live(loop)
            await self._stop.wait()

    async def _play_prehistory(self) -> None:
        """Run scripted records through the engine as fast as it goes, on their own clock."""
        assert self._prehistory is not None
        chunks: Iterable[Chunk] = self._first
        while chunks and not self._stop.is_set():
            for chunk in chunks:
                self._play(chunk)
            self.recorder.tick(self._clock.now_ns())
            self._follow_latch()
            self._publish()
            if self.recorder.should_pause:
                await asyncio.to_thread(self.recorder.wait_for_room)
            chunks = await asyncio.to_thread(next, self._prehistory, ())
        self.core.network = self.shell
        while self._clock.now_ns() <= self.pipeline.now_ns and not self._stop.is_set():
            await asyncio.sleep(0.01)
        self._emit({"event": "prehistory", "frames": self.pipeline.counters["frames"]})

    def _play(self, chunk: Chunk) -> None:
        """Take one chunk as if it had just come, and a pulse behind it."""
        push, data, offsets = self.recorder.push, chunk.data.data, chunk.offsets.tolist()
        columns = zip(chunk.kind.tolist(), chunk.conn.tolist(), chunk.recv_ns.tolist(), strict=True)
        for i, (kind, conn, recv_ns) in enumerate(columns):
            if kind == _CLOSED:
                self.core.network = self.shell  # what the pipeline asks for now is meant
            push(kind, conn, recv_ns, data[offsets[i] : offsets[i + 1]])
        push(_PULSE, NO_CONNECTION, int(chunk.recv_ns[-1]), b"")
        self.core.step()

    def _go_live(self, loop: asyncio.AbstractEventLoop) -> None:
        self.feed.phase = "live"
        self.core.live = True
        # Cyclic garbage is made by rare Python only; a full collection in the middle of a burst is not worth it.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._live_since_ns = self._clock.now_ns()
        self._emit({"event": "live"})
        self._pulse_at = loop.time()
        self._pulse()

    # the pulse

    def _pulse(self) -> None:
        if self._stop.is_set():
            return
        try:
            self._beat(asyncio.get_running_loop())
        except Exception as error:
            self._on_error(error)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        began_ns = self._clock.monotonic_ns()
