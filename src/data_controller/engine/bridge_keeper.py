"""Keeps the ccxt bridge beside the engine where the config names `exchanges.ccxt`: started, started again, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from data_controller.actions import Alert
from data_controller.bridge.process import BridgeProcess, start_bridge
from data_controller.config import Config
from data_controller.control import backoff_s
from data_controller.errors import ControlError

_S = 1_000_000_000


class BridgeKeeper:
    """The bridge process of a config, or none where it wants none."""

    def __init__(self, config: Config, alert: Callable[[Alert], None]) -> None:
        self.process: BridgeProcess | None = None
        self._settings = config.exchanges.ccxt
        self._alert = alert
        self._delays = backoff_s(0.5, 60.0)
        self._next_ns = 0
        self._task: asyncio.Task[None] | None = None

    def look(self, now_ns: int) -> None:
        """Start it where it is wanted and not there, with growing delays; returns at once."""
        alive = self.process is not None and self.process.is_alive()
        if self._settings is None or alive or now_ns < self._next_ns or self._task is not None:
            return
        self._next_ns = now_ns + int(next(self._delays) * _S)
        if self.process is not None:
            self._alert(
                Alert("warning", "bridge_died", f"the ccxt bridge (pid {self.process.pid}) died: started again")
            )
            self.process.stop()
            self.process = None
        self._task = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        settings = self._settings
        assert settings is not None
        try:
            self.process = await asyncio.to_thread(
                start_bridge, settings.port, settings.rest_urls, settings.socket_urls
            )
        except (ControlError, OSError) as error:
            self._alert(Alert("critical", "bridge_not_started", f"no ccxt exchange can be heard: {error}"))
        finally:
            self._task = None

    async def stop(self) -> None:
        """End it; idempotent."""
        self._settings = None
        if self._task is not None:
            await asyncio.wait([self._task])
        process, self.process = self.process, None
        if process is not None:
            await asyncio.to_thread(process.stop)
