"""The monitor takes feeds and alerts one by one, loses none, and survives its own errors."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from data_controller.control import ALERTS_KEPT, AlertEvent
from data_controller.killswitch.latch import Latch, prepare
from data_controller.monitoring.monitor import Monitor
from data_controller.monitoring.settings import MonitoringSettings

from .views import feed


@pytest.fixture
def monitor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Monitor:
    prepare(tmp_path)
    return Monitor(tmp_path, MonitoringSettings(), Latch(tmp_path))


def alert(number: int) -> AlertEvent:
    return AlertEvent(id=number, t_ns=0, severity="info", name=f"name {number}", text="")


def names(monitor: Monitor) -> list[str]:
    return [event.name for event in monitor.recent]


def test_an_alert_repeated_in_every_feed_is_heard_once(monitor: Monitor) -> None:
    for i in range(5):
        monitor.take(feed(alerts=[alert(n) for n in range(1, i + 2)]), i, i)
    assert names(monitor) == [f"name {n}" for n in range(1, 6)] and monitor.alerts_lost == 0


def test_alerts_that_came_and_went_between_two_feeds_are_counted(monitor: Monitor) -> None:
    monitor.take(feed(alerts=[alert(1)]), 0, 0)
    monitor.take(feed(alerts=[alert(n) for n in range(200, 200 + ALERTS_KEPT)]), 1, 1)
    assert monitor.alerts_lost == 198


def test_a_new_run_counts_its_alerts_from_one_again(monitor: Monitor) -> None:
    monitor.take(feed(run=1, alerts=[alert(7)]), 0, 0)
    monitor.take(feed(run=2, alerts=[alert(1)]), 1, 1)
    assert names(monitor) == ["name 7", "name 1"] and monitor.alerts_lost == 0


def test_an_error_in_a_look_is_an_alert_once_and_not_the_end(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("division")

    monkeypatch.setattr(monitor, "view", broken)
    for _ in range(3):
        with monitor._surviving():
            monitor.look()
    assert monitor.failures == 3 and names(monitor) == ["monitor"]


def test_status_is_json_with_and_without_an_engine(monitor: Monitor) -> None:
    alone = json.loads(monitor.status())
    assert alone["feed"] is None and not alone["engine"]["up"] and alone["health"]["overall"] == "failed"
    monitor.client.latest, monitor.client.received_ns = feed(), time.monotonic_ns()
    known = json.loads(monitor.status())
    assert known["engine"]["up"] and known["feed"]["mode"] == "ACTIVE" and known["latch"]["state"] == "clear"


def test_ten_thousand_feeds_and_scrapes_between_them_leak_nothing(monitor: Monitor) -> None:
    one = feed(alerts=[alert(1)])
    before = 0
    for i in range(10_500):
        monitor.take(one, i * 100_000_000, i)
        if i % 500 == 0:
            monitor.look()
            monitor.metrics("")
        if i == 500:
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000 and monitor.feeds == 10_500
