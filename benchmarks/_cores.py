"""Which core a process may use, where the system lets one choose, and how much the cores stall by themselves."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterable
from typing import Any

import numpy as np


def set_affinity(pid: int, cores: Iterable[int]) -> None:
    """Let thread or process `pid` (0: the caller) run on `cores` only; nothing where the system cannot."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(pid, cores)


def cores() -> list[int]:
    """Cores this process may use; empty where the system does not say."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:
        return []


def _busy(core: int, seconds: float, out: Any) -> None:
    """Largest gaps of a loop that only reads the clock."""
    set_affinity(0, [core])
    gaps, clock = [], time.monotonic_ns
    last = started = clock()
    end = started + int(seconds * 1e9)
    while last < end:
        now = clock()
        if now - last > 50_000:
            gaps.append(now - last)
        last = now
    gaps.sort()
    out.put((core, {"max_us": (gaps or [0])[-1] / 1e3, "stalled_share": sum(gaps) / (last - started)}))


def _sleeping(core: int, seconds: float, out: Any) -> None:
    """How late a sleep of a millisecond ends."""
    set_affinity(0, [core])
    late, clock = [], time.monotonic_ns
    end = clock() + int(seconds * 1e9)
    while (before := clock()) < end:
        time.sleep(0.001)
        late.append(clock() - before - 1_000_000)
    p50, p99, p999 = np.quantile(late, (0.5, 0.99, 0.999)) / 1e3
    out.put((core, {"p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": max(late) / 1e3}))


def hiccups(seconds: float = 2.0) -> dict[str, Any]:
    """What nothing costs: on up to four cores at once, a busy loop's longest gaps, then how late short sleeps end."""
    context = multiprocessing.get_context("spawn")
    result: dict[str, Any] = {}
    for name, work in (("busy", _busy), ("sleeping", _sleeping)):
        out = context.SimpleQueue()
        processes = [context.Process(target=work, args=(core, seconds, out)) for core in cores()[:4]]
        for process in processes:
            process.start()
        said = sorted(out.get() for _ in processes)
        for process in processes:
            process.join()
        result[name] = {
            f"core_{core}": {key: round(float(value), 4 if "share" in key else 1) for key, value in figures.items()}
            for core, figures in said
        }
    return result
