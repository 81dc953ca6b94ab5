"""The recorder: nothing dropped, durable before the callback, bounded, loud when the disk fails."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_controller.errors import JournalError, JournalFull
from data_controller.journal import FULL, Arena, JournalSettings, Recorder, State, info, read, recover
from data_controller.journal.files import DiskFile
from data_controller.journal.manifest import load
from data_controller.records import Kind, sequence

SECOND = 10**9
SMALL = JournalSettings(arena_bytes=1 << 12, arena_records=64, arenas=4, min_free_bytes=0, segment_bytes=1 << 16)


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.001)


def records(directory: Path) -> list[tuple[int, int, int, int, bytes]]:
    return [
        (batch.first_seq + i, int(batch.recv_ns[i]), int(batch.kind[i]), int(batch.conn[i]), batch.payload(i))
        for batch in read(directory)
        for i in range(len(batch.recv_ns))
    ]


class Disk:
    """A file object whose writes and fsyncs can be held, counted or made to fail."""

    def __init__(self, room: int = 1 << 60) -> None:
        self.room = room
        self.events: list[str] = []
        self.fsync_error: OSError | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, path: Path) -> Any:
        disk, file = self, DiskFile(path)

        class File:
            def write(self, data: Any) -> None:
                disk.gate.wait()
                view = memoryview(data).cast("B")
                if view.nbytes > disk.room:
                    file.write(view[: disk.room])
                    disk.room = 0
                    raise OSError(errno.ENOSPC, "No space left on device")
                disk.room -= view.nbytes
                file.write(view)
                disk.events.append("write")

            def fsync(self) -> None:
                if disk.fsync_error:
                    raise disk.fsync_error
                file.fsync()
                disk.events.append("fsync")

            truncate = staticmethod(file.truncate)
            close = staticmethod(file.close)

        return File()


def recorder(directory: Path, settings: JournalSettings = SMALL, **options: Any) -> Recorder:
    run = recover(directory).run
    options.setdefault("on_failure", lambda error: None)
    return Recorder(settings, directory, run, **options)


def test_records_come_back_as_they_were_pushed(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    expected = []
    for i in range(1000):
        payload = b"x" * (i % 50)
        writer.wait_for_room()
        writer.push(Kind.FRAME, i % 3, SECOND + i, payload)
        expected.append((sequence(1, i), SECOND + i, int(Kind.FRAME), i % 3, payload))
    writer.close()
    assert writer.state is State.CLOSED
    assert writer.durable_seq == sequence(1, 999)
    assert records(tmp_path) == expected


def test_an_arena_says_full_instead_of_losing_a_record() -> None:
    arena = Arena(8, 2)
    assert arena.push(Kind.FRAME, 0, 1, b"12345678") == 0
    assert arena.push(Kind.FRAME, 0, 2, b"9") == FULL
    assert not arena.room(1)
    assert arena.room(0)
    assert arena.push(Kind.PULSE, -1, 2, b"") == 1
    assert arena.push(Kind.PULSE, -1, 3, b"") == FULL
    assert arena.batch.payload(0) == b"12345678"
    assert arena.filled == 2


def test_on_full_runs_before_the_arena_is_exchanged(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    writer = recorder(tmp_path)
    writer.on_full = lambda: seen.append((writer.batch.first_seq, writer.arena.filled))
    for i in range(150):
        writer.push(Kind.FRAME, 0, i, b"abc")
        writer.wait_for_room()
    assert seen == [(sequence(1, 0), 64), (sequence(1, 64), 64)]
    writer.close()


def test_a_frame_larger_than_an_arena_gets_one_of_its_own(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    large = bytes(range(256)) * 40_000  # 10 MB
    writer.push(Kind.FRAME, 0, 1, b"before")
    assert writer.push(Kind.FRAME, 0, 2, large) == 0
    assert writer.push(Kind.FRAME, 0, 3, b"after") == 0
    writer.close()
    assert [record[4] for record in records(tmp_path)] == [b"before", large, b"after"]


def test_the_barrier_answers_only_after_the_fsync_that_covers_it(tmp_path: Path) -> None:
    disk = Disk()
    writer = recorder(tmp_path, opener=disk)
    disk.events.clear()
    disk.gate.clear()
    writer.push(Kind.FRAME, 0, 1, b"decided on this")
    writer.request_durable(sequence(1, 0), lambda error: disk.events.append(f"durable {error}"))
    assert disk.events == []
    assert writer.durable_seq < sequence(1, 0)
    disk.gate.set()
    until(lambda: "durable None" in disk.events)
    assert disk.events == ["write", "fsync", "durable None"]
    assert writer.durable_seq == sequence(1, 0)
    assert writer.barrier.count == 1
    assert writer.barrier.last_ns > 0
    writer.request_durable(sequence(1, 0), lambda error: disk.events.append("at once"))
    assert disk.events[-1] == "at once"
    writer.close()


def test_callbacks_run_on_the_loop_that_was_given(tmp_path: Path) -> None:
    async def decide() -> list[tuple[str, threading.Thread]]:
        loop = asyncio.get_running_loop()
        told: list[tuple[str, threading.Thread]] = []
        both = asyncio.Event()

        def tell(what: str) -> None:
            told.append((what, threading.current_thread()))
            if len(told) == 2:
                both.set()

        disk = Disk()
        writer = recorder(
            tmp_path,
            opener=disk,
            call_soon_threadsafe=loop.call_soon_threadsafe,
            on_failure=lambda error: tell("failed"),
        )
        writer.push(Kind.FRAME, 0, 1, b"a")
        writer.request_durable(sequence(1, 0), lambda error: tell("durable"))
        while not told:
            await asyncio.sleep(0.001)
        disk.fsync_error = OSError(errno.EIO, "Input/output error")
        writer.push(Kind.FRAME, 0, 2, b"b")
        writer.flush()
        await asyncio.wait_for(both.wait(), 60)
        writer.close()
        return told

    assert asyncio.run(decide()) == [("durable", threading.main_thread()), ("failed", threading.main_thread())]


def test_a_barrier_on_a_record_that_was_never_pushed_is_refused(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    with pytest.raises(JournalError, match="already pushed"):
        writer.request_durable(sequence(1, 0), lambda error: None)
    writer.close()


def test_reading_should_pause_while_arenas_run_out_and_go_on_when_they_are_free(tmp_path: Path) -> None:
    disk = Disk()
    writer = recorder(tmp_path, opener=disk)
    disk.gate.clear()
    pushed = 0
    while not writer.should_pause:
        writer.push(Kind.FRAME, 0, pushed, b"y" * 40)
        pushed += 1
    assert writer.free == 1
    assert writer.depth == writer.peak == 2
    disk.gate.set()
    writer.wait_for_room()
    writer.close()
    assert len(records(tmp_path)) == pushed


def test_pushing_past_the_last_arena_ends_the_recording_without_a_hole(tmp_path: Path) -> None:
    failures: list[JournalError] = []
    disk = Disk()
    writer = recorder(tmp_path, opener=disk, on_failure=failures.append)
    disk.gate.clear()
    for i in range(10_000):
        writer.push(Kind.FRAME, 0, i, b"z" * 40)
    assert isinstance(failures[0], JournalFull)
    assert not writer.journal_ok
    assert not writer.should_pause
    disk.gate.set()
    writer.close()
    kept = records(tmp_path)
    assert [record[0] for record in kept] == [sequence(1, i) for i in range(len(kept))]
    assert writer.durable_seq == sequence(1, len(kept) - 1)
    assert writer.next_seq == sequence(1, 10_000)


@pytest.mark.parametrize("room", [700, 1500, 2500, 6000])
def test_a_full_disk_stops_recording_and_keeps_what_was_whole(tmp_path: Path, room: int) -> None:
    failures: list[JournalError] = []
    answers: list[JournalError | None] = []
    writer = recorder(tmp_path, opener=Disk(room), on_failure=failures.append)
    for i in range(64):
        writer.push(Kind.FRAME, 0, i, bytes([i * 37 % 251]) * 20)
        writer.request_durable(sequence(1, i), answers.append)
        until(lambda i=i: len(answers) == i + 1)  # type: ignore[misc]
    assert len(failures) == 1
    assert isinstance(failures[0], JournalFull)
    assert writer.state is State.FAILED
    good = answers.index(failures[0])
    assert answers == [None] * good + [failures[0]] * (64 - good)
    for i in range(10_000):
        writer.push(Kind.FRAME, 0, i, b"memory stays bounded")
    writer.close()
    assert len(records(tmp_path)) == good
    assert recover(tmp_path).records == good
    assert len(records(tmp_path)) == good


def test_a_failing_fsync_is_never_taken_for_durable(tmp_path: Path) -> None:
    failures: list[JournalError] = []
    answers: list[JournalError | None] = []
    disk = Disk()
    writer = recorder(tmp_path, opener=disk, on_failure=failures.append)
    disk.fsync_error = OSError(errno.EIO, "Input/output error")
    writer.push(Kind.FRAME, 0, 1, b"lost?")
    writer.request_durable(sequence(1, 0), answers.append)
    until(lambda: len(answers) == 1)
    assert answers == failures
    assert writer.durable_seq < sequence(1, 0)
    disk.fsync_error = None
    writer.push(Kind.FRAME, 0, 2, b"later")
    writer.request_durable(sequence(1, 1), answers.append)
    assert answers[1] is failures[0]
    writer.close()


def test_too_little_free_space_refuses_to_start_and_stops_a_running_journal(tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"min_free_bytes": 1000})
    with pytest.raises(JournalFull, match=r"journal\.min_free_bytes"):
        recorder(tmp_path, settings, free=lambda path: 999)
    room = [1000]
    failures: list[JournalError] = []
    writer = recorder(tmp_path, settings, free=lambda path: room[0], on_failure=failures.append)
    writer.push(Kind.FRAME, 0, 1, b"a")
    room[0] = 10
    writer.flush()
    until(lambda: bool(failures))
    assert isinstance(failures[0], JournalFull)
    assert writer.durable_seq == sequence(writer.run, 0)
    writer.close()


def test_a_file_size_limit_of_the_system_is_survived(tmp_path: Path) -> None:
    script = f"""
        import resource, pathlib
        from data_controller.journal import JournalSettings, Recorder, recover
        directory = pathlib.Path({str(tmp_path)!r})
        run = recover(directory).run
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        failures = []
        settings = JournalSettings(arena_bytes=4096, arena_records=64, arenas=4, min_free_bytes=0)
        recorder = Recorder(settings, directory, run, on_failure=failures.append)
        import random
        noise = random.Random(1)
        for i in range(5000):
            recorder.push(4, 0, i, noise.randbytes(30))
            if recorder.journal_ok:
                recorder.wait_for_room()
        recorder.close()
        print(type(failures[0]).__name__, recorder.durable_seq & (1 << 40) - 1)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    name, last = done.stdout.split()
    assert name == "JournalFull"
    kept = records(tmp_path)
    assert kept
    assert kept[-1][0] == sequence(1, int(last))


def test_segments_end_by_size_and_by_span_and_are_listed(tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"segment_s": 10})
    writer = recorder(tmp_path, settings)
    for i in range(5):
        writer.push(Kind.FRAME, 0, i * 6 * SECOND, b"a")
        writer.flush()
        until(lambda i=i: writer.durable_seq == sequence(1, i))  # type: ignore[misc]
    writer.close()
    writer = recorder(tmp_path, settings)
    noise = random.Random(1)
    for _ in range(3000):
        writer.push(Kind.FRAME, 0, 50 * SECOND, noise.randbytes(40))
        writer.wait_for_room()
    writer.close()
    found = load(tmp_path)
    assert found is not None
    assert [(entry.run, entry.number, entry.records) for entry in found.segments][:2] == [(1, 1, 3), (1, 2, 2)]
    by_size = found.segments[2:]
    assert len(by_size) > 1
    assert all(entry.bytes >= settings.segment_bytes for entry in by_size[:-1])
    assert sum(entry.records for entry in by_size) == 3000
    for entry in found.segments:
        content = (tmp_path / entry.name).read_bytes()
        assert entry.bytes == len(content)
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
        assert entry.last_seq - entry.first_seq + 1 == entry.records
    assert (found.segments[0].first_recv_ns, found.segments[0].last_recv_ns) == (0, 12 * SECOND)
    assert info(tmp_path).segments == len(found.segments)


def test_ticks_flush_once_an_interval(tmp_path: Path) -> None:
    disk = Disk()
    writer = recorder(tmp_path, opener=disk)
    now = 1000 * SECOND
    writer.push(Kind.FRAME, 0, now, b"a")
    writer.tick(now)
    until(lambda: writer.durable_seq == sequence(1, 0))
    writer.push(Kind.FRAME, 0, now, b"b")
    for step in range(9):
        writer.tick(now + step * SECOND // 10)
    assert disk.events.count("fsync") == 1
    writer.tick(now + SECOND)
    until(lambda: writer.durable_seq == sequence(1, 1))
    writer.close()


def test_one_arena_is_written_in_parts_while_it_is_filled(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    for i in range(40):
        assert writer.push(Kind.FRAME, 0, i, b"%d" % i) == i
        writer.flush()
        until(lambda i=i: writer.durable_seq == sequence(1, i))  # type: ignore[misc]
    assert writer.depth == 0
    writer.close()
    assert [record[4] for record in records(tmp_path)] == [b"%d" % i for i in range(40)]


def test_only_one_writer_at_a_time(tmp_path: Path) -> None:
    first = recorder(tmp_path)
    with pytest.raises(JournalError, match="only writer"):
        recover(tmp_path)
    first.close()
    assert recover(tmp_path).run == 2


def test_close_is_idempotent_and_leaves_no_empty_segment(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    writer.close()
    writer.close()
    assert not list(tmp_path.glob("*.arrows*"))
    answers: list[JournalError | None] = []
    writer.request_durable(sequence(1, 0) - 1, answers.append)
    assert answers == [None]
