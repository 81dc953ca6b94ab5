"""Health is the worst of its components; what a silent engine last said counts as failed."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from data_controller.control import BookStat, ChannelStat, KillStat, QueueStat
from data_controller.monitoring.health import findings, health, rfc3339, status_code
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.monitoring.view import Machine, View

from .views import LATCHED, NOW_NS, feed, view

LIMITS = MonitoringSettings()
GIB = 1 << 30


def states(seen: View) -> dict[str, str]:
    return {name: finding.state for name, finding in findings(seen, LIMITS).items()}


def test_a_healthy_system_is_ok_in_every_component() -> None:
    found = health(view(), LIMITS)
    assert found.overall == "ok" and set(found.components.values()) == {"ok"} and status_code(found) == 200
    assert {
        "engine", "latch", "disk", "memory", "event_loop", "journal", "prediction", "mode", "queues",
        "connection/bitfinex/0", "books/bitfinex",
    } <= set(found.components)  # fmt: skip


def test_the_answer_has_the_agreed_shape() -> None:
    found = msgspec.json.decode(msgspec.json.encode(health(view(), LIMITS)))
    assert set(found) == {"overall", "components", "timestamp", "details"}
    assert all(isinstance(state, str) for state in found["components"].values())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["timestamp"])
    assert found["details"]["feed"]["phase"] == "live"


def test_time_is_written_as_rfc_3339() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(NOW_NS) == "2026-09-21T14:13:20.123Z"


def late(channel: str, seconds: float | None) -> ChannelStat:
    late_ms = None if seconds is None else seconds * 1e3
    return ChannelStat(exchange="bitfinex", channel=channel, frames=1, events=1, late_ms=late_ms)


BROKEN = BookStat(exchange="bitfinex", symbol="tX", proof="BROKEN")


@pytest.mark.parametrize(
    ("changes", "component", "state"),
    [
        ({"feed_age_s": 1.0}, "engine", "degraded"),
        ({"feed_age_s": 5.0}, "engine", "failed"),
        ({"connected": False}, "engine", "degraded"),
        ({"feed": None, "feed_age_s": None}, "engine", "failed"),
        ({"feed": feed(phase="starting")}, "engine", "degraded"),
        ({"feed": feed(phase="prehistory")}, "engine", "ok"),
        ({"latch": LATCHED}, "latch", "degraded"),
        ({"feed": feed(mode="REDUCING")}, "mode", "degraded"),
        ({"feed": feed(mode="HALTED", kill=KillStat())}, "mode", "degraded"),
        ({"machine": Machine(5 * GIB - 1, 0.5)}, "disk", "degraded"),
        ({"machine": Machine(GIB - 1, 0.5)}, "disk", "failed"),
        ({"machine": Machine(None, 0.5)}, "disk", "degraded"),
        ({"machine": Machine(100 * GIB, 0.09)}, "memory", "degraded"),
        ({"machine": Machine(100 * GIB, 0.02)}, "memory", "failed"),
        ({"feed": feed(gauges={"loop_lag_seconds": 0.05})}, "event_loop", "degraded"),
        ({"feed": feed(gauges={"loop_lag_seconds": 1.0})}, "event_loop", "failed"),
        ({"feed": feed(gauges={"loop_lag_seconds": None})}, "event_loop", "degraded"),
        ({"feed": feed(gauges={})}, "event_loop", "degraded"),
        ({"feed": feed(queues=[QueueStat(name="q", depth=8, peak=8, capacity=10)])}, "queues", "degraded"),
        ({"feed": feed(queues=[QueueStat(name="q", depth=7, peak=10, capacity=10)])}, "queues", "ok"),
        ({"feed": feed(books=[*feed().books, BROKEN])}, "books/bitfinex", "degraded"),
        ({"feed": feed(books=[BROKEN])}, "books/bitfinex", "failed"),
        ({"feed": feed(books=[BROKEN], phase="starting")}, "books/bitfinex", "degraded"),
        ({"feed": feed(channels=[late("book", 29.9), late("trades", 40.0)])}, "clock/bitfinex", "ok"),
        ({"feed": feed(channels=[late("book", -30.0), late("trades", None)])}, "clock/bitfinex", "degraded"),
        ({"feed": feed(channels=[late("book", 1e9)])}, "clock/bitfinex", "degraded"),
        ({"feed": feed(components={"journal": "failed: disk full"})}, "journal", "failed"),
        ({"feed": feed(components={"journal": "splendid"})}, "journal", "degraded"),
        ({"feed": feed(components={})}, "prediction", "degraded"),
        ({"feed": feed(components={**feed().components, "disk": "failed: errors"})}, "disk", "failed"),
        ({"feed": feed(components={**feed().components, "mode": "ok"}, mode="HALTED")}, "mode", "degraded"),
    ],
)
def test_each_trouble_shows_in_its_component(changes: dict[str, Any], component: str, state: str) -> None:
    found = health(view(**changes), LIMITS)
    assert found.components[component] == state
    if state != "ok":
        assert found.overall == max(found.components.values(), key=["ok", "degraded", "failed"].index)


def test_failed_is_503_and_degraded_is_not() -> None:
    assert status_code(health(view(latch=LATCHED), LIMITS)) == 200
    assert status_code(health(view(feed_age_s=60.0), LIMITS)) == 503


def test_a_silent_engines_last_words_are_not_believed() -> None:
    found = states(view(feed_age_s=60.0))
    assert found.pop("latch") == found.pop("disk") == found.pop("memory") == "ok"
    assert set(found.values()) == {"failed"}


def test_a_hot_limit_moves_the_verdict() -> None:
    strict = MonitoringSettings(feed_degraded_s=0.01, feed_failed_s=0.05)
    assert health(view(), strict).overall == "failed"


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="feed"):
        MonitoringSettings(feed_degraded_s=9, feed_failed_s=5)
    with pytest.raises(ValueError, match="disk_free"):
        MonitoringSettings(disk_free_degraded_bytes=1, disk_free_failed_bytes=2)
