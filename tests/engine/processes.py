"""A live engine in a process of its own, against a simulated exchange in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from data_controller import control
from data_controller.errors import ControlError
from data_controller.monitoring.process import read_info

SOURCE = Path(__file__).parents[2] / "src"
START_S = 240.0
"""Kernels that are not compiled yet cost minutes."""
DEADLINE_S = 90.0

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"expected within {deadline_s:g} s: {what}"
        time.sleep(0.02)
    return found


def config_tree(state_dir: Path, port: int, bundle: Path, **changes: Any) -> dict[str, Any]:
    """A config that trades often, at once, and for nothing."""
    tree: dict[str, Any] = {
        "state_dir": str(state_dir),
        "exchanges": {
            "bitfinex": {
                "url": f"ws://127.0.0.1:{port}/ws/2",
                "instruments": ["tBTCUSD", "tETHUSD"],
                "books": [{"precision": "P0", "length": 25}],
            }
        },
        "prediction": {"bundle": str(bundle)},
        "trading": {"fee_bps": 0.0, "min_edge_bps": 0.0, "stop_bps": 2.0, "take_profit_bps": 2.0, "allow_short": True},
        "risk": {"cooldown_s": 0.0, "max_orders_minute": 200},
        "journal": {"flush_interval_ms": 200, "min_free_bytes": 0},
        "monitoring": {
            "linger_s": 1.0,
            "disk_free_degraded_bytes": 0,
            "disk_free_failed_bytes": 0,
            "memory_free_degraded_ratio": 0.0,
            "memory_free_failed_ratio": 0.0,
            "loop_lag_degraded_s": 10.0,
            "loop_lag_failed_s": 20.0,
        },
    }
    for section, values in changes.items():
        tree[section] = {**tree.get(section, {}), **values}
    return tree


def write_config(path: Path, tree: dict[str, Any]) -> Path:
    """JSON is YAML."""
    path.write_text(json.dumps(tree, indent=1))
    return path


class Engine:
    """`data-controller run` on a config file."""

    def __init__(self, config: Path, *arguments: str) -> None:
        self.config = config
        self.state = Path(json.loads(config.read_text())["state_dir"])
        self.errors = config.with_suffix(".stderr")
        with self.errors.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "data_controller", "run", "-c", str(config), "--json", *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": os.fspath(SOURCE), "COLUMNS": "500"},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self.errors.read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """The engine's feed, empty where it does not answer."""
        try:
            return control.request(self.state, "status", {})
        except ControlError:
            return {}

    def until(self, condition: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
        """The first status that satisfies `condition`; the engine must live."""

        def look() -> dict[str, Any]:
            assert self.process.poll() is None, f"the engine ended: {self.said()[-2000:]}"
            status = self.status()
            return status if status and condition(status) else {}

        return until(look, what, START_S if "Live" in what else DEADLINE_S)

    def live(self) -> dict[str, Any]:
        """Wait until every book is usable."""
        return self.until(
            lambda s: s["phase"] == "live" and len(s["books"]) >= 2 and all(book["usable"] for book in s["books"]),
            "Live, with all books usable",
        )

    def get(self, path: str) -> tuple[int, str]:
        """Code and body of the monitor's answer."""
        info = read_info(self.state)
        assert info is not None
        try:
            with urllib.request.urlopen(info.url.rstrip("/") + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def end(self, how: int | None = signal.SIGTERM) -> tuple[int, dict[str, Any]]:
        """Exit code and summary, after a signal or `None` for none."""
        if how is not None and self.process.poll() is None:
            self.process.send_signal(how)
        try:
            out, _ = self.process.communicate(timeout=START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, json.loads(out) if out.strip() else {}

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
