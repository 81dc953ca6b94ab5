"""Keeps a monitor beside the engine: starts it, starts it again where it died, and never lets it stop the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from data_controller.actions import Alert
from data_controller.config import Config
from data_controller.control import backoff_s
from data_controller.errors import ControlError
from data_controller.monitoring.process import MonitorProcess, start_monitor

_S = 1_000_000_000


class MonitorKeeper:
    """The monitor process of `state_dir`, or none where the config wants none."""

    def __init__(self, state_dir: Path, config: Config, alert: Callable[[Alert], None]) -> None:
        self.process: MonitorProcess | None = None
        self._state_dir = state_dir
        self._config = config
        self._alert = alert
        self._delays = backoff_s(1.0, 60.0)
        self._next_ns = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it serves, empty where it does not."""
        return self.process.url if self.process is not None else ""

    async def start(self) -> None:
        """Return when it answers; ControlError where it cannot start."""
        web, monitoring = self._config.web, self._config.monitoring
        if monitoring.enabled:
            self.process = await asyncio.to_thread(start_monitor, self._state_dir, web, monitoring)

    def look(self, now_ns: int) -> None:
        """Start it again where it died, with growing delays; returns at once."""
        if self.process is None or self.process.is_alive() or now_ns < self._next_ns or self._task is not None:
            return
        self._next_ns = now_ns + int(next(self._delays) * _S)
        self._alert(Alert("warning", "monitor_died", f"the monitor (pid {self.process.pid}) died; it is started again"))
        self._task = asyncio.get_running_loop().create_task(self._again())

    async def _again(self) -> None:
        try:
            await self.start()
        except (ControlError, OSError) as error:
            self._alert(Alert("warning", "monitor_died", f"the monitor cannot be started again: {error}"))
        finally:
            self._task = None

    def reload(self, config: Config) -> None:
        """Hand it reloaded settings."""
        self._config = config
        if self.process is not None:
            self.process.reload(config.web, config.monitoring)

    async def stop(self) -> None:
        """End it; idempotent."""
        if self._task is not None:
            await asyncio.wait([self._task])
        process, self.process = self.process, None
        if process is not None:
            await asyncio.to_thread(process.stop)
