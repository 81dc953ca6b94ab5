"""Once a second: how the process and its machine are, as a PULSE carries it."""

from __future__ import annotations

import os
import shutil
from collections import deque
from pathlib import Path

import psutil

from data_controller.records import Pulse

MAX_MARKS = 1024


class Vitals:
    """Reads memory and disk; the worst loop lag since the last reading is told to it by the pulse timer."""

    def __init__(self, directory: Path, stall_ns: int = 50_000_000) -> None:
        self._directory = directory
        self._process = psutil.Process(os.getpid())
        self._worst_lag_ns = 0
        self.stall_ns = stall_ns
        self.stalls = 0  # timers that ran later than `stall_ns`
        self.peak_rss_bytes = 0
        self.last = Pulse()

    def lag(self, lag_ns: int) -> None:
        """The loop ran a timer this late."""
        self._worst_lag_ns = max(self._worst_lag_ns, lag_ns)
        self.stalls += lag_ns > self.stall_ns

    def read(self, clock_offset_ns: int, fsync_ns: int | None, journal_ok: bool) -> Pulse:
        """The vitals of this moment; forgets the worst lag."""
        lag_ns, self._worst_lag_ns = self._worst_lag_ns, 0
        rss = self._process.memory_info().rss
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
        try:
            free: int | None = shutil.disk_usage(self._directory).free
        except OSError:
            free = None
        self.last = Pulse(
            clock_offset_ns=clock_offset_ns,
            loop_lag_ns=lag_ns,
            rss_bytes=rss,
            disk_free_bytes=free,
            fsync_ns=fsync_ns,
            journal_ok=journal_ok,
        )
        return self.last

    def gauges(self) -> dict[str, float | None]:
        """The last reading as the feed names it."""
        last = self.last
        return {
            "loop_lag_seconds": None if last.loop_lag_ns is None else last.loop_lag_ns / 1e9,
            "clock_offset_seconds": last.clock_offset_ns / 1e9,
            "rss_bytes": last.rss_bytes,
            "peak_rss_bytes": self.peak_rss_bytes,
        }


class JournalLag:
    """How old the oldest record is that is not yet durable, from marks that the pulse sets."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque(maxlen=MAX_MARKS)  # next record's number, when

    def look(self, next_seq: int, durable_seq: int, now_ns: int) -> float:
        """Seconds, to a pulse; the mark of `now_ns` is set."""
        while self._marks and self._marks[0][0] <= durable_seq:
            self._marks.popleft()
        if not self._marks or self._marks[-1][0] != next_seq:
            self._marks.append((next_seq, now_ns))
        first_seq, since_ns = self._marks[0]
        return (now_ns - since_ns) / 1e9 if first_seq < next_seq else 0.0
