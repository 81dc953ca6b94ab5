"""Each fault once over real sockets: the simulated exchange's server and the ingest shell on one loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from data_controller.actions import Action, Alert, Open, Reconnect, Send
from data_controller.exchanges.bitfinex.settings import BitfinexSettings, BookSettings
from data_controller.ingest.settings import IngestSettings
from data_controller.ingest.websocket import WebSocketShell
from data_controller.market.layout import Proof
from data_controller.records import Kind
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.faults import KINDS, Fault
from data_controller.simulator.server import Options, Peer, Server
from tests.ingest.peer import run

from .client import Client
from .styles import Bitfinex, exact
from .world import World

S = 1_000_000_000
FOREVER_NS = 1 << 62
DEADLINE_S = 120.0
SYMBOLS = ("tBTCUSD", "tSHIB:USD")
SETTINGS = {
    "instruments": SYMBOLS,
    "books": (BookSettings(), BookSettings(precision="R0")),
    "max_channels_per_connection": 4,
    "ack_timeout_s": 0.5,
    "silent_after_s": 1.5,
    "maintenance_timeout_s": 3.0,
    "resync_backoff_s": 0.05,
}


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Every kernel is compiled before a socket is open: with an empty cache that takes a minute of the loop."""
    world = World(1, BitfinexSettings(**SETTINGS))
    while not world.client.all_proved():
        world.step()


class Remembering(Server):
    """A server that knows every peer it ever had: a client may not yet have noticed that one is gone."""

    def __init__(self, exchange: Exchange, options: Options) -> None:
        super().__init__(exchange, options)
        self.by_port: dict[int, Peer] = {}  # newest peer by the client's port

    def joined(self, peer: Peer) -> None:
        self.by_port[peer.port] = peer
        super().joined(peer)


class Live:
    """Shell, client and exchange, joined as an engine joins them: records first, then what comes of them."""

    def __init__(self, server: Remembering, settings: dict[str, Any]) -> None:
        self.server = server
        self.frames = 0
        self.peers: dict[int, Peer] = {}  # by connection, as of the records consumed so far
        self.alerts: list[Alert] = []
        self._records: list[tuple[Kind, int, int, bytes]] = []
        self._changed = asyncio.Event()
        ingest = IngestSettings(reconnect_first_s=0.02, connection_burst=900, connections_per_minute=1000)
        self.shell = WebSocketShell(self, time.time_ns, self.alerts.append, ingest, random.Random(1))
        url = f"ws://127.0.0.1:{server.port}/ws/2"
        self.client = Client(BitfinexSettings(url=url, **(SETTINGS | settings)), self._perform)
        self._pulse = asyncio.get_running_loop().create_task(self._pulses())
        self.client.start(time.time_ns())

    def push(self, kind: int, conn: int, recv_ns: int, payload: bytes | memoryview) -> None:
        self._records.append((Kind(kind), conn, recv_ns, bytes(payload)))

    def wake(self) -> None:
        asyncio.get_running_loop().call_soon(self._consume)

    def frames_taken(self) -> None:
        self.wake()

    def _consume(self) -> None:
        while self._records:
            kind, conn, recv_ns, data = self._records.pop(0)
            self.frames += kind is Kind.FRAME
            if kind is Kind.OPENED and conn in (ports := self.shell.local_ports()):
                # A slot opens its next socket only after CLOSED was consumed, so the port is this record's own.
                self.peers[conn] = self.server.by_port[ports[conn]]
            self.client.record(kind, conn, recv_ns, data)
        self._changed.set()

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Open():
                    self.shell.open(action)
                case Send():
                    self.shell.send(action)
                case Reconnect():
                    self.shell.reconnect(action)
                case Alert():
                    self.alerts.append(action)

    async def _pulses(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            self._consume()
            self.client.pulse(time.time_ns())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def strike(self, *faults: Fault) -> None:
        """Arm `faults` on a connection until the last of them struck; again where the connection ended before."""
        struck = False
        while not struck:
            await self.until(lambda: self.server.peers)
            link = _first(self).link
            link.arm(*(replace(fault) for fault in faults))
            await self.until(
                lambda link=link: link.struck.get(faults[-1].kind) or link.session.conn not in self.server.peers
            )
            struck = bool(link.struck.get(faults[-1].kind))

    async def more_frames(self, count: int) -> None:
        target = self.frames + count
        await self.until(lambda: self.frames >= target)

    def compare(self, checked_only: bool) -> int:
        """Compare each PROVED book with what the exchange's log says as of the last sequence; how many there were."""
        compared = 0
        for row, (conn, chan_id) in self.client.serving.items():
            if row not in self.client.wanted or self.client.books.books[row]["proof"] != Proof.PROVED:
                continue
            log = self.peers[conn].link.meant  # what the exchange has closed since is in it too
            seq = int(self.client.decoder._conns[conn]["last_seq"])
            channel = self.client.tables.channels[row]
            at = 1 if channel.precision == "R0" else 0
            for side, true in zip((+1, -1), log.book(chan_id, seq).sides(), strict=True):
                own = self.client.books.side(row, side)
                if checked_only:
                    own, true = own[: Bitfinex.checked], true[: Bitfinex.checked]
                assert own["price"].tolist() == [float(entry[at]) for entry in true], channel
                sizes = list(zip(own["size_digits"].tolist(), own["size_scale"].tolist(), strict=True))
                assert sizes == [exact(entry[2]) for entry in true], channel
            compared += 1
        return compared


@asynccontextmanager
async def _live(**settings: Any) -> AsyncIterator[Live]:
    exchange = Exchange(11, list(SYMBOLS), ticks_per_second=600)
    server = Remembering(exchange, Options(connections_per_minute=0, tick_s=0.002))
    await server.start()
    live = Live(server, settings)
    try:
        yield live
    finally:
        live._pulse.cancel()
        await live.shell.close()
        await server.stop()


def _fault(kind: str) -> Fault:
    short = {"restart": S // 10, "mute": S // 3, "stall": S // 3, "maintenance": S // 3}
    frame = "cs" if kind in ("corrupt", "cut") else None
    return Fault(kind, frame=frame, duration_ns=short.get(kind, S), limit_bytes=4096)


@pytest.mark.parametrize("kind", KINDS)
def test_after_each_fault_on_a_real_socket_every_book_is_proved_and_true(kind: str) -> None:
    settings = {"channel_silent_after_s": 2.0} if kind == "silent" else {}

    async def main() -> None:
        async with _live(**settings) as live:
            await live.until(live.client.all_proved)
            assert live.compare(checked_only=False) == 4
            # A book that breaks makes the client ask, so that there is an answer to lose.
            before = [Fault("corrupt", frame="cs")] if kind in ("lost_ack", "late_ack", "wrong_ack") else []
            await live.strike(*before, _fault(kind))
            if kind == "silent":
                await live.until(lambda: live.client.subs.counters["resyncs"])
            await live.more_frames(200)
            falsified = kind in ("corrupt", "byte")
            for _ in range(5):
                live.compare(falsified)  # whatever is proved meanwhile is true
                await live.more_frames(50)
            await live.until(live.client.all_proved)
            assert live.compare(falsified) == 4
            assert [alert.name for alert in live.alerts if alert.severity == "critical"] == []

    run(main())


def _first(live: Live) -> Peer:
    return live.server.peers[min(live.server.peers)]


def test_an_exchange_that_refuses_connections_for_a_while_is_found_again() -> None:
    async def main() -> None:
        async with _live() as live:
            await live.until(live.client.all_proved)
            live.server.refuse_until_ns = FOREVER_NS
            for peer in list(live.server.peers.values()):
                peer.end("disconnect")
            await live.until(lambda: live.server.refused > 0)
            live.server.refuse_until_ns = 0
            await live.until(live.client.all_proved)
            assert live.compare(checked_only=False) == 4

    run(main())
