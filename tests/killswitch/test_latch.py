"""The latch reads as clear only where a whole, private file says so, and never loses a kill."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from data_controller.errors import ConfigError, LatchedError
from data_controller.killswitch import latch as module
from data_controller.killswitch.latch import MAX_LATER, Latch, prepare


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    prepare(directory)
    return directory


def age(path: Path, seconds: float = 10) -> None:
    """Wait out nothing: let the module believe that the file settled long ago."""
    then = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(then, then))


def test_a_new_state_directory_is_clear_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "state"
    assert not prepare(directory).active
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "latch.json").stat().st_mode & 0o777 == 0o600
    assert not Latch(directory).read().active


def test_an_empty_directory_that_a_person_made_is_new(tmp_path: Path) -> None:
    assert not prepare(tmp_path).active


def test_a_latch_missing_from_an_existing_directory_is_latched_and_stays_so(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    for _ in range(2):
        state = prepare(tmp_path)
        assert state.active and "missing" in state.reason
    assert not (tmp_path / "latch.json").exists()


def test_preparing_again_changes_nothing(state_dir: Path) -> None:
    Latch(state_dir).set("loss", "trigger")
    assert prepare(state_dir).reason == "loss"


def test_a_file_in_place_of_the_state_directory_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError):
        prepare(tmp_path / "state")


def test_setting_keeps_the_first_reason_and_adds_later_ones_once(state_dir: Path) -> None:
    latch = Latch(state_dir)
    first = latch.set("loss of 5 %", "trigger:loss")
    latch.set("disk full", "trigger:disk")
    latch.set("disk full", "trigger:disk")
    again = latch.set("loss of 5 %", "trigger:loss")
    assert (again.reason, again.who, again.t_ns) == ("loss of 5 %", "trigger:loss", first.t_ns)
    assert [(c.reason, c.who) for c in again.later] == [("disk full", "trigger:disk")]
    assert Latch(state_dir).read() == again


def test_reasons_are_bounded_and_the_rest_is_counted(state_dir: Path) -> None:
    latch = Latch(state_dir)
    for i in range(MAX_LATER + 5):
        latch.set(f"reason {i} " + "\x01" * 5000, "\x01" * 5000)
    state = latch.read()
    assert state.active and len(state.later) == MAX_LATER and state.later_dropped == 4


def test_text_that_is_no_unicode_still_latches(state_dir: Path) -> None:
    assert Latch(state_dir).set("bad \udcff", "\udcff").active
    assert Latch(state_dir).read().reason.startswith("bad")


def test_clearing_needs_a_reason_and_is_seen_by_others(state_dir: Path) -> None:
    latch, other = Latch(state_dir), Latch(state_dir)
    latch.set("test", "me")
    with pytest.raises(LatchedError):
        latch.clear("  ", "me")
    assert other.check().active
    latch.clear("looked at it", "me")
    assert not other.check().active
    assert other.read().reason == "looked at it"


@pytest.mark.parametrize("size", range(0, 200, 7))
def test_a_torn_file_is_latched_at_any_length(state_dir: Path, size: int) -> None:
    path = state_dir / "latch.json"
    whole = path.read_bytes()
    torn = whole.rstrip()[: min(size, len(whole.rstrip()) - 1)]
    path.write_bytes(torn)
    assert Latch(state_dir).read().active


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0" * 100,
        "clear",
        '{"state":"clear"}',
        '{"state":"CLEAR","reason":"","who":"","t_ns":1}',
        '{"state":0,"reason":"","who":"","t_ns":1}',
        '{"state":"clear","reason":"","who":"","t_ns":1}{"state":"clear"}',
        "[" * 5000,
        '{"state":"clear","reason":"' + "x" * (300 << 10) + '","who":"","t_ns":1}',
        "\udcff\udcfe",
    ],
)
def test_a_damaged_file_is_latched_and_can_be_resumed(state_dir: Path, text: str) -> None:
    (state_dir / "latch.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    latch = Latch(state_dir)
    assert latch.read().active and latch.check().active
    latch.clear("repaired", "me")
    assert not latch.check().active


def test_setting_over_a_damaged_file_keeps_the_damage_as_first_reason(state_dir: Path) -> None:
    (state_dir / "latch.json").write_text("{")
    state = Latch(state_dir).set("loss", "trigger")
    assert "damaged" in state.reason and state.later[0].reason == "loss" and state.t_ns > 0


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_is_latched(state_dir: Path, mode: int) -> None:
    latch = Latch(state_dir)
    assert not latch.check().active
    (state_dir / "latch.json").chmod(mode)
    assert latch.check().active and latch.read().active


def test_a_file_that_cannot_be_read_is_latched() -> None:
    code = (
        "import os, sys; from pathlib import Path; from data_controller.killswitch.latch import Latch\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "state = Latch(Path(sys.argv[1])).read(); print(state.reason)\n"
        "sys.exit(0 if state.active and 'cannot be read' in state.reason else 1)"
    )
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to the user that root becomes here
        directory = Path(name)
        prepare(directory)
        directory.chmod(0o755)
        (directory / "latch.json").chmod(0)
        done = subprocess.run([sys.executable, "-c", code, directory], env={**os.environ, "PYTHONPATH": "src"})
    assert done.returncode == 0


def test_a_symbolic_link_is_latched_and_replaced_by_a_file(state_dir: Path, tmp_path: Path) -> None:
    path = state_dir / "latch.json"
    elsewhere = tmp_path / "elsewhere.json"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    latch = Latch(state_dir)
    assert latch.read().active and latch.check().active
    before = elsewhere.read_bytes()
    latch.set("test", "me")
    assert not path.is_symlink() and elsewhere.read_bytes() == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_directory_or_pipe_in_its_place_is_latched_without_blocking(state_dir: Path, make: object) -> None:
    path = state_dir / "latch.json"
    path.unlink()
    make(path)  # type: ignore[operator]
    latch = Latch(state_dir)
    assert latch.read().active and latch.check().active
    assert latch.set("test", "me").active
    assert latch.read().active


def test_a_kill_file_latches_and_removing_it_clears_nothing(state_dir: Path) -> None:
    latch = Latch(state_dir)
    assert not latch.check().active
    (state_dir / "KILL").touch()
    assert latch.read().active
    assert latch.check().active
    with pytest.raises(LatchedError):
        latch.clear("resume", "me")
    (state_dir / "KILL").unlink()
    assert latch.check().active and Latch(state_dir).read().active
    latch.clear("resume", "me")
    assert not latch.check().active


def test_a_kill_file_that_leads_nowhere_latches_too(state_dir: Path) -> None:
    (state_dir / "KILL").symlink_to(state_dir / "nowhere")
    assert Latch(state_dir).check().active and Latch(state_dir).read().active


def test_a_kill_file_beside_a_damaged_latch_is_adopted(state_dir: Path) -> None:
    (state_dir / "latch.json").write_text("")
    (state_dir / "KILL").touch()
    Latch(state_dir).check()
    state = Latch(state_dir).read()
    assert any("KILL" in cause.reason for cause in state.later)


def test_losing_the_whole_state_directory_latches(state_dir: Path) -> None:
    latch = Latch(state_dir)
    assert not latch.check().active
    state_dir.rename(state_dir.with_name("gone"))
    assert latch.check().active


def test_every_change_is_seen_by_the_next_check(state_dir: Path) -> None:
    """Faster than a file system's clock ticks, with equal sizes and recycled inodes."""
    writer, reader = Latch(state_dir), Latch(state_dir)
    seen = []
    for i in range(200):
        if i % 2:
            writer.clear("0123456", "me")
        else:
            writer.set("01234", "me")  # the same number of bytes as the clear file
        seen.append(reader.check().active)
    assert seen == [i % 2 == 0 for i in range(200)]


def test_a_settled_file_is_not_read_again_until_it_changes(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    real = Latch._read_file

    def counting(self: Latch) -> module.LatchState:
        nonlocal reads
        reads += 1
        return real(self)

    monkeypatch.setattr(Latch, "_read_file", counting)
    monkeypatch.setattr(module, "SETTLED_NS", -1)  # settled at once: ctime cannot be set back
    latch = Latch(state_dir)
    for _ in range(10):
        assert not latch.check().active
    assert reads == 1
    path = state_dir / "latch.json"
    with path.open("r+b") as file:  # in place: same inode, same size
        file.write(path.read_bytes().replace(b'"clear"', b'"cLear"'))
    age(path)  # even with its modification time set back
    assert latch.check().active
    assert reads == 2


def test_a_file_with_a_time_in_the_future_is_never_trusted_from_memory(state_dir: Path) -> None:
    path = state_dir / "latch.json"
    age(path, -3600)
    latch = Latch(state_dir)
    assert not latch.check().active
    assert latch._mark is None


def test_a_check_of_a_file_that_did_not_change_reads_nothing(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLED_NS", -1)
    latch = Latch(state_dir)
    reads: list[int] = []
    read = latch._read_file
    monkeypatch.setattr(latch, "_read_file", lambda: reads.append(1) or read())
    for _ in range(100):
        assert not latch.check().active
    assert len(reads) == 1
    os.utime(latch.path, ns=(1, 1))
    latch.check()
    assert len(reads) == 2


def test_setting_does_not_wait_for_a_stopped_holder_and_its_late_clear_cannot_undo_it(state_dir: Path) -> None:
    latch = Latch(state_dir, lock_wait_s=0.05)
    fd = os.open(state_dir / "latch.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    started = time.monotonic()
    latch.set("loss", "trigger")
    assert time.monotonic() - started < 20  # and not for ever
    with pytest.raises(LatchedError):
        latch.clear("resume", "me")
    # The stopped process wakes up and completes the clear that it had begun.
    latch._write(module.LatchState(state="clear", reason="late", who="late", t_ns=1))
    os.close(fd)
    assert latch.check().active and latch.read().active


def test_many_processes_setting_at_once_lose_no_reason(state_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from data_controller.killswitch.latch import Latch\n"
        "for i in range(4): Latch(Path(sys.argv[1]), lock_wait_s=60).set(f'{sys.argv[2]} {i}', 'test')"
    )
    env = {**os.environ, "PYTHONPATH": "src"}
    running = [subprocess.Popen([sys.executable, "-c", code, state_dir, str(n)], env=env) for n in range(4)]
    assert [p.wait(120) for p in running] == [0] * 4
    state = Latch(state_dir).read()
    reasons = [state.reason, *(c.reason for c in state.later)]
    assert sorted(reasons) == sorted(f"{n} {i}" for n in range(4) for i in range(4))
    assert not list(state_dir.glob("*.tmp"))


def test_readers_never_see_half_a_write(state_dir: Path) -> None:
    stop, wrong = threading.Event(), []

    def read() -> None:
        latch = Latch(state_dir)
        while not stop.is_set():
            state = latch.read()
            if "damaged" in state.reason or "missing" in state.reason:
                wrong.append(state)

    thread = threading.Thread(target=read)
    thread.start()
    writer = Latch(state_dir)
    for _ in range(50):
        writer.set("x" * 400, "me")
        writer.clear("y", "me")
    stop.set()
    thread.join()
    assert wrong == []


def _full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_still_latches_by_an_empty_kill_file(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latch = Latch(state_dir)
    monkeypatch.setattr(latch, "_write", _full_disk)
    monkeypatch.setattr(module.os, "write", _full_disk)
    latch.set("loss", "trigger")
    monkeypatch.undo()
    assert Latch(state_dir).check().active


def test_a_disk_without_room_for_a_file_latches_by_removing_the_latch(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latch = Latch(state_dir)
    monkeypatch.setattr(module, "_write_durably", _full_disk)
    latch.set("loss", "trigger")
    monkeypatch.undo()
    assert Latch(state_dir).check().active
    assert not (state_dir / "latch.json").exists()


def test_where_nothing_can_be_written_the_process_itself_remembers(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latch = Latch(state_dir)
    monkeypatch.setattr(module, "_write_durably", _full_disk)
    monkeypatch.setattr(Path, "unlink", _full_disk)
    with pytest.raises(OSError, match="No space"):
        latch.set("loss", "trigger")
    monkeypatch.undo()
    assert latch.check().active and latch.read().reason == "loss"
    latch.clear("space again", "me")
    assert not latch.check().active


def test_a_clear_that_cannot_be_written_stays_latched(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latch = Latch(state_dir)
    latch.set("loss", "trigger")
    monkeypatch.setattr(module, "_write_durably", _full_disk)
    with pytest.raises(LatchedError):
        latch.clear("resume", "me")
    monkeypatch.undo()
    assert latch.check().active


def test_the_file_and_its_directory_are_synced_before_set_returns(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        module, "_sync", lambda fd: synced.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
    )
    Latch(state_dir).set("loss", "trigger")
    assert synced == ["file", "directory"]


def test_the_file_is_plain_json_that_a_person_can_read(state_dir: Path) -> None:
    Latch(state_dir).set("loss", "trigger")
    document = json.loads((state_dir / "latch.json").read_text())
    assert document["state"] == "latched" and document["reason"] == "loss" and document["t_ns"] > 0
