"""The recorder: takes records on the loop thread without waiting, and makes them durable on a thread of its own.

The loop appends to the current arena. `tick`, `rotate` and `request_durable` hand the part not yet handed over to
the writer thread, which reads the same memory while the loop goes on behind it; a full arena is exchanged for a free
one. What waits is bounded by the number of arenas: at the last free one `should_pause` is True and the caller stops
reading its sockets. A caller that pushes on regardless, past the last arena, ends the recording there
(state FAILED): what was taken is still written, the loop is never blocked, and no journal has a hole.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from data_controller.errors import JournalError, JournalFull
from data_controller.journal.arena import FULL, Arena, Payload
from data_controller.journal.files import DirectoryLock, DiskFile, free_bytes, journal_error
from data_controller.journal.segment import Opener
from data_controller.journal.settings import JournalSettings
from data_controller.journal.timing import Timing
from data_controller.journal.writer import JournalWriter
from data_controller.records import Batch, sequence

MAX_PAYLOAD_BYTES = 1 << 30


class State(Enum):
    """What a recorder is doing; there is no way back."""

    RECORDING = "recording"
    FAILED = "failed"
    CLOSED = "closed"


class _Handed:
    """An arena at the writer thread: records up to `high` may be written; `done` is how far it came."""

    __slots__ = ("arena", "batch", "done", "high", "left", "queued")

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.batch: Batch = arena.batch
        self.high = 0
        self.done = 0
        self.queued = False  # in the thread's queue
        self.left = False  # the loop went on to another arena


class Recorder:
    """Records of one engine start, in order, into `directory`. All methods belong to the loop thread."""

    def __init__(
        self,
        settings: JournalSettings,
        directory: Path,
        run: int,
        first_count: int = 0,
        *,
        on_failure: Callable[[JournalError], None],
        on_full: Callable[[], None] = lambda: None,
        call_soon_threadsafe: Callable[..., Any] | None = None,
        opener: Opener = DiskFile,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """Locks the directory, opens the first segment, starts the thread; raises JournalError.

        `run` comes from `recovery.recover`. `on_full` is called inside `push` before the current arena is exchanged:
        whoever reads `arena` must come to its end there. `on_failure` and barrier callbacks are passed to
        `call_soon_threadsafe`; without one they run on the writer thread.
        """
        self.on_full = on_full
        self._on_failure = on_failure
        self._call_soon = call_soon_threadsafe or (lambda function, *args: function(*args))
        self._settings = settings
        self._arena_bytes = settings.arena_bytes
        self._arena_records = settings.arena_records
        self.capacity = settings.arenas  # how many arenas there are
        self.run = run
        self.barrier = Timing()  # request_durable to durable
        self.fsync = Timing()
        self.failure: JournalError | None = None
        self.peak = 0  # most arenas that waited at once
        self._lock = DirectoryLock(directory)
        try:
            self._writer = JournalWriter(settings, directory, run, opener=opener, free=free)
        except (OSError, JournalError) as error:
            self._lock.release()
            raise journal_error(error, f"opening a journal in {directory}") from error
        first_seq = sequence(run, first_count)
        self._durable_seq = first_seq - 1
        self._free = deque(
            Arena(settings.arena_bytes, settings.arena_records, first_seq) for _ in range(settings.arenas)
        )
        self.arena = self._free.popleft()
        self._handed = _Handed(self.arena)  # the current arena's state
        self._waiting: deque[_Handed] = deque()  # handed, in order; the thread takes from the left
        self._in_thread = 0  # arenas left by the loop and not yet free
        self._barriers: deque[tuple[int, int, Callable[[JournalError | None], None]]] = deque()
        self._sync_seq = -1  # fsync is wanted up to this record
        self._synced_ns = time.perf_counter_ns()
        self._closing = False
        self._state = State.RECORDING
        self._disk_ok = True  # False: the thread writes no more
        self._last_tick_ns = 0
        self._wake = threading.Condition(threading.Lock())
        self._freed = threading.Condition(threading.Lock())
        self._thread = threading.Thread(target=self._run_thread, name="journal", daemon=True)
        self._thread.start()

    # What the loop calls.

    def push(self, kind: int, conn: int, recv_ns: int, payload: Payload) -> int:
        """Append a record to the current arena; returns its index there.

        Where the arena has no room, `on_full` is called, then the arena is exchanged, so the index counts in a new
        `arena` (index 0). A payload larger than an arena gets one of its own size. Raises JournalError over 1 GiB.
        """
        index = self.arena.push(kind, conn, recv_ns, payload)
        if index != FULL:
            return index
        n_bytes = len(payload)
        if n_bytes > MAX_PAYLOAD_BYTES:
            raise JournalError(f"expected a payload of at most {MAX_PAYLOAD_BYTES} bytes, was {n_bytes}")
        self.on_full()
        self.rotate(n_bytes)
        return self.arena.push(kind, conn, recv_ns, payload)

    def rotate(self, n_bytes: int = 0) -> None:
        """Hand the current arena over whole and take a free one with room for a payload of `n_bytes`.

        All its records must have been read. Where no arena is free, recording fails and the arena is used again.
        """
        if self.arena.filled == 0 and n_bytes <= self._arena_bytes:
            return
        next_seq = self.next_seq
        large = n_bytes > self._arena_bytes
        if self.journal_ok:
            overrun = self.free == 0
            with self._wake:
                self._hand_over()
                self._handed.left = True
                self._enqueue()
                self._in_thread += 1
                self.peak = max(self.peak, self._in_thread)
                self._sync_seq = next_seq - 1 if overrun else self._sync_seq
                self._wake.notify()
            if overrun:
                self._fail(
                    JournalFull(
                        f"expected the disk to take {self.capacity} arenas of {self._arena_bytes} bytes in time, "
                        "was too slow: use a faster disk or raise journal.arenas, then restart"
                    )
                )
            if overrun or large:
                records = 1 if large else self._arena_records
                self.arena = Arena(max(n_bytes, self._arena_bytes), records, next_seq)
            else:
                self.arena = self._free.popleft()
        elif large or len(self.arena.batch.data) != self._arena_bytes:
            self.arena = Arena(max(n_bytes, self._arena_bytes), self._arena_records, next_seq)
        self.arena.reset(next_seq)
        self._handed = _Handed(self.arena)

    def tick(self, now_ns: int) -> None:
        """Make durable what was pushed, once every `flush_interval_ms`; call it at every pulse.

        It is a tenth of the interval early, so that pulses of 100 ms keep the promise of 1000 ms.
        """
        if now_ns - self._last_tick_ns >= self._settings.flush_interval_ms * 900_000:
            self._last_tick_ns = now_ns
            self.flush()

    def flush(self) -> None:
        """Ask the thread to write and fsync all that was pushed so far; returns at once."""
        if self.journal_ok and self.next_seq - 1 > self._durable_seq:
            with self._wake:
                self._hand_over()
                self._sync_seq = self.next_seq - 1
                self._wake.notify()

    def request_durable(self, seq: int, callback: Callable[[JournalError | None], None]) -> None:
        """Call `callback(None)` once record `seq` is on the medium, or `callback(error)` where it will never be.

        Raises JournalError where `seq` was not pushed yet.
        """
        if seq >= self.next_seq:
            raise JournalError(f"expected a record already pushed (before {self.next_seq}), was {seq}")
        with self._wake:
            if self.journal_ok and seq > self._durable_seq:
                self._hand_over()
                self._barriers.append((seq, time.perf_counter_ns(), callback))
                self._sync_seq = self.next_seq - 1
                self._wake.notify()
                return
        if seq <= self._durable_seq:
            self.barrier.add(0)
            self._soon(callback, None)
        else:
            self._soon(callback, self.failure or JournalError("expected an open journal, was closed"))

    def wait_for_room(self, timeout_s: float = 60.0) -> None:
        """Block until reading need not pause: for callers without a loop. Raises JournalError where it takes longer."""
        with self._freed:
            if not self._freed.wait_for(lambda: not self.should_pause, timeout_s):
                raise JournalError(f"expected a free arena within {timeout_s} s, was none: the disk has stalled")

    def configure(self, settings: JournalSettings) -> None:
        """Take over the hot fields of reloaded settings."""
        self._settings = settings
        self._writer.settings = settings

    def close(self, timeout_s: float = 60.0) -> None:
        """Write, fsync and list what was pushed; ends the thread, also after a failure. Idempotent.

        Raises JournalError where the thread does not end in time; a failure was told to `on_failure`.
        """
        if self._closing:
            return
        with self._wake:
            if self.journal_ok:
                self._hand_over()
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise JournalError(f"expected the journal to close within {timeout_s} s, was still writing")
        if self.journal_ok:
            self._state = State.CLOSED
        self._lock.release()

    # What anyone may read.

    @property
    def batch(self) -> Batch:
        """The current arena's columns; valid up to `arena.filled`."""
        return self.arena.batch

    @property
    def next_seq(self) -> int:
        """The number the next record will get."""
        return self.arena.batch.first_seq + self.arena.filled

    @property
    def durable_seq(self) -> int:
        """The last record that is on the medium; one before the first where none is."""
        return self._durable_seq

    @property
    def state(self) -> State:
        """RECORDING, FAILED or CLOSED."""
        return self._state

    @property
    def journal_ok(self) -> bool:
        """False where recording has stopped: no new risk."""
        return self._state is State.RECORDING

    @property
    def records_lost(self) -> int:
        """Records pushed that will never be on the medium, 0 while recording goes on."""
        return 0 if self.failure is None else self.next_seq - 1 - self._durable_seq

    @property
    def depth(self) -> int:
        """Arenas that were left and wait for the writer thread."""
        return self._in_thread

    @property
    def free(self) -> int:
        """Arenas that are neither current nor waiting."""
        return self.capacity - 1 - self._in_thread

    @property
    def should_pause(self) -> bool:
        """True where the last arenas are in use: stop reading sockets until it is False."""
        return self.journal_ok and self.free <= 1

    @property
    def bytes_written(self) -> int:
        """Bytes of this run on disk."""
        return self._writer.bytes

    # Shared.

    def _soon(self, function: Callable[..., Any], *args: Any) -> None:
        # A loop that was closed meanwhile has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._call_soon(function, *args)

    def _hand_over(self) -> None:
        """With `_wake` held: let the thread write the current arena up to where it is filled."""
        if self.arena.filled > self._handed.high:
            self._handed.high = self.arena.filled
            self._enqueue()

    def _enqueue(self) -> None:
        if not self._handed.queued:
            self._handed.queued = True
            self._waiting.append(self._handed)

    def _fail(self, error: JournalError) -> None:
        with self._wake:
            if self._state is not State.RECORDING:
                return
            self.failure = error
            self._state = State.FAILED
            self._wake.notify()
        self._soon(self._on_failure, error)

    def _answer_barriers(self) -> None:
        while self._barriers:
            if self._barriers[0][0] <= self._durable_seq:
                _, asked_ns, callback = self._barriers.popleft()
                self.barrier.add(time.perf_counter_ns() - asked_ns)
                self._soon(callback, None)
            elif not self._disk_ok:
                self._soon(self._barriers.popleft()[2], self.failure)
            else:
                return

    # The writer thread.

    def _run_thread(self) -> None:
        try:
            while self._turn():
                pass
            if self._disk_ok:
                self._guarded(self._finish)
        finally:
            self._disk_ok = False
            self._answer_barriers()
            self._writer.abandon()

    def _has_work(self) -> bool:
        if self._disk_ok:
            return bool(self._waiting) or self._closing or self._sync_seq > self._durable_seq
        return bool(self._waiting or self._closing or self._barriers)

    def _turn(self) -> bool:
        """At most one piece written and one fsync; False at the end."""
        with self._wake:
            self._wake.wait_for(self._has_work)
            handed = self._waiting[0] if self._waiting else None
            low, high = (handed.done, handed.high) if handed else (0, 0)
        if handed is not None:
            if self._disk_ok:
                self._guarded(self._write, handed.batch, low, high)
            self._written(handed, high)
        if not self._disk_ok:
            self._answer_barriers()
        elif self._sync_is_due():
            self._guarded(self._sync)
        return handed is not None or not self._closing

    def _sync_is_due(self) -> bool:
        """Waiting pieces are written first, so that one fsync serves all; but not for longer than an interval."""
        if self._sync_seq <= self._durable_seq:
            return False
        overdue_ns = self._settings.flush_interval_ms * 10**6
        return self._writer.last_seq >= self._sync_seq or time.perf_counter_ns() - self._synced_ns > overdue_ns

    def _written(self, handed: _Handed, high: int) -> None:
        with self._wake:
            handed.done = high
            if handed.high > high:
                return
            self._waiting.popleft()
            handed.queued = False
            left = handed.left
        if left:
            with self._freed:
                if len(handed.batch.data) == self._arena_bytes:
                    self._free.append(handed.arena)
                self._in_thread -= 1
                self._freed.notify_all()

    def _guarded(self, step: Callable[..., None], *args: Any) -> None:
        """Run `step`; where it raises, recording ends, with all that was whole before it made durable if possible."""
        try:
            step(*args)
        except Exception as error:
            self._disk_ok = False
            self._fail(journal_error(error, "writing the journal"))
            with contextlib.suppress(OSError):
                self._writer.sync()
                self._durable_seq = max(self._durable_seq, self._writer.last_seq)
            self._writer.abandon()
            self._answer_barriers()

    def _write(self, batch: Batch, low: int, high: int) -> None:
        if high > low:
            self._writer.append(batch, low, high)
        if self._writer.end_segment_if_due():
            self._durable_seq = self._writer.last_seq
            self._answer_barriers()

    def _sync(self) -> None:
        started_ns = time.perf_counter_ns()
        self._writer.sync()
        self._synced_ns = time.perf_counter_ns()
        self.fsync.add(self._synced_ns - started_ns)
        self._durable_seq = max(self._durable_seq, self._writer.last_seq)
        self._answer_barriers()
        self._writer.check_room()

    def _finish(self) -> None:
        self._writer.close()
        self._durable_seq = max(self._durable_seq, self._writer.last_seq)
        self._answer_barriers()
