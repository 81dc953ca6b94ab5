"""The monitor itself: follows the feed, looks at the machine and the latch, and answers from what it knows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from data_controller.control import AlertEvent, Feed, FeedClient
from data_controller.killswitch.latch import Latch
from data_controller.monitoring.alerts import AlertBook, AlertLog, conditions
from data_controller.monitoring.health import health, rfc3339, status_code
from data_controller.monitoring.metrics import exposition
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.monitoring.view import Machine, Rates, View

LOOK_EVERY_S = 0.25
MACHINE_EVERY_S = 1.0
RECENT_ALERTS = 50


class Monitor:
    """Everything the monitor process knows of one state directory; `run` keeps it current."""

    def __init__(self, state_dir: Path, settings: MonitoringSettings, latch: Latch) -> None:
        self.state_dir = state_dir
        self.settings = settings
        self.latch = latch
        self.client = FeedClient(state_dir, who=f"monitor:{os.getpid()}")
        self.rates = Rates(settings.rate_window_s)
        self.book = AlertBook(settings)
        self.log = AlertLog(state_dir / "logs" / "alerts.log", settings.alert_log_bytes)
        self.recent: deque[AlertEvent] = deque(maxlen=RECENT_ALERTS)
        self.feeds = 0
        self.alerts_lost = 0
        self._heard: tuple[int, int] | None = None  # the engine start whose alerts we have heard
        self._heard_id = 0
        self._machine = Machine()
        self._machine_ns = 0
        self._began_ns = time.monotonic_ns()
        self.failures = 0  # looks that ended in an error

    def apply(self, settings: MonitoringSettings) -> None:
        """Use other thresholds from now on."""
        self.settings = self.book.settings = settings
        self.rates.window_s = settings.rate_window_s
        self.log.max_bytes = settings.alert_log_bytes

    async def run(self) -> None:
        """Follow the engine and look at everything, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._look())

    async def _follow(self) -> None:
        async for feed in self.client.feeds():
            with self._surviving():
                self.take(feed, time.monotonic_ns(), time.time_ns())

    async def _look(self) -> None:
        while True:
            with self._surviving():
                self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """Go on after an error in here: nobody restarts the monitor under `run`. It is said, once, as an alert."""
        try:
            yield
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                text = f"the monitor itself failed: {error!r}"
                self._deliver([AlertEvent(id=0, t_ns=time.time_ns(), severity="critical", name="monitor", text=text)])

    def take(self, feed: Feed, mono_ns: int, now_ns: int) -> None:
        """Count one feed, and hear the alerts in it that are new."""
        self.feeds += 1
        self.rates.add(feed, mono_ns)
        start = (feed.run, feed.started_ns)
        if start != self._heard:
            self._heard, self._heard_id = start, 0
        for event in feed.alerts:
            if event.id <= self._heard_id:
                continue
            if self._heard_id:  # before the first we cannot know what was missed
                self.alerts_lost += event.id - self._heard_id - 1
            self._heard_id = event.id
            self._deliver(self.book.heard(event, now_ns))

    def look(self) -> None:
        """Raise and resolve the monitor's own alerts."""
        view = self.view()
        self._deliver(self.book.update(conditions(view, self.settings), view.now_ns))

    def _deliver(self, events: list[AlertEvent]) -> None:
        for event in events:
            self.recent.append(event)
            self.log.deliver(event)

    def view(self) -> View:
        """Everything as of now."""
        return View(
            now_ns=time.time_ns(),
            latch=self.latch.check(),
            feed=self.client.latest,
            feed_age_s=self.client.age_s(),
            connected=self.client.connected,
            error=self.client.error,
            rates=self.rates.rates(time.monotonic_ns()),
            machine=self._measure(),
            watched_s=(time.monotonic_ns() - self._began_ns) / 1e9,
            feeds=self.feeds,
            connections=self.client.connections,
            alerts_lost=self.alerts_lost,
            alerts_firing=self.book.by_severity(),
        )

    def _measure(self) -> Machine:
        now_ns = time.monotonic_ns()
        if not self._machine_ns or now_ns - self._machine_ns >= MACHINE_EVERY_S * 1e9:
            self._machine_ns = now_ns
            self._machine = measure(self.state_dir)
        return self._machine

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Body and content type of `/metrics`."""
        return exposition(self.view(), self.settings, accept)

    def health(self) -> tuple[int, bytes]:
        """HTTP status and JSON body of `/healthz`."""
        found = health(self.view(), self.settings)
        return status_code(found), msgspec.json.encode(found)

    def status(self) -> bytes:
        """JSON body of `/api/v1/status`: engine, feed, health, latch, rates, alerts."""
        view = self.view()
        found = health(view, self.settings)
        body: dict[str, Any] = {
            "time": rfc3339(view.now_ns),
            "engine": {
                "up": view.live(self.settings.feed_failed_s) is not None,
                "stale": view.feed_age_s is None or view.feed_age_s >= self.settings.feed_degraded_s,
                "feed_age_s": view.feed_age_s,
                "connected": view.connected,
                "error": view.error,
            },
            "health": found,
            "latch": view.latch,
            "rates": [
                {"exchange": exchange, "channel": channel, "frames_per_s": rate}
                for (exchange, channel), rate in view.rates.items()
            ],
            "alerts": {"firing": self.book.firing(), "recent": list(self.recent)},
            "feed": view.feed,
        }
        return msgspec.json.encode(body)


def measure(state_dir: Path) -> Machine:
    """Free disk and memory; None for what cannot be measured."""
    try:
        disk: int | None = shutil.disk_usage(state_dir).free
    except OSError:
        disk = None
    try:
        memory = psutil.virtual_memory()
        ratio: float | None = memory.available / memory.total
    except (OSError, psutil.Error, ZeroDivisionError):
        ratio = None
    return Machine(disk_free_bytes=disk, memory_free_ratio=ratio)
