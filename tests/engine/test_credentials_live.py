"""An engine with a good key and one that can trade: orders of the first, the second's neighbours, nothing on disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_controller.engine.replay import replay
from data_controller.journal import read
from data_controller.records import Kind
from tests.engine.keys import SECRETS, KeyVenue, coinbase, write_key
from tests.engine.processes import Engine, config_tree, write_config
from tests.simulator.simulator_process import Process

pytestmark = pytest.mark.slow

SIMULATED_TOKEN = b"simulated-token"


def subscriptions(message: dict[str, Any]) -> Any:
    return {"type": "subscriptions", "channels": message["channels"]}


@pytest.fixture
def exchange() -> Iterator[KeyVenue]:
    """Coinbase on loopback, which says that any key may place orders; served by a thread."""
    ready, ended = threading.Event(), threading.Event()
    found: list[KeyVenue] = []

    async def serve() -> None:
        async with KeyVenue(coinbase(can_trade=True), subscriptions) as venue:
            found.append(venue)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    ended.set()
    thread.join()


def test_a_good_key_brings_single_orders_and_a_bad_one_costs_its_own_channel(
    tmp_path: Path, exchange: KeyVenue, swift: Path
) -> None:
    simulator = Process("--instruments", "1", "--ticks-per-second", "100", "--seed", "5", "--venues", "kraken")
    kraken = simulator.ready["venues"]["kraken"]
    keys = {name: str(path) for name, path in write_key(tmp_path).items()}
    tree = config_tree(tmp_path / "state", simulator.port, swift)
    tree["exchanges"] = {
        "kraken": {
            "url": kraken["ws"],
            "orders_url": kraken["l3"],
            "rest_url": kraken["rest"],
            "instruments": ["BTC/USD"],
            "orders": True,
            "trades": False,
            "tickers": False,
            **{name: keys[name] for name in ("api_key_file", "api_secret_file")},
        },
        "coinbase": {
            "url": exchange.peer.url,
            "rest_url": exchange.rest_url,
            "instruments": ["BTC/USD"],
            "orders": True,
            "books": False,
            "tickers": False,
            "silent_after_s": 600,
            **keys,
        },
    }

    def done(status: dict[str, Any]) -> bool:
        proved = [book["exchange"] for book in status["books"] if book["proof"] == "PROVED"]
        alerts = {alert["name"]: alert["severity"] for alert in status["alerts"]}
        return proved.count("kraken") == 2 and alerts.get("coinbase_key_refused") == "critical"

    with Engine(write_config(tmp_path / "c.yaml", tree), "--record-only") as engine:
        engine.until(done, "Kraken's books of levels and of orders proved, Coinbase's key refused")
        code, summary = engine.end()
    assert (code, summary["stopped_by"]) == (0, "SIGTERM")
    records = [(b.kind[i], b.payload(i)) for b in read([engine.state / "journal"]) for i in range(len(b.kind))]
    sent = [payload for kind, payload in records if kind == Kind.SENT]
    assert any(b"@kraken-token@" in payload for payload in sent)
    assert not any(b"@signature@" in payload for payload in sent)
    assert [m["channels"][0]["name"] for m in exchange.received] == ["matches"]
    assert exchange.paths == ["/orders"]
    assert summary["digest"] == replay([engine.state / "journal"])["digest"]
    files = [path for path in (*engine.state.rglob("*"), engine.errors) if path.is_file()]
    places = {str(path): path.read_bytes() for path in files} | {"summary": repr(summary).encode()}
    places["journal"] = b"\n".join(payload for _, payload in records)  # its files are compressed
    for where, raw in places.items():
        for secret in (*(s.encode() for s in SECRETS), SIMULATED_TOKEN):
            assert secret not in raw, f"{secret!r} in {where}"
    simulator.end()
