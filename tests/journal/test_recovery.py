"""Recovery: whatever ended the last writer, its whole batches are there, and no run number is used twice."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from data_controller.errors import JournalError
from data_controller.journal import JournalSettings, Reader, info, recover
from data_controller.journal.manifest import RUNS, Manifest, claim_run, last_run, load, make_room, save
from data_controller.journal.writer import JournalWriter
from data_controller.records import sequence

from .journal_making import ROWS, SETTINGS, batch_of, records, write

PIECES = [ROWS[:3], ROWS[3:4], ROWS[4:]]


def test_run_numbers_rise_and_survive_the_loss_of_everything_else(tmp_path: Path) -> None:
    assert [recover(tmp_path).run for _ in range(3)] == [1, 2, 3]
    (tmp_path / "manifest.json").unlink()
    assert recover(tmp_path).run == 4
    (tmp_path / RUNS).unlink()
    assert recover(tmp_path).run == 5
    write(tmp_path, PIECES, close=False)
    (tmp_path / RUNS).unlink()
    (tmp_path / "manifest.json").write_text("{")
    assert recover(tmp_path).run == 7


def test_torn_lines_of_the_runs_file_do_not_count(tmp_path: Path) -> None:
    claim_run(tmp_path, 41)
    with (tmp_path / RUNS).open("ab") as file:
        file.write(b"99 0badc0de\n8388")
    assert last_run(tmp_path) == 41


def test_the_last_run_number_is_refused(tmp_path: Path) -> None:
    claim_run(tmp_path, (1 << 23) - 1)
    with pytest.raises(JournalError, match="new journal directory"):
        recover(tmp_path)


@pytest.mark.parametrize("step", range(7))
def test_an_open_segment_cut_anywhere_is_closed_with_its_whole_batches(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # thousands of them would only measure the disk
    source = tmp_path / "source"
    expected = write(source, PIECES, close=False)
    (path,) = source.glob("*.open")
    content = path.read_bytes()
    for size in range(step, len(content) + 1, 7):
        directory = tmp_path / str(size)
        directory.mkdir()
        (directory / path.name).write_bytes(content[:size])
        found = recover(directory)
        assert found.run == 2
        assert found.records in {0, 3, 4, 9}
        assert (found.closed, found.removed) == ((1, 0) if found.records else (0, 1))
        assert found.notes
        assert not list(directory.glob("*.open"))
        if found.records:
            assert records(directory) == expected[: found.records]
            (entry,) = load(directory).segments  # type: ignore[union-attr]
            closed = (directory / entry.name).read_bytes()
            assert entry.sha256 == hashlib.sha256(closed).hexdigest()
            kept = len(closed) - 8
            tail = directory / "quarantine" / f"{path.name}.tail"
            assert (tail.read_bytes() if tail.exists() else b"") == content[kept:size]
            assert found.cut_bytes == size - kept
        assert recover(directory).records == found.records, "a second start finds the same"


def test_a_segment_ended_but_not_renamed_is_taken_whole(tmp_path: Path) -> None:
    expected = write(tmp_path, PIECES)
    (path,) = tmp_path.glob("journal*.arrows")
    path.rename(path.with_name(path.name + ".open"))
    found = recover(tmp_path)
    assert (found.closed, found.cut_bytes, found.records) == (1, 0, len(ROWS))
    assert records(tmp_path) == expected


def test_a_manifest_that_is_missing_or_damaged_is_rebuilt(tmp_path: Path) -> None:
    expected = write(tmp_path, PIECES) + write(tmp_path, PIECES)
    before = load(tmp_path)
    assert before is not None
    for damage in (None, b"", b"{}", b"\0" * 100):
        path = tmp_path / "manifest.json"
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        found = recover(tmp_path)
        assert found.records == len(expected)
        assert any("rebuilt" in note for note in found.notes)
        after = load(tmp_path)
        assert after is not None
        assert after.segments == before.segments
        assert records(tmp_path) == expected


def test_damage_inside_a_left_open_segment_does_not_cost_what_comes_after_it(tmp_path: Path) -> None:
    expected = write(tmp_path, PIECES, close=False)
    (path,) = tmp_path.glob("*.open")
    content = bytearray(path.read_bytes())
    second = next(batch for batch in Reader(path) if batch.first_seq == sequence(1, 3))
    at = content.index(second.payload(0)[:10])
    content[at] ^= 4
    path.write_bytes(content)
    found = recover(tmp_path)
    assert found.records == 8
    assert any("damaged" in note for note in found.notes)
    reader = Reader(tmp_path, on_damage="report")
    kept = [record for batch in reader for record in range(batch.first_seq, batch.first_seq + len(batch.recv_ns))]
    assert kept == [record[0] for record in expected if record[0] != sequence(1, 3)]
    assert [(damage.first_seq, damage.last_seq) for damage in reader.damages] == [(sequence(1, 3), sequence(1, 3))]


def budgeted(directory: Path, settings: JournalSettings, segments: int, step_ns: int) -> None:
    """A run of one-batch segments, `step_ns` apart, with a year between nothing: deleted as the settings say."""
    run = recover(directory).run
    writer = JournalWriter(settings, directory, run)
    noise = random.Random(run)
    for i in range(segments):
        rows = [(4, 0, (i + 1) * step_ns, noise.randbytes(7000)) for _ in range(9)]
        batch, n = batch_of(rows, sequence(run, i * 9))
        writer.append(batch, 0, n)
        assert writer.end_segment_if_due() == (i % 2 == 1)
    writer.close()


def test_the_budget_deletes_whole_segments_oldest_first_and_says_so(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"segment_bytes": 1 << 16, "max_bytes": 1 << 18})
    budgeted(tmp_path, settings, 6, 10**9)
    manifest = load(tmp_path)
    assert manifest is not None
    assert manifest.deleted_segments == 1
    assert [entry.number for entry in manifest.deleted] == [1]
    assert manifest.deleted[0].note == "beyond journal.max_bytes"
    assert [entry.number for entry in manifest.segments] == [2, 3]
    assert manifest.deleted_records == 18
    assert sum(path.stat().st_size for path in tmp_path.glob("*.arrows")) <= settings.max_bytes
    assert info(tmp_path).damages == []
    assert info(tmp_path).first_seq == sequence(1, 18)


def test_age_deletes_segments_by_their_last_record(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"retention_days": 1.5})
    budgeted(tmp_path, settings, 6, 43_200 * 10**9)
    manifest = load(tmp_path)
    assert manifest is not None
    assert [entry.number for entry in manifest.deleted] == [1]
    assert [entry.note for entry in manifest.deleted] == ["older than journal.retention_days"]


def test_a_deletion_that_a_crash_cut_short_is_finished(tmp_path: Path) -> None:
    write(tmp_path, PIECES)
    (path,) = tmp_path.glob("*.arrows")
    content = path.read_bytes()
    manifest = load(tmp_path)
    assert manifest is not None
    assert make_room(tmp_path, manifest, SETTINGS.model_copy(update={"max_bytes": 1}), 0, 0) == 1
    path.write_bytes(content)
    found = recover(tmp_path)
    assert not path.exists()
    assert found.records == 0


def test_a_manifest_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    manifest = Manifest(run=7, deleted_bytes=12)
    save(tmp_path, manifest)
    assert load(tmp_path) == manifest


WRITE_FOR_EVER = """
    import pathlib, sys, time
    from data_controller.journal import JournalSettings, Recorder, recover
    directory = pathlib.Path(sys.argv[1])
    run = recover(directory).run
    settings = JournalSettings(
        arena_bytes=1 << 16, arena_records=1024, arenas=4, min_free_bytes=0, flush_interval_ms=50, segment_bytes=1 << 16
    )
    recorder = Recorder(settings, directory, run, on_failure=lambda error: sys.exit(str(error)))
    print(run, flush=True)
    while True:
        now = time.time_ns()
        for _ in range(20):
            recorder.push(4, 0, now, b"[17,%d]" % now)
        recorder.tick(now)
        time.sleep(0.0005)
"""


def test_a_killed_writer_loses_at_most_one_flush_interval(tmp_path: Path) -> None:
    draw = random.Random(7)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for start in range(1, 8, 2):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITE_FOR_EVER), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{start}\n"
            time.sleep(0.2 + draw.random() * 0.3)  # the moment of the kill is the test's input
            killed_ns = time.time_ns()
            process.send_signal(signal.SIGKILL)
        found = recover(tmp_path)
        assert found.run == start + 1
        kept = info(tmp_path)
        assert kept.damages == []
        assert kept.runs == list(range(1, start + 1, 2))
        # 50 ms between flushes; the rest is what a busy machine may take to schedule the writer.
        assert killed_ns - kept.last_recv_ns < 50_000_000 + 5_000_000_000
