"""Once a second: how the process and its machine are, as a PULSE carries it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

from data_controller.records import Pulse


class Vitals:
    """Reads memory and disk; the worst loop lag since the last reading is told to it by the pulse timer."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process = psutil.Process(os.getpid())
        self._worst_lag_ns = 0
        self.peak_rss_bytes = 0

    def lag(self, lag_ns: int) -> None:
        """The loop ran a timer this late."""
        self._worst_lag_ns = max(self._worst_lag_ns, lag_ns)

    def read(self, clock_offset_ns: int, fsync_ns: int | None, journal_ok: bool) -> Pulse:
        """The vitals of this moment; forgets the worst lag."""
        lag_ns, self._worst_lag_ns = self._worst_lag_ns, 0
        rss = self._process.memory_info().rss
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
        try:
            free: int | None = shutil.disk_usage(self._directory).free
        except OSError:
            free = None
        return Pulse(
            clock_offset_ns=clock_offset_ns,
            loop_lag_ns=lag_ns,
            rss_bytes=rss,
            disk_free_bytes=free,
            fsync_ns=fsync_ns,
            journal_ok=journal_ok,
        )
