"""Measures the journal: cost of a push, what a batch costs the interpreter lock, bytes a frame, speed of reading."""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_controller.journal import JournalSettings, Recorder, read, recover
from data_controller.journal.arena import Arena
from data_controller.journal.format import JOURNAL_SCHEMA, Encoder, record_batch, with_header
from data_controller.records import Kind

CAPTURE = Path(
    os.environ.get("DATA_CONTROLLER_SHARED", Path(__file__).resolve().parents[2] / "shared"),
    "data/raw_ws/bitfinex/cryptofeed_2021-04-05/BITFINEX-58bafb.0.gz",
)


def real_frames() -> list[tuple[int, bytes]] | None:
    """Receive time and bytes of every frame of the real Bitfinex capture; None where it is not here."""
    if not CAPTURE.exists():
        return None
    frames = []
    for line in gzip.decompress(CAPTURE.read_bytes()).split(b"\n"):
        stamp, _, frame = line.partition(b": ")
        if stamp[:10].isdigit():
            seconds, _, fraction = stamp.partition(b".")
            frames.append((int(seconds) * 10**9 + int(fraction.ljust(9, b"0")), frame))
    return frames


def made_up_frames(n: int = 20_000) -> list[tuple[int, bytes]]:
    """Frames of the same size and rate, for where the capture is not."""
    draw = random.Random(1)
    start_ns = 1_617_643_607 * 10**9
    return [
        (
            start_ns + i * 5_000_000,
            b"[%d,[%.5f,%d,%.8f],%d]" % (146_470 + i % 8, draw.random(), i % 3, draw.random(), i),
        )
        for i in range(n)
    ]


def push_ns(frames: list[tuple[int, bytes]], repeats: int = 9) -> float:
    """Nanoseconds of one `Arena.push`, best of `repeats`."""
    arena = Arena()
    views = [(recv_ns, memoryview(frame)) for recv_ns, frame in frames[:20_000]]
    best = float("inf")
    for _ in range(repeats):
        arena.reset(0)
        started = time.perf_counter_ns()
        for recv_ns, frame in views:
            arena.push(4, 0, recv_ns, frame)
        best = min(best, (time.perf_counter_ns() - started) / len(views))
    return best


def recorder_push_ns(frames: list[tuple[int, bytes]], folder: Path) -> float:
    """Nanoseconds of one `Recorder.push`, best of several rounds that fit in one arena."""
    recorder = Recorder(JournalSettings(min_free_bytes=0), folder, recover(folder).run, on_failure=_raise)
    views = [(recv_ns, memoryview(frame)) for recv_ns, frame in frames[:20_000]]
    best = float("inf")
    for _ in range(9):
        while recorder.depth:
            time.sleep(0.001)
        started = time.perf_counter_ns()
        for recv_ns, frame in views:
            recorder.push(4, 0, recv_ns, frame)
        best = min(best, (time.perf_counter_ns() - started) / len(views))
        recorder.rotate()
    recorder.close()
    return best


def _raise(error: Exception) -> None:
    raise error


def live_bytes_per_frame(frames: list[tuple[int, bytes]], folder: Path, every_ns: int) -> float:
    """Bytes a frame on disk when flushed every `every_ns` of the capture's own time, as a live engine does."""
    settings = JournalSettings(flush_interval_ms=every_ns // 10**6, min_free_bytes=0)
    recorder = Recorder(settings, folder, recover(folder).run, on_failure=_raise)
    next_flush = frames[0][0] + every_ns
    for recv_ns, frame in frames:
        if recv_ns >= next_flush:
            recorder.flush()
            while recorder.durable_seq < recorder.next_seq - 1:  # live, a second lasts longer than its write
                time.sleep(0.0002)
            next_flush += every_ns
        recorder.push(Kind.FRAME, 0, recv_ns, frame)
    recorder.close()
    return recorder.bytes_written / len(frames)


def lock_held_us(frames: list[tuple[int, bytes]]) -> dict[str, float] | None:
    """Microseconds that a counting thread is blocked for one batch encoded beside it, by batch size: median of 5.

    Blocked is neither running nor waiting for a core, by Linux's own accounts (None elsewhere), so what other programs
    take does not count. "idle" is the same beside a thread that only sleeps: what the method itself costs.
    """
    if not Path("/proc/self/schedstat").exists():
        return None
    arena = Arena(16 << 20, 65_536)
    while arena.filled < 65_536:
        recv_ns, frame = frames[arena.filled % len(frames)]
        arena.push(4, 0, recv_ns, frame)
    encoder = Encoder(with_header(JOURNAL_SCHEMA, {"kind": "journal", "version": "1"}))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        held = {"idle": _blocked_us_a_call(lambda: time.sleep(0.003))}
        for n in (200, 2_000, 20_000, 65_536):
            held[str(n)] = _blocked_us_a_call(
                lambda n=n: encoder.message(record_batch(arena.batch, 0, n), 0)  # type: ignore[misc]
            )
    finally:
        sys.setswitchinterval(interval)
    return held


def _blocked_us_a_call(call: Callable[[], object], repeats: int = 5) -> float:
    calls = 0
    done = threading.Event()

    def again() -> None:
        nonlocal calls
        while not done.is_set():
            call()
            calls += 1

    thread = threading.Thread(target=again)
    thread.start()
    figures = []
    for _ in range(repeats):
        before = calls
        blocked_ns = _blocked_ns()
        figures.append(blocked_ns / 1e3 / max(calls - before, 1))
    done.set()
    thread.join()
    return sorted(figures)[repeats // 2]


def _blocked_ns() -> int:
    """Nanoseconds that this thread neither ran nor waited for a core while it counted to five million."""
    started, (ran, queued) = time.perf_counter_ns(), _accounts()
    total = 0
    for i in range(5_000_000):
        total += i
    ran_after, queued_after = _accounts()
    return time.perf_counter_ns() - started - (ran_after - ran) - (queued_after - queued)


def _accounts() -> tuple[int, int]:
    ran, queued, _ = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    return int(ran), int(queued)


def read_frames_per_s(folder: Path, repeats: int = 5, merge: int = 0) -> float:
    """Records a second through the reader, checks included, best of `repeats`."""
    best = 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        records = sum(len(batch.recv_ns) for batch in read(folder, merge=merge))
        best = max(best, records / (time.perf_counter() - started))
    return best


def barrier_us(frames: list[tuple[int, bytes]], folder: Path, rounds: int = 50) -> dict[str, float]:
    """Microseconds from asking until 200 fresh records are durable: median and worst, on this disk."""
    recorder = Recorder(JournalSettings(min_free_bytes=0), folder, recover(folder).run, on_failure=_raise)
    took = []
    for round_ in range(rounds):
        for recv_ns, frame in frames[round_ * 200 : round_ * 200 + 200]:
            recorder.push(4, 0, recv_ns, frame)
        durable = threading.Event()
        recorder.request_durable(recorder.next_seq - 1, lambda error, durable=durable: durable.set())  # type: ignore[misc]
        durable.wait()
        took.append(recorder.barrier.last_ns / 1e3)
    recorder.close()
    return {"p50": sorted(took)[len(took) // 2], "max": max(took)}


def measure() -> dict[str, Any]:
    """All figures as one object."""
    real = real_frames()
    frames = real or made_up_frames()
    with tempfile.TemporaryDirectory(prefix="bench-journal-") as name:
        folder = Path(name)
        result: dict[str, Any] = {
            "frames": len(frames),
            "real_capture": real is not None,
            "frame_bytes": sum(len(frame) for _, frame in frames) / len(frames),
            "push_ns": push_ns(frames),
            "recorder_push_ns": recorder_push_ns(frames, folder / "push"),
            "bytes_per_frame_1s_flush": live_bytes_per_frame(frames, folder / "live", 10**9),
            "bytes_per_frame_100ms_flush": live_bytes_per_frame(frames, folder / "fast", 10**8),
            "lock_held_us_per_batch": lock_held_us(frames),
            "barrier_us": barrier_us(frames, folder / "barrier"),
        }
        result["read_frames_per_s_full_batches"] = read_frames_per_s(folder / "push")
        result["read_frames_per_s_1s_batches"] = read_frames_per_s(folder / "live")
        result["read_frames_per_s_1s_batches_merged"] = read_frames_per_s(folder / "live", merge=16_384)
    return result


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
