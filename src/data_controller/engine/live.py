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
from typing import Any

import msgspec

from data_controller import __version__
from data_controller.actions import Alert, Tell
from data_controller.actions import Latch as LatchAction
from data_controller.config import Config, check_reload, load, with_instrument
from data_controller.control import Request, StateLock, default_who
from data_controller.engine.bridge_keeper import BridgeKeeper
from data_controller.engine.clock import Clock
from data_controller.engine.compact_keeper import CompactKeeper
from data_controller.engine.control_server import ControlServer
from data_controller.engine.core import Core, Silent
from data_controller.engine.credentials import KeyRing
from data_controller.engine.feed import FeedBuilder
from data_controller.engine.histograms import LatencyHistogram
from data_controller.engine.latency import FrameTimes
from data_controller.engine.models import Models
from data_controller.engine.monitor_keeper import MonitorKeeper
from data_controller.engine.network import LiveNetwork
from data_controller.engine.prehistory import Chunk, PreHistory
from data_controller.engine.provenance import code_version, environment_hash
from data_controller.engine.publisher import Publisher
from data_controller.engine.setup import configure_live
from data_controller.engine.state import load_state, save_state
from data_controller.engine.summary import peak_rss_mb, summary_of
from data_controller.engine.tables_out import TablesOut
from data_controller.engine.vitals import JournalLag, Vitals
from data_controller.engine.warm_up import ensure_compiled, warm_up
from data_controller.errors import ConfigError, ControlError, DataControllerError, JournalError
from data_controller.exchanges.rest_limits import REST_LIMITS, UNKNOWN_VENUE
from data_controller.ingest.rest import RestClient
from data_controller.ingest.rest_shell import RestShell
from data_controller.ingest.websocket import WebSocketShell
from data_controller.journal.recorder import Recorder
from data_controller.journal.recovery import recover
from data_controller.killswitch.latch import Latch, prepare
from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import NO_CONNECTION, Command, Kind, Start

CLOCK_STEP = "clock_step"
"""Why an engine stopped whose wall clock was stepped."""

SWITCH_INTERVAL_S = 1e-4

COLLECT_EVERY_NS = 600_000_000_000
"""How often cyclic garbage of all ages is looked for: what outlived a second is found by nothing else."""
QUIET_FRAMES = 8
"""Frames between two pulses, with which the loop has time for it."""

OnEvent = Callable[[dict[str, Any]], None]


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

        Once `world_ended` gives a reason, nothing more can come and the engine stops. Counts, digests,
        latencies and what venues' limits have left go on where those of `after` ended.
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
        self._past: PreHistory
        self.pulse_time = LatencyHistogram()
        self._saving: asyncio.Future[None] | None = None
        self._next_save_ns = 0
        self._next_vitals_ns = 0
        self.collect_time = LatencyHistogram()
        self._next_collect_ns = 0
        self._frames_before = 0  # at the last pulse

    async def main(self) -> dict[str, Any]:
        """Start, run until told to stop, end in order; raises what keeps an engine from starting, or what broke it."""
        async with contextlib.AsyncExitStack() as stack:
            prepare(self.state_dir)
            self._stop, self._reloading = asyncio.Event(), asyncio.Lock()
            lock = StateLock(self.state_dir).acquire()
            stack.callback(lock.release)
            await self._build(stack, lock)
            stack.push_async_callback(self.monitor.stop)
            stack.push_async_callback(self.bridge.stop)
            self.bridge.look(self._clock.now_ns())
            stack.push_async_callback(self.compactor.stop)
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
        # A thread that writes tables may hold the interpreter this long while a frame waits; the default is 5 ms.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._emit({"event": "compiling"})
        venues = [name for name, settings in config.exchanges if settings is not None]
        await asyncio.to_thread(ensure_compiled, venues)
        self._models.bundle_of(config)
        warm_up(venues)
        self._code = await asyncio.to_thread(code_version)
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
                "code": self._code.partition("+")[2],
                "config": config.hash[:16],
                "python": platform.python_version(),
            },
            started_ns=self._clock.now_ns(),
        )
        client = RestClient(REST_LIMITS, UNKNOWN_VENUE, config.ingest.rest)
        keys = KeyRing(
            lambda venue: getattr(self.config.exchanges, venue, None), client, self._clock.now_ns, self._on_alert
        )
        self.shell = WebSocketShell(self.core, self._clock.now_ns, self._on_alert, config.ingest, secrets=keys)
        stack.push_async_callback(self.shell.close)
        self.rest = RestShell(self.core, self._clock.now_ns, self._on_alert, client, self.shell.life_of)
        stack.push_async_callback(self.rest.close)
        if self._after is not None:
            # A venue counts on over a step of our clock.
            client.go_on_from(self._after.rest.client)
            self.shell.go_on_from(self._after.shell)
        self.network = LiveNetwork(self.shell, self.rest)
        self.server = ControlServer(self.state_dir, self._answer, lock=lock)
        stack.push_async_callback(self.server.stop)
        self.publisher = Publisher(self.feed, self.server, self.latch, loop.call_soon, self._on_error)
        self._tell_the_feed()
        self.monitor = MonitorKeeper(self.state_dir, config, self._on_alert)
        self.bridge = BridgeKeeper(config, self._on_alert)
        self.compactor = CompactKeeper(self.state_dir, config.lake, self._on_alert)
        loop.set_exception_handler(self._on_stray_error)
        await self.server.start()
        self._after = None  # all that it held

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
                "rest_fetched": self.rest.counters["fetched"],
                "rest_failed": self.rest.counters["failed"],
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
            code=self._code,
            lock=await asyncio.to_thread(environment_hash),
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
        if self._first:
            self._past = PreHistory(self.core, self.network)
        else:
            self.core.network = self.network
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
                self._past.play(chunk)
            self.recorder.tick(self._clock.now_ns())
            self._follow_latch()
            self.publisher.now()
            if self.recorder.should_pause:
                await asyncio.to_thread(self.recorder.wait_for_room)
            chunks = await asyncio.to_thread(next, self._prehistory, ())
        self._past.end()
        while self._clock.now_ns() <= self.pipeline.now_ns and not self._stop.is_set():
            await asyncio.sleep(0.01)
        self._emit({"event": "prehistory", "frames": self.pipeline.counters["frames"]})

    def _go_live(self, loop: asyncio.AbstractEventLoop) -> None:
        self.feed.phase = "live"
        self.core.live = True
        self.core.spin_ns = self.config.engine.spin_us * 1000
        # Cyclic garbage is made by rare Python only; a full collection in the middle of a burst is not worth it.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._live_since_ns = self._clock.now_ns()
        self._next_collect_ns = self._live_since_ns + COLLECT_EVERY_NS
        self._emit({"event": "live"})
        self._pulse_at = loop.time()
        self._pulse()

    # the pulse

    def _pulse(self) -> None:
        if self._stop.is_set():
            return
        try:
            self._beat(self._loop)
        except Exception as error:
            self._on_error(error)

    def _after_pulse(self, now_ns: int) -> None:
        """What each pulse brings besides its record, in a turn of its own: frames go first."""
        try:
            self._follow_latch()
            self._save(now_ns)
            self._look_at_the_end(now_ns)
            self._collect(now_ns)
        except Exception as error:
            self._on_error(error)
        self._loop.call_soon(self.publisher.begin)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        began_ns = self._clock.monotonic_ns()
        clock, core, recorder = self._clock, self.core, self.recorder
        self.vitals.lag(int((loop.time() - self._pulse_at) * 1e9))
        now_ns = clock.now_ns()
        payload = b""
        if now_ns >= self._next_vitals_ns:
            self._next_vitals_ns = now_ns + self.config.engine.vitals_ms * 1_000_000
            core.note_steps()
            offset_ns = clock.compare()
            vitals = self.vitals.read(offset_ns, recorder.fsync.take_worst(), recorder.journal_ok)
            payload = msgspec.json.encode(vitals)
            gc.collect(0)
            if clock.stepped:
                self.stop(CLOCK_STEP)
            if ended := self._world_ended():
                self.stop(ended)
            self.monitor.look(now_ns)
            self.bridge.look(now_ns)
            self.compactor.look(now_ns)
        core.push(Kind.PULSE, NO_CONNECTION, now_ns, payload)
        core.step()
        core.wake()  # slices of a tick, pausing
        recorder.tick(now_ns)
        loop.call_soon(self._after_pulse, now_ns)
        self.pulse_time.record(clock.monotonic_ns() - began_ns)
        self._pulse_at += self.config.engine.pulse_ms / 1000
        if self._pulse_at < loop.time():  # stalled: do not make up for lost pulses
            self._pulse_at = loop.time() + self.config.engine.pulse_ms / 1000
        loop.call_at(self._pulse_at, self._pulse)

    def _collect(self, now_ns: int) -> None:
        """Free cyclic garbage of all ages, rarely and never in a burst: it may hold the loop up for a millisecond."""
        frames = self.pipeline.counters["frames"]
        quiet, self._frames_before = frames - self._frames_before <= QUIET_FRAMES, frames
        if quiet and now_ns >= self._next_collect_ns:
            self._next_collect_ns = now_ns + COLLECT_EVERY_NS
            began_ns = self._clock.monotonic_ns()
            gc.collect()
            self.collect_time.record(self._clock.monotonic_ns() - began_ns)

    def _follow_latch(self) -> None:
        """Whoever set or cleared the file, the pipeline hears of it as a record."""
        state = self.latch.check()
        if state.active and not self.pipeline.latched:
            self.core.command(Command(who=state.who or "file", what="kill", reason=state.reason or "latched"))
            self._on_alert(Alert("critical", "kill_switch", f"latched by {state.who}: {state.reason}"))
        elif not state.active and self.pipeline.latched:
            self.core.command(Command(who=state.who or "file", what="resume", reason=state.reason))

    def _save(self, now_ns: int) -> None:
        if now_ns < self._next_save_ns or (self._saving is not None and not self._saving.done()):
            return
        self._next_save_ns = now_ns + int(self.config.engine.state_save_s * 1e9)
        loop = asyncio.get_running_loop()
        self._saving = loop.run_in_executor(None, self._write_state, self.pipeline.trader.dump(), loop)

    def _write_state(self, dump: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        """Runs on a thread; a disk that refuses is told of and tried again."""
        try:
            save_state(self.state_dir, dump)
        except OSError as error:
            text = f"positions cannot be saved in {self.state_dir}: {error}"
            loop.call_soon_threadsafe(self._on_alert, Alert("critical", "state_not_saved", text))

    def _look_at_the_end(self, now_ns: int) -> None:
        books = self.pipeline.books.books
        if not self._proved:
            live = books[books["depth"] > 0]
            if len(live) and live["usable"].all():
                self._proved = True
                self._emit({"event": "proved", "books": len(live)})
                if self._from_proved:
                    self._live_since_ns = now_ns
        counting = self._proved or not self._from_proved
        if self._for_s is not None and counting and now_ns - self._live_since_ns >= self._for_s * 1e9:
            self.stop("time")

    # what people ask

    def stop(self, reason: str) -> None:
        """End in order."""
        self.stopped_by = self.stopped_by or reason
        self._stop.set()

    async def _answer(self, request: Request) -> dict[str, Any]:
        match request.what:
            case "status":
                return msgspec.to_builtins(self.feed.build(self.latch.read()))  # type: ignore[no-any-return]
            case "stop":
                self.stop(request.who)
                return {"stopping": True}
            case "reload":
                return await self.reload(request.who)
            case "subscribe" | "unsubscribe":
                exchange, instrument = (str(request.body.get(key) or "") for key in ("exchange", "instrument"))
                return await self.collect(exchange, instrument, request.what == "subscribe", request.who)
            case "kill":
                return self._kill(str(request.body.get("reason") or "killed"), request.who)
            case "resume":
                self.latch.clear(str(request.body.get("reason") or ""), request.who)
                self._follow_latch()
                return {"latched": False}
        raise ControlError(
            f"expected status, reload, subscribe, unsubscribe, stop, kill or resume, was {request.what!r}"
        )

    def _kill(self, reason: str, who: str) -> dict[str, Any]:
        self.core.perform(LatchAction(reason, who))
        self._follow_latch()
        return {"latched": True, "reason": reason}

    async def reload(self, who: str) -> dict[str, Any]:
        """Read the config file again and swap the whole tree, or raise ConfigError and keep the old one."""
        async with self._reloading:
            if self.config_path is None:
                raise ConfigError(
                    "expected an engine started with a config file, was started without one: nothing to reload"
                )
            return self._swap(await asyncio.to_thread(load, self.config_path), who)

    async def collect(self, exchange: str, instrument: str, wanted: bool, who: str) -> dict[str, Any]:
        """Reload with `instrument` of `exchange` added or taken out, or raise ConfigError and keep the old tree.

        The config file stays as it is: its next reload, or the next start, says again what is wanted.
        """
        async with self._reloading:
            config = self.config
            new = await asyncio.to_thread(with_instrument, config, exchange, instrument, wanted=wanted)
            swapped = self._swap(new, who)
            return {**swapped, "kept": "until the next reload or start: write it into the config file to keep it"}

    def _swap(self, new: Config, who: str) -> dict[str, Any]:
        fixed = check_reload(self.config, new)
        if fixed:
            text = ", ".join(f"`{key}`" for key in fixed)
            raise ConfigError(f"expected only hot keys to change, was {text}: restart the engine for these")
        self.recorder.configure(new.journal)
        self.shell.settings = new.ingest
        self.rest.client.settings = new.ingest.rest
        self.monitor.reload(new)
        self.compactor.reload(new.lake)
        self.vitals.stall_ns = int(new.monitoring.loop_lag_degraded_s * 1e9)
        if self.core.live:
            self.core.spin_ns = new.engine.spin_us * 1000
        self.config = new
        self.feed.info = {**self.feed.info, "config": new.hash[:16]}
        self.core.command(Command(who=who, what="reload", body=new.effective()))
        return {"reloaded": True, "config": new.hash}

    def _reload_by_signal(self) -> None:
        async def reload() -> None:
            try:
                self._emit({"event": "reloaded", **await self.reload(default_who("SIGHUP"))})
            except (DataControllerError, OSError) as error:
                self._on_alert(Alert("warning", "reload_refused", str(error)))

        self._by_signal = asyncio.get_running_loop().create_task(reload())

    def _tell(self, action: Tell) -> None:
        self.tables.tell(action)

    def _on_alert(self, alert: Alert) -> None:
        event = self.feed.alert(alert.severity, alert.name, alert.text, self._clock.now_ns())
        self._emit({"event": "alert", "severity": event.severity, "name": event.name, "text": event.text})

    def _on_journal_failure(self, error: JournalError) -> None:
        """Recording has stopped: no new risk from here on; what is held is still managed, and people are told."""
        self._on_alert(Alert("critical", "journal_failed", str(error)))
        self._next_vitals_ns = 0  # the next pulse says so to the pipeline

    def _on_table_error(self, table: str, error: Exception) -> None:
        """Called on the tables' thread."""
        alert = Alert("warning", "table_error", f"table {table}: {error}")
        self.feed.components["tables"] = f"degraded: {error}"
        self._loop.call_soon_threadsafe(self._on_alert, alert)

    def _on_error(self, error: Exception) -> None:
        """Something raised that nothing expected: no new risk, ever, until a person has looked; then the end."""
        if self._failure is None:
            self._failure = error
            text = f"the engine broke: {type(error).__name__}: {error}"
            self.core.broken = True
            self.core.perform(LatchAction(text, "engine"))
            self._on_alert(Alert("critical", "engine_broke", text))
            self.stop("error")

    def _on_stray_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error outside records and actions (a control request, a socket) costs that one thing, and is told."""
        error = context.get("exception")
        self._on_alert(Alert("warning", "stray_error", f"{context.get('message')}: {error!r}"))

    # end

    async def _end(self) -> dict[str, Any]:
        self.feed.phase = "stopping"
        core, pipeline = self.core, self.pipeline
        self.local_ports = self.shell.local_ports()
        core.network = Silent()  # whatever is asked for from here on is not meant
        await self.rest.close()
        await self.shell.close()
        await self.bridge.stop()
        core.step()
        core.live = False
        core.step()  # completes the last tick
        gc.enable()
        gc.unfreeze()
        if self._saving is not None:
            await self._saving
        loop = asyncio.get_running_loop()
        self._write_state(pipeline.trader.dump(), loop)
        self.publisher.now()
        await self._ended("journal", self.recorder.close, self.config.engine.stop_timeout_s)
        await asyncio.sleep(0)  # barrier callbacks
        await self._ended("tables", self.tables.close)
        await asyncio.sleep(0)  # what went wrong meanwhile
        await self.server.stop()
        await self.monitor.stop()
        await self.compactor.stop()
        return summary_of(pipeline) | {
            "orders_left": core.orders_left,
            "orders_stopped": core.orders_stopped,
            "wire_to_decision_us": core.wire_to_decision.summary_us(),
            "tick_to_decision_us": core.tick_to_decision.summary_us(),
            "step_us": core.step_time.summary_us(),
            "pulse_us": self.pulse_time.summary_us(),
            "collect_us": self.collect_time.summary_us(),
            "slice_us": core.slice_time.summary_us(),
            "barrier_ms": {"last": self.recorder.barrier.last_ns / 1e6, "max": self.recorder.barrier.max_ns / 1e6},
            "journal_bytes": sum(f.stat().st_size for f in (self.state_dir / "journal").glob("*.arrows*")),
            "journal_ok": self.recorder.failure is None,
            "ok": self.recorder.failure is None and self._failure is None,
            "latched": self.latch.read().active,
            "stopped_by": self.stopped_by,
            "peak_rss_mb": peak_rss_mb(),
        }

    async def _ended(self, what: str, close: Callable[..., None], *args: Any) -> None:
        """Close a part on a thread; one that cannot is told of and holds nothing else up."""
        try:
            await asyncio.to_thread(close, *args)
        except DataControllerError as error:
            self._on_alert(Alert("critical", f"{what}_not_closed", str(error)))

    def successor(self) -> LiveEngine | None:
        """The engine that goes on after a step of the wall clock; None where this one ended for good."""
        left_s = self._for_s
        if left_s is not None and self._live_since_ns:
            left_s -= (self._clock.now_ns() - self._live_since_ns) / 1e9
        if self.stopped_by != CLOCK_STEP or (left_s is not None and left_s <= 0):
            return None
        return LiveEngine(
            self.config,
            config_path=self.config_path,
            for_s=left_s,
            record_only=self._record_only,
            on_event=self._emit,
            make_clock=self._make_clock,
            after=self,
        )


def run(
    config: Config,
    for_s: float | None = None,
    record_only: bool = False,
    on_event: OnEvent = lambda event: None,
    config_path: Path | None = None,
    make_clock: Callable[..., Clock] = Clock,
) -> dict[str, Any]:
    """Run an engine until it is told to stop or `for_s` has passed; returns its summary.

    A step of the wall clock ends the engine's run and starts another, which the summary includes.
    """
    engine: LiveEngine | None = LiveEngine(
        config,
        config_path=config_path,
        for_s=for_s,
        record_only=record_only,
        on_event=on_event,
        make_clock=make_clock,
    )
    summary: dict[str, Any] = {}
    while engine is not None:
        summary = run_loop(engine)
        engine = engine.successor()
    return summary


def run_loop(engine: LiveEngine) -> dict[str, Any]:
    """Run `engine` on a loop of its own: uvloop where it is."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(engine.main())
