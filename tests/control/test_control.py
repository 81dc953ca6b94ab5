"""Messages survive the wire, and every way an engine can be absent is one clear line."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller import control
from data_controller.control import BookStat, Feed, Histogram, Reply, decode_request, encode_feed, request
from data_controller.errors import ControlError


def test_an_empty_feed_says_closed() -> None:
    feed = Feed()
    assert (feed.mode, feed.kill.active, feed.phase) == ("HALTED", True, "starting")
    assert not BookStat(exchange="x", symbol="y").usable


def test_numbers_that_are_none_travel_as_unknown() -> None:
    feed = Feed(
        gauges={"a": math.nan, "b": math.inf, "c": 1.5},
        books=[BookStat(exchange="x", symbol="y", bid=math.nan, age_ms=-math.inf)],
        histograms={"h_seconds": Histogram([1.0], [0, 1], math.nan, 1)},
    )
    back = control._decode_feed(encode_feed(feed))
    assert back.gauges == {"a": None, "b": None, "c": 1.5}
    assert back.books[0].bid is None and back.books[0].age_ms is None
    assert back.histograms["h_seconds"].sum is None


@settings(max_examples=100, deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.integers(0, 2**63 - 1)), st.text())
def test_a_feed_is_one_line_and_comes_back_equal(text: str, counters: dict[str, int], name: str) -> None:
    feed = Feed(info={name: text}, counters=counters, components={name: text})
    line = encode_feed(feed)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert control._decode_feed(line) == feed


def test_a_newer_engine_with_fields_of_its_own_is_understood() -> None:
    assert control._decode_feed(b'{"mode":"ACTIVE","later":{"a":1}}').mode == "ACTIVE"


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"what":"dance"}', b'{"what":1}', b"\xff\xfe", b"[" * 5000])
def test_a_line_that_is_no_request_is_a_control_error(line: bytes) -> None:
    with pytest.raises(ControlError):
        decode_request(line)


def test_no_socket_reads_as_not_running_and_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"not running.*data-controller run"):
        request(tmp_path, "status")


def test_a_dead_engines_socket_reads_as_not_running_and_names_its_pid(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
    (tmp_path / "engine.lock").write_text("4711\n")
    with pytest.raises(ControlError, match="4711"):
        request(tmp_path, "status")


@pytest.fixture
def listener(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen()
        yield listener


def test_an_engine_that_does_not_answer_is_given_up_in_time(tmp_path: Path, listener: socket.socket) -> None:
    started = time.monotonic()
    with pytest.raises(ControlError, match="did not answer"):
        request(tmp_path, "status", timeout_s=0.1)
    assert time.monotonic() - started < 20  # and not for ever


def test_an_engine_that_drips_its_answer_is_given_up_in_time_too(tmp_path: Path, listener: socket.socket) -> None:
    done = threading.Event()

    def drip() -> None:
        peer, _ = listener.accept()
        with peer:
            while not done.wait(0.02):
                try:
                    peer.send(b" ")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(ControlError, match="did not answer"):
            request(tmp_path, "status", timeout_s=0.2)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("answer", [b"", b"half", b"nonsense\n", b'{"ok":"yes"}\n', b"\xff\n"])
def test_an_answer_that_is_no_reply_is_a_control_error(tmp_path: Path, listener: socket.socket, answer: bytes) -> None:
    def speak() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(1 << 16)
            peer.sendall(answer)

    thread = threading.Thread(target=speak)
    thread.start()
    with pytest.raises(ControlError):
        request(tmp_path, "status")
    thread.join()


def test_a_refusal_without_a_reason_is_still_an_error() -> None:
    with pytest.raises(ControlError):
        control._unpack(control.encode_reply(Reply(ok=False)))


def test_a_long_state_directory_gets_a_short_private_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(control.tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    long = tmp_path / ("x" * 120)
    long.mkdir()
    path = control.choose_socket_path(long)
    assert len(os.fsencode(path)) <= control.MAX_SOCKET_PATH_BYTES
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path == control.choose_socket_path(long)  # the same for the next engine there
    (long / "engine.sock.path").write_text(f"{path}\n")
    assert control.socket_path(long) == path


def test_a_runtime_directory_that_others_can_enter_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / f"data-controller-{os.getuid()}"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    long = tmp_path / ("x" * 120)
    long.mkdir()
    assert control.choose_socket_path(long).parent != planted
    (long / "engine.sock.path").write_text(str(planted / "a.sock"))
    with pytest.raises(ControlError, match="mode 700"):
        control.socket_path(long)


def test_backoff_grows_to_its_cap() -> None:
    delays = control.backoff_s(0.1, 1.0)
    assert [next(delays) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
