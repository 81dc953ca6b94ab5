"""The bridge in front of the simulated exchange, through ccxt's own Bitfinex class; and the bridge alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from data_controller.bridge.process import start_bridge
from data_controller.bridge.server import Bridge
from data_controller.errors import ControlError
from tests.reference.test_instruments import Bitfinex
from tests.simulator.simulator_process import Process

pytestmark = pytest.mark.slow

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Process]:
    process = Process("--instruments", "1", "--ticks-per-second", "200", "--seed", "3", "--connections-per-minute", "0")
    yield process
    process.end()


class Client:
    """A client that keeps the last message of each type of each channel."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.last: dict[tuple[str, str], dict[str, Any]] = {}
        self.heard: list[str] = []

    async def ask(self, op: str, channel: str, symbol: str = "BTC/USD", exchange: str = "bitfinex") -> None:
        request = {"op": op, "channel": channel, "exchange": exchange, "symbol": symbol, "stream": channel}
        await self.socket.send(json.dumps({**request, "depth": 10}))

    async def until(self, kind: str, channel: str = "") -> dict[str, Any]:
        """The next message of that kind."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                said = json.loads(await self.socket.recv())
                self.last[said["type"], said.get("channel", "")] = said
                self.heard.append(said["type"])
                if (said["type"], said.get("channel", "")) == (kind, channel):
                    return said


def levels(side: list[Any]) -> list[tuple[float, float]]:
    return [(float(price), float(size)) for price, size in side]


def truth(simulator: Process) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    said = simulator.do("truth", symbol="tBTCUSD", precision="P0", length=25)
    bids, asks = ([(float(p), abs(float(a))) for p, _, a in said[name]][:10] for name in ("bids", "asks"))
    return bids, asks


def test_books_are_the_simulators_and_a_lost_connection_is_told_and_mended(simulator: Process) -> None:
    async def main() -> None:
        async with Bitfinex() as rest:
            bridge = Bridge({"bitfinex": rest.url}, {"bitfinex": f"ws://127.0.0.1:{simulator.port}"})
            port = await bridge.start(0)
            async with connect(f"ws://127.0.0.1:{port}/") as socket:
                client = Client(socket)
                assert (await client.until("hello"))["version"] == 1
                await client.ask("subscribe", "book")
                await client.ask("subscribe", "trades")
                await client.until("subscribed", "trades")
                await client.until("book", "book")
                trade = (await client.until("trades", "trades"))["trades"][-1]
                assert len(trade) == 5 and trade[4] in ("buy", "sell") and float(trade[2]) > 0
                await same(client)

                simulator.do("close", conn="all")
                assert "lost" in client.heard or await client.until("lost", "book")
                await client.until("book", "book")
                await same(client)

                await client.ask("unsubscribe", "book")
                await client.until("unsubscribed", "book")
            await bridge.stop()

    async def same(client: Client) -> None:
        """Hold the market still; what the client then holds is the simulator's book."""
        simulator.do("pause")
        wanted = truth(simulator)
        async with asyncio.timeout(DEADLINE_S):
            while True:
                book = client.last["book", "book"]
                if (levels(book["bids"]), levels(book["asks"])) == wanted:
                    break
                await client.until("book", "book")
        simulator.do("go")

    asyncio.run(main())


def test_what_can_never_be_had_is_an_error_and_the_rest_goes_on() -> None:
    async def main() -> None:
        async with Bitfinex() as rest:
            bridge = Bridge({"bitfinex": rest.url})
            port = await bridge.start(0)
            async with connect(f"ws://127.0.0.1:{port}/") as socket:
                client = Client(socket)
                await client.ask("subscribe", "book", symbol="NO/SUCH")
                assert "BadSymbol" in (await client.until("error", "book"))["reason"]
                await client.ask("subscribe", "trades", exchange="bitfinx")
                assert "did you mean bitfinex" in (await client.until("error", "trades"))["reason"]
                for bad in ("{", "[]", '{"op":"dance","channel":"x"}', '{"op":"subscribe","channel":"x"}'):
                    await socket.send(bad)
                    await client.until("error")
                await client.until("heartbeat")
            await bridge.stop()

    asyncio.run(main())


def test_a_browser_and_a_giant_request_are_sent_away() -> None:
    async def main() -> None:
        bridge = Bridge()
        port = await bridge.start(0)
        with pytest.raises(InvalidStatus):
            await connect(f"ws://127.0.0.1:{port}/", origin="https://evil.example")  # type: ignore[arg-type]
        async with connect(f"ws://127.0.0.1:{port}/") as socket:
            await socket.send("x" * (1 << 17))
            with pytest.raises(ConnectionClosed):
                while True:
                    await socket.recv()
        await bridge.stop()

    asyncio.run(main())


def test_the_process_says_its_port_ends_with_its_starter_and_refuses_a_port_that_is_taken() -> None:
    bridge = start_bridge(0, {}, {})
    assert bridge.port > 0 and bridge.is_alive()
    with pytest.raises(ControlError, match=f"port {bridge.port}"):
        start_bridge(bridge.port, {}, {})
    assert bridge._process.stdin is not None
    bridge._process.stdin.close()
    assert bridge._process.wait(DEADLINE_S) == 0
    assert bridge.stop() == 0
