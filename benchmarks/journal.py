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
    for _ in range(7):
        started = time.perf_counter_ns()
        for recv_ns, frame in views:
            recorder.push(4, 0, recv_ns, frame)
        best = min(best, (time.perf_counter_ns() - started) / len(views))
        recorder.rotate()
        recorder.wait_for_room()
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


def lock_held_us(frames: list[tuple[int, bytes]]) -> dict[str, float]:
    """Microseconds that encoding one batch keeps the loop from running, by batch size.

    A thread counts as fast as it can, alone and then beside one that encodes batches without end; on two cores the
    share it loses is the share of the lock, and share times the time of a batch is what one batch holds.
    """
    arena = Arena(16 << 20, 65_536)
    while arena.filled < 65_536:
        recv_ns, frame = frames[arena.filled % len(frames)]
        if arena.push(4, 0, recv_ns, frame) < 0:
            break
    encoder = Encoder(with_header(JOURNAL_SCHEMA, {"kind": "journal", "version": "1"}))
    held: dict[str, float] = {}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for n in (200, 2_000, 20_000, arena.filled):
            encoder.message(record_batch(arena.batch, 1, n), 1)
            seconds_alone = _counting_s()
            done = threading.Event()
            encoded = [0]

            def encode(n: int = n, done: threading.Event = done, encoded: list[int] = encoded) -> None:
                while not done.is_set():
                    encoder.message(record_batch(arena.batch, 1, n), 1)
                    encoded[0] += 1

            thread = threading.Thread(target=encode)
            thread.start()
            before = encoded[0]
            seconds_beside = _counting_s()
            batches = encoded[0] - before
            done.set()
            thread.join()
            held[str(n)] = max(0.0, (seconds_beside - seconds_alone) / max(batches, 1) * 1e6)
    finally:
        sys.setswitchinterval(interval)
    return held


def _counting_s() -> float:
    """Seconds that this thread needs to count to three million."""
    started = time.perf_counter()
    total = 0
    for i in range(3_000_000):
        total += i
    return time.perf_counter() - started


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
