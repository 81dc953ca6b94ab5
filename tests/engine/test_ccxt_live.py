"""The engine with an exchange behind the ccxt bridge: books come, break with the bridge, come back; replay agrees."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from data_controller.engine.replay import replay
from tests.engine.processes import Engine, config_tree, until, write_config
from tests.reference.test_instruments import Bitfinex
from tests.simulator.simulator_process import Process

pytestmark = pytest.mark.slow


@pytest.fixture
def rest() -> Iterator[str]:
    """Bitfinex's REST answers that ccxt asks for, served by a thread; its address."""
    ready, ended = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        async with Bitfinex() as fake:
            found.append(fake.url)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    ended.set()
    thread.join()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def bridges(engine: Engine) -> list[int]:
    children = psutil.Process(engine.pid).children()
    return [child.pid for child in children if "data_controller.bridge" in child.cmdline()]


def test_a_killed_bridge_breaks_its_books_alone_and_they_come_back(tmp_path: Path, rest: str, swift: Path) -> None:
    exchange = Process(
        "--instruments", "1", "--ticks-per-second", "100", "--seed", "5", "--connections-per-minute", "0"
    )
    bridged = {
        "instruments": ["bitfinex:BTC/USD"],
        "port": free_port(),
        "rest_urls": {"bitfinex": rest},
        "socket_urls": {"bitfinex": f"ws://127.0.0.1:{exchange.port}"},
    }
    tree = config_tree(tmp_path / "state", exchange.port, swift)
    tree["exchanges"]["bitfinex"]["instruments"] = ["BTC/USD"]
    tree["exchanges"]["ccxt"] = bridged
    tree["ingest"] = {"reconnect_first_s": 0.1, "reconnect_max_s": 0.5, "connections_per_minute": 600}

    def proofs(status: dict[str, Any]) -> dict[str, str]:
        return {book["exchange"]: book["proof"] for book in status["books"]}

    wanted = {"bitfinex": "PROVED", "ccxt": "UNVERIFIABLE"}
    with Engine(write_config(tmp_path / "c.yaml", tree), "--record-only") as engine:
        engine.until(lambda s: s["phase"] == "live" and proofs(s) == wanted, "Live, with both books")
        (pid,) = bridges(engine)
        os.kill(pid, signal.SIGKILL)
        engine.until(lambda s: proofs(s)["ccxt"] in ("BROKEN", "EMPTY"), "the book of the dead bridge broken")
        assert proofs(engine.status())["bitfinex"] == "PROVED"
        engine.until(lambda s: proofs(s) == wanted, "both books again")
        (fresh,) = bridges(engine)
        assert fresh != pid
        code, summary = engine.end(signal.SIGTERM)
    assert code == 0, summary
    until(lambda: not psutil.pid_exists(fresh), "the bridge ended with the engine")
    assert summary["digest"] == replay([tmp_path / "state" / "journal"])["digest"]
    exchange.end()
