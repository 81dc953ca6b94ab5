"""The live engine as people meet it: real processes, real sockets, real signals."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_controller import control
from data_controller.cli.summary import KEYS
from data_controller.config import parse
from data_controller.engine import live
from data_controller.engine.clock import Clock
from data_controller.engine.live import LiveEngine, run
from data_controller.engine.replay import replay
from data_controller.engine.verify import verify
from data_controller.errors import ControlError
from data_controller.journal import info
from data_controller.killswitch.latch import Latch
from data_controller.lake.tables import read_table
from data_controller.monitoring.process import read_info
from data_controller.records import Kind
from tests.engine.processes import START_S, Engine, config_tree, until, write_config
from tests.simulator.simulator_process import Process

pytestmark = pytest.mark.slow

OK, FAILED, LATCHED = 0, 1, 4


@pytest.fixture(scope="module")
def exchange() -> Iterator[Process]:
    """A simulated exchange without a limit on connections, for all tests."""
    process = Process("--instruments", "2", "--ticks-per-second", "300", "--seed", "7", "--connections-per-minute", "0")
    yield process
    process.end()


@pytest.fixture
def write(tmp_path: Path, exchange: Process, swift: Path) -> Callable[..., Path]:
    """A config file of a new state directory; keyword arguments change sections."""
    return lambda **changes: write_config(
        tmp_path / "c.yaml", config_tree(tmp_path / "state", exchange.port, swift, **changes)
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, exchange: Process, swift: Path) -> Iterator[Engine]:
    """One engine for the tests that leave it as it was; at the end SIGTERM ends it in order."""
    folder = tmp_path_factory.mktemp("shared")
    config = write_config(folder / "c.yaml", config_tree(folder / "state", exchange.port, swift))
    with Engine(config) as running:
        running.live()
        yield running
        code, summary = running.end(signal.SIGTERM)
        assert (code, summary["stopped_by"]) == (OK, "SIGTERM")
        assert summary["digest"] == replay([running.state / "journal"])["digest"]


def entries(status: dict[str, Any]) -> int:
    return int(status["counters"]["trading_orders_entry"])


def test_a_run_says_what_it_did_and_its_replay_says_the_same(write: Callable[..., Path], tmp_path: Path) -> None:
    code, summary = Engine(write(), "--for", "4s").end(None)
    assert code == OK
    assert set(KEYS) <= set(summary)
    assert summary["books_proved"] == summary["books"] == 2
    assert summary["checksums_bad"] == summary["sequence_gaps"] == summary["resyncs"] == 0
    for key in ("frames", "events", "checksums_ok", "feature_rows", "predictions", "decisions", "orders", "fills"):
        assert summary[key] > 0, key
    assert summary["wire_to_decision_us"]["p50"] > 0
    assert (summary["stopped_by"], summary["journal_ok"], summary["latched"]) == ("time", True, False)

    again = replay([tmp_path / "state" / "journal"], out=tmp_path / "again")
    assert again["digest"] == summary["digest"]
    assert again["predictions_differ"] == 0
    for table in ("features", "predictions", "audit", "fills"):
        live, replayed = read_table(tmp_path / "state" / "tables", table), read_table(tmp_path / "again", table)
        assert live.num_rows == replayed.num_rows > 0
        assert repr(live.to_pylist()) == repr(replayed.to_pylist()), table  # NaN equals itself in print only


def test_a_run_that_only_records_proves_books_and_decides_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    code, summary = Engine(write(), "--for", "4s", "--record-only").end(None)
    assert code == OK
    assert summary["books_proved"] == 2 and summary["checksums_ok"] > 0
    assert summary["feature_rows"] == summary["predictions"] == summary["decisions"] == 0
    journal = [tmp_path / "state" / "journal"]
    assert replay(journal)["digest"] == summary["digest"]
    assert verify(journal)["ok"]


def test_status_and_health_say_that_all_is_well(engine: Engine) -> None:
    status = engine.live()
    assert (status["mode"], status["kill"]["active"], status["pid"]) == ("ACTIVE", False, engine.pid)

    def healthy() -> dict[str, Any]:
        code, body = engine.get("/healthz")
        found = json.loads(body) if body else {}
        return found if code == 200 and found["overall"] == "ok" else {}

    health = until(healthy, f"an overall ok; last: {engine.get('/healthz')}")
    assert set(health["components"].values()) == {"ok"}
    assert {"engine", "journal", "prediction", "books/bitfinex", "event_loop", "latch"} <= set(health["components"])


def test_metrics_count_what_happens(engine: Engine) -> None:
    engine.live()

    def figures() -> dict[str, float]:
        code, body = engine.get("/metrics")
        rows = (line.rsplit(" ", 1) for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows} if code == 200 else {}

    growing = ["data_controller_frames_total", "prediction_latency_seconds_count", "data_controller_records_total"]
    rate = 'data_controller_ingest_rate{channel="book",exchange="bitfinex"}'
    first = until(lambda: (found := figures()) and found.get(rate, 0) > 10 and found, "an ingest rate")
    later = until(
        lambda: (found := figures()) and all(found.get(name, 0) > first.get(name, 0) for name in growing) and found,
        f"all of {growing} to grow",
    )
    assert later["kill_switch_active"] == 0
    assert later['data_controller_checksums_total{result="ok"}'] > 0
    assert later['data_controller_checksums_total{result="bad"}'] == 0
    assert later["data_controller_rss_bytes"] > 50e6
    assert 0 <= later["data_controller_journal_lag_seconds"] < 10
    assert abs(later["data_controller_clock_offset_seconds"]) < 1
    assert later["data_controller_records_total"] > later["data_controller_frames_total"]
    for name in ("wire_to_decision", "step", "tick_slice", "journal_fsync"):
        assert later[f"data_controller_{name}_seconds_count"] > 0


def test_a_reload_swaps_hot_keys_refuses_others_by_name_and_keeps_the_old_tree_over_a_broken_file(
    engine: Engine,
) -> None:
    engine.live()
    good = engine.config.read_text()
    tree = json.loads(good)
    try:
        tree["trading"]["stake_quote"] = 50.0
        write_config(engine.config, tree)
        before = control.request(engine.state, "status", {})["info"]["config"]
        swapped = control.request(engine.state, "reload", {})
        assert swapped["reloaded"] and not swapped["config"].startswith(before)

        tree["features"] = {"grid_interval_s": 2}
        write_config(engine.config, tree)
        with pytest.raises(ControlError, match=r"`features\.grid_interval_s`"):
            control.request(engine.state, "reload", {})

        engine.config.write_text("trading: {stake_quot: 3}")
        with pytest.raises(ControlError, match=r"stake_quot.*stake_quote"):
            control.request(engine.state, "reload", {})
        engine.until(lambda s: s["mode"] == "ACTIVE", "it runs as before")
    finally:
        engine.config.write_text(good)


def test_an_instrument_goes_and_comes_back_while_it_runs_and_the_other_book_is_not_touched(engine: Engine) -> None:
    engine.live()

    def book(status: dict[str, Any], symbol: str) -> dict[str, Any]:
        found: dict[str, Any] = next(b for b in status["books"] if b["symbol"] == symbol)
        return found

    before = book(engine.status(), "tBTCUSD")
    asked = {"exchange": "bitfinex", "instrument": "tETHUSD"}
    assert control.request(engine.state, "unsubscribe", asked)["reloaded"]
    engine.until(lambda s: not book(s, "tETHUSD")["usable"], "a book given up")
    with pytest.raises(ControlError, match="expected one of its instruments"):
        control.request(engine.state, "unsubscribe", asked)
    assert control.request(engine.state, "subscribe", asked)["reloaded"]
    after = engine.until(lambda s: book(s, "tETHUSD")["proof"] == "PROVED" and s, "a book proved anew")
    with pytest.raises(ControlError, match="expected an exchange"):
        control.request(engine.state, "subscribe", {"exchange": "nowhere", "instrument": "X"})
    untouched = ("gaps", "resyncs", "checks_bad")
    assert [book(after, "tBTCUSD")[key] for key in untouched] == [before[key] for key in untouched]
    engine.until(lambda s: book(s, "tBTCUSD")["checks_ok"] > before["checks_ok"], "a checksum after that")


def test_sighup_reloads_and_says_why_not(engine: Engine) -> None:
    engine.live()
    good = engine.config.read_text()
    hash_before = engine.status()["info"]["config"]
    try:
        engine.config.write_text("nonsense: true")
        engine.process.send_signal(signal.SIGHUP)
        status = engine.until(lambda s: any(a["name"] == "reload_refused" for a in s["alerts"]), "a refusal")
        text = next(a["text"] for a in status["alerts"] if a["name"] == "reload_refused")
        assert "nonsense" in text
        assert status["info"]["config"] == hash_before
        tree = json.loads(good)
        tree["trading"]["stake_quote"] = 70.0
        write_config(engine.config, tree)
        engine.process.send_signal(signal.SIGHUP)
        engine.until(lambda s: s["info"]["config"] != hash_before, "the new tree")
    finally:
        engine.config.write_text(good)


def test_a_second_engine_on_the_same_state_is_refused_with_the_holders_pid(engine: Engine) -> None:
    engine.live()
    second = subprocess.run(
        [sys.executable, "-P", "-m", "data_controller", "run", "-c", str(engine.config), "--for", "1s"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2] / "src"), "COLUMNS": "500"},
        timeout=START_S,
        check=False,
    )
    assert second.returncode != OK
    assert f"pid {engine.pid}" in second.stderr.decode()
    assert engine.status()["pid"] == engine.pid


def test_trading_goes_on_while_a_dead_monitor_is_started_again(engine: Engine) -> None:
    before = engine.live()
    first = read_info(engine.state)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    engine.until(lambda s: s["counters"]["decisions"] > before["counters"]["decisions"], "further decisions")

    def again() -> bool:
        now = read_info(engine.state)
        return now is not None and now.pid != first.pid and engine.get("/healthz")[0] == 200

    until(again, "a new monitor")
    assert any(alert["name"] == "monitor_died" for alert in engine.status()["alerts"])


def test_kill_latches_lets_positions_only_shrink_and_survives_a_restart(write: Callable[..., Path]) -> None:
    config = write()
    with Engine(config) as engine:
        engine.until(lambda s: s.get("counters", {}).get("trading_orders_entry", 0) > 0, "Live, with an entry")
        control.request(engine.state, "kill", {"reason": "enough"})
        assert Latch(engine.state).read().reason == "enough"
        latched = engine.until(lambda s: s["mode"] == "REDUCING", "no more than reducing")
        count, ticks = entries(latched), latched["counters"]["ticks"]
        later = engine.until(lambda s: s["counters"]["ticks"] >= ticks + 3, "further ticks")
        assert entries(later) == count
        assert later["counters"]["predictions"] > latched["counters"]["predictions"]
        assert later["kill"]["reason"] == "enough"
        control.request(engine.state, "stop", {})
        code, summary = engine.end(None)
        assert (code, summary["latched"]) == (LATCHED, True)
        assert summary["digest"] == replay([engine.state / "journal"])["digest"]

    code, summary = Engine(config, "--for", "1s").end(None)
    assert (code, summary["latched"]) == (LATCHED, True)
    Latch(engine.state).path.unlink()
    code, summary = Engine(config, "--for", "1s").end(None)
    assert (code, summary["latched"]) == (LATCHED, True), "a missing latch in an existing directory is latched"


def test_a_kill_file_is_found_and_resume_lets_trading_go_on(write: Callable[..., Path]) -> None:
    with Engine(write()) as engine:
        engine.live()
        (engine.state / "KILL").touch()
        engine.until(lambda s: s["mode"] == "REDUCING", "latched by a file")
        with pytest.raises(ControlError, match="KILL"):
            control.request(engine.state, "resume", {"reason": "looked"})
        (engine.state / "KILL").unlink()
        control.request(engine.state, "resume", {"reason": "looked"})
        count = entries(engine.until(lambda s: s["mode"] == "ACTIVE", "active again"))
        engine.until(lambda s: entries(s) > count, "further entries")
        engine.process.send_signal(signal.SIGUSR1)
        engine.until(lambda s: s["kill"]["active"], "latched by a signal")
        assert engine.end()[0] == LATCHED


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limits can be set on Linux only")
def test_a_journal_that_cannot_be_written_means_no_new_risk_and_leaves_what_it_holds(
    write: Callable[..., Path],
) -> None:
    with Engine(write()) as engine:
        engine.until(
            lambda s: s["counters"].get("trading_orders_entry", 0) > 0 and s["counters"]["records"] > 500,
            "Live, with an entry and some records",
        )
        written = max(path.stat().st_size for path in (engine.state / "journal").glob("*.arrows*"))
        _, hard = resource.prlimit(engine.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, (written + 100, hard))
        halted = engine.until(lambda s: s["mode"] == "HALTED", "halted")
        assert any(a["name"] == "journal_failed" and a["severity"] == "critical" for a in halted["alerts"])
        assert halted["components"]["journal"].startswith("failed")
        count, ticks = entries(halted), halted["counters"]["ticks"]
        later = engine.until(lambda s: s["counters"]["ticks"] >= ticks + 3, "it goes on all the same")
        assert entries(later) == count
        assert until(lambda: engine.get("/healthz")[0] == 503, "health has failed")
        code, summary = engine.end()
        assert (code, summary["journal_ok"]) == (FAILED, False)
    held = info([engine.state / "journal"])
    assert held.by_kind[Kind.FRAME] > 0
    assert [d for d in held.damages if "torn tail" not in d.reason] == []
    assert Engine(engine.config, "--for", "1s").end(None)[0] == OK
    assert verify([engine.state / "journal"])["ok"]


def test_garbage_of_all_ages_is_collected_now_and_then_and_never_while_frames_pour_in(
    tmp_path: Path, exchange: Process, swift: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LiveEngine(parse(config_tree(tmp_path / "state", exchange.port, swift)))
    collected: list[int] = []
    monkeypatch.setattr(live.gc, "collect", lambda: collected.append(engine._frames_before))
    counters = {"frames": 0}
    engine.pipeline = SimpleNamespace(counters=counters)  # type: ignore[assignment]
    engine._next_collect_ns = live.COLLECT_EVERY_NS
    for now_ns, frames in ((1, 0), (live.COLLECT_EVERY_NS, 5000), (live.COLLECT_EVERY_NS + 1, 5001)):
        counters["frames"] = frames
        engine._collect(now_ns)
    engine._collect(live.COLLECT_EVERY_NS + 2)
    assert collected == [5001]


def test_a_step_of_the_wall_clock_ends_a_run_and_starts_another(tmp_path: Path, exchange: Process, swift: Path) -> None:
    stepped_ns = 0
    seen: list[str] = []
    engines: list[int] = []  # how many there are whenever one is ready

    def on_event(event: dict[str, Any]) -> None:
        nonlocal stepped_ns
        seen.append(event["event"])
        if event["event"] == "ready":
            gc.collect()
            engines.append(sum(type(thing) is LiveEngine for thing in gc.get_objects()))
        if event["event"] == "proved":
            stepped_ns = 3_600 * 10**9

    def make_clock(**limits: Any) -> Clock:
        return Clock(lambda: time.time_ns() + stepped_ns, time.monotonic_ns, **limits)

    tree = config_tree(tmp_path / "state", exchange.port, swift, monitoring={"enabled": False})
    summary = run(parse(tree), for_s=6.0, on_event=on_event, make_clock=make_clock)
    assert (summary["starts"], summary["stopped_by"]) == (2, "time")
    assert seen.count("live") == 2
    assert engines == [1, 1]
    assert summary["books_proved"] == 2
    again = replay([tmp_path / "state" / "journal"])
    assert again["digest"] == summary["digest"]
    assert again["frames"] == summary["frames"] > 0
    held = info([tmp_path / "state" / "journal"])
    assert held.last_recv_ns - held.first_recv_ns > 3_599 * 10**9
    assert held.damages == []
