"""The real monitor beside a real (small) engine: it serves, survives the engine, obeys kill, and never leaks."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from data_controller.control import request
from data_controller.errors import ControlError
from data_controller.killswitch.latch import Latch, prepare
from data_controller.monitoring.process import MonitorProcess, read_info, start_monitor
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.web.settings import WebSettings

FAKE = Path(__file__).with_name("fake_engine.py")
ENV = {**os.environ, "PYTHONPATH": "src"}
FAST = MonitoringSettings(
    feed_degraded_s=0.5, feed_failed_s=1.0, alert_resolve_s=0.2, rate_window_s=1, disk_free_degraded_bytes=0,
    disk_free_failed_bytes=0, memory_free_degraded_ratio=0, memory_free_failed_ratio=0,
)  # fmt: skip


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never came"
        time.sleep(0.01)
    return found


class Bench:
    """A state directory with its engine and monitor, and a client that holds the token."""

    def __init__(self, state_dir: Path) -> None:
        prepare(state_dir)
        self.state_dir = state_dir
        self.engine: subprocess.Popen[bytes] | None = None
        self.monitor = start_monitor(state_dir, monitoring=FAST, stderr=subprocess.DEVNULL)
        token = (state_dir / "token").read_text().strip()
        self.client = httpx.Client(base_url=self.monitor.url, headers={"Authorization": f"Bearer {token}"}, timeout=40)

    def start_engine(self) -> None:
        self.engine = subprocess.Popen([sys.executable, FAKE, self.state_dir], env=ENV)
        until(lambda: self.status()["engine"]["up"])

    def status(self) -> dict[str, Any]:
        return self.client.get("/api/v1/status").raise_for_status().json()

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        text = self.client.get("/metrics").raise_for_status().text
        families = text_string_to_metric_families(text)
        return {tuple(s.labels.values()): s.value for f in families for s in f.samples if s.name == name}

    def end_engine(self) -> None:
        if self.engine is not None:
            self.engine.send_signal(signal.SIGCONT)
            self.engine.kill()
            self.engine.wait()

    def close(self) -> None:
        self.end_engine()
        self.client.close()
        self.monitor.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "state")
    try:
        yield bench
    finally:
        bench.close()


def test_it_serves_what_the_engine_says(bench: Bench) -> None:
    assert bench.client.get("/healthz").status_code == 503  # no engine yet
    bench.start_engine()
    health = until(lambda: (a := bench.client.get("/healthz")).status_code == 200 and a.json())
    assert {"engine", "latch", "connection/bitfinex/0", "books/bitfinex", "event_loop"} <= set(health["components"])
    until(lambda: sum(bench.metric("data_controller_ingest_rate").values()) > 1000)
    assert ("bitfinex", "book") in {k[::-1] for k in bench.metric("data_controller_ingest_rate")}
    assert bench.metric("prediction_latency_seconds_count")[()] > 0
    assert bench.metric("kill_switch_active") == {(): 0}
    assert bench.metric("data_controller_engine_up") == {(): 1}
    assert bench.status()["feed"]["pid"] == bench.engine.pid  # type: ignore[union-attr]
    assert "<title>data_controller</title>" in bench.client.get("/").text


def test_kill_works_while_the_engine_is_stopped_and_is_seen_everywhere(bench: Bench) -> None:
    bench.start_engine()
    assert bench.engine is not None
    bench.engine.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    answer = bench.client.post("/api/v1/kill", json={"reason": "drill"})
    assert time.monotonic() - started < 30  # it does not wait for the engine to go on
    assert answer.status_code == 200 and answer.json()["latched"] and "did not answer" in answer.json()["engine"]
    assert Latch(bench.state_dir).read().reason == "drill"
    assert bench.metric("kill_switch_active") == {(): 1}
    until(lambda: bench.client.get("/healthz").status_code == 503)
    bench.engine.send_signal(signal.SIGCONT)
    until(lambda: bench.status()["engine"]["up"] and bench.status()["feed"]["mode"] == "HALTED")
    assert bench.client.post("/api/v1/resume", json={"reason": "drill over"}).status_code == 200
    until(lambda: bench.status()["feed"]["mode"] == "ACTIVE")
    assert bench.metric("kill_switch_active") == {(): 0}


def test_kill_gets_through_while_every_other_request_hangs_on_a_stopped_engine(bench: Bench) -> None:
    bench.start_engine()
    assert bench.engine is not None
    bench.engine.send_signal(signal.SIGSTOP)
    port = httpx.URL(bench.monitor.url).port
    lines = f"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bench.client.headers['authorization']}"
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for one in waiting:
        one.sendall(lines.encode() + b"\r\nContent-Length: 0\r\n\r\n")
    assert bench.client.post("/api/v1/kill", json={"reason": "drill"}).json()["latched"]
    assert bench.monitor.stop() == 0  # nor do they hold up its end
    for one in waiting:
        one.close()


def test_a_file_named_kill_is_enough(bench: Bench) -> None:
    (bench.state_dir / "KILL").touch()
    until(lambda: bench.metric("kill_switch_active") == {(): 1})
    assert bench.status()["latch"]["state"] == "latched"


def test_it_outlives_the_engine_and_follows_the_next_one(bench: Bench) -> None:
    bench.start_engine()
    bench.end_engine()
    until(lambda: bench.client.get("/healthz").status_code == 503)
    until(lambda: bench.metric("data_controller_engine_up") == {(): 0})
    assert set(bench.metric("data_controller_ingest_rate").values()) == {0}
    assert bench.metric("data_controller_frames_total") == {}
    assert "not running" in bench.status()["engine"]["error"]
    alerts = (bench.state_dir / "logs" / "alerts.log").read_text()
    assert '"health/engine"' in alerts
    bench.start_engine()
    until(lambda: bench.client.get("/healthz").status_code == 200)


def test_reload_stop_and_their_refusals_reach_the_engine(bench: Bench) -> None:
    bench.start_engine()
    refused = bench.client.post("/api/v1/reload")
    assert refused.status_code == 409 and "book_length" in refused.json()["error"]
    assert bench.client.post("/api/v1/stop").status_code == 200
    assert bench.engine is not None and bench.engine.wait(10) == 0
    assert bench.client.post("/api/v1/stop").status_code == 409


def test_wrong_tokens_hosts_and_origins_are_refused_over_the_wire(bench: Bench) -> None:
    for headers, status in (
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
    ):
        assert bench.client.post("/api/v1/kill", headers=headers).status_code == status
    assert not Latch(bench.state_dir).read().active


def test_only_loopback_listens_and_files_are_owner_only(bench: Bench) -> None:
    listening = [c for c in psutil.Process(bench.monitor.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [c.laddr.ip for c in listening] == ["127.0.0.1"]
    for path in bench.state_dir.iterdir():
        assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path


def test_a_second_monitor_takes_over_when_started_and_is_refused_by_hand(bench: Bench) -> None:
    by_hand = subprocess.run(
        [sys.executable, "-m", "data_controller.monitoring", "--state-dir", bench.state_dir],
        env=ENV, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert by_hand.returncode == 2 and str(bench.monitor.pid) in by_hand.stderr
    with start_monitor(bench.state_dir, stderr=subprocess.DEVNULL) as second:
        assert bench.monitor.stop() == 0
        assert httpx.get(second.url + "healthz").status_code == 503
        info = read_info(bench.state_dir)
        assert info is not None and (info.url, info.pid) == (second.url, second.pid)


def test_stop_ends_it_in_order_and_leaves_no_process(tmp_path: Path) -> None:
    prepare(tmp_path)
    monitor = start_monitor(tmp_path, stderr=subprocess.DEVNULL)
    assert monitor.is_alive() and psutil.pid_exists(monitor.pid)
    with socket.create_connection(("127.0.0.1", httpx.URL(monitor.url).port)):  # an idle client holds up nothing
        assert monitor.stop() == 0
    assert not monitor.is_alive() and not psutil.pid_exists(monitor.pid)
    assert monitor.stop() == 0


def test_a_stopped_monitor_is_killed_after_its_time(tmp_path: Path) -> None:
    prepare(tmp_path)
    monitor = start_monitor(tmp_path, stderr=subprocess.DEVNULL)
    os.kill(monitor.pid, signal.SIGSTOP)
    assert monitor.stop(timeout_s=0.2) == -signal.SIGKILL


def test_orphaned_without_an_engine_it_ends_after_lingering(tmp_path: Path) -> None:
    prepare(tmp_path)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from data_controller.monitoring.process import start_monitor\n"
        "from data_controller.monitoring.settings import MonitoringSettings\n"
        "m = start_monitor(Path(sys.argv[1]), monitoring=MonitoringSettings(linger_s=0.5), stderr=-3)\n"
        "print(m.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=ENV, stdout=subprocess.PIPE, timeout=120)
    pid = int(done.stdout)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_hot_settings_reach_a_running_monitor(bench: Bench) -> None:
    bench.start_engine()
    until(lambda: bench.client.get("/healthz").status_code == 200)
    strict = FAST.model_copy(update={"disk_free_degraded_bytes": 1 << 60, "disk_free_failed_bytes": 1 << 60})
    bench.monitor.reload(WebSettings(), strict)
    until(lambda: bench.client.get("/healthz").json()["components"]["disk"] == "failed")
    (bench.state_dir / "monitor.settings.json").write_text("{")
    os.kill(bench.monitor.pid, signal.SIGHUP)  # a broken file changes nothing
    assert bench.client.get("/healthz").json()["components"]["disk"] == "failed"


def test_a_start_that_cannot_work_says_why(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"did not start.*token"):
        prepare(tmp_path)
        (tmp_path / "token").write_text("short")
        start_monitor(tmp_path, stderr=subprocess.DEVNULL)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ControlError, match=r"web\.port"):
        (tmp_path / "token").unlink()
        start_monitor(tmp_path, WebSettings(port=taken.getsockname()[1]), stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_it_refuses_to_start(tmp_path: Path, host: str) -> None:
    prepare(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "data_controller.monitoring", "--state-dir", tmp_path, "--host", host],
        env=ENV, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and "loopback" in done.stderr


def test_it_makes_no_state_directory_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "data_controller.monitoring", "--state-dir", tmp_path / "none"],
        env=ENV, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and not (tmp_path / "none").exists()


def test_the_engine_can_be_asked_past_the_monitor(bench: Bench) -> None:
    bench.start_engine()
    assert request(bench.state_dir, "status")["pulses"] > 0


def test_the_login_address_keeps_its_token_in_the_fragment(bench: Bench) -> None:
    monitor: MonitorProcess = bench.monitor
    address, _, fragment = monitor.login_url.partition("#")
    assert address == monitor.url and fragment.startswith("token=")
