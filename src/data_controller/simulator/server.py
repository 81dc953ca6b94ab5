"""The simulated exchange on loopback sockets: websocket server, fault injection, load, control port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from data_controller.simulator.binance.load import prepare_depth
from data_controller.simulator.binance.venue import BinanceVenue
from data_controller.simulator.bitfinex.rest import answer
from data_controller.simulator.dialect import Venue
from data_controller.simulator.exchange import STEP_NS, Exchange, Frame
from data_controller.simulator.faults import Link
from data_controller.simulator.load import Sender, Stream, prepare, text_frame
from data_controller.simulator.peer import BasePeer
from data_controller.simulator.sent import SentLog
from data_controller.simulator.session import Session
from data_controller.simulator.venue_server import VenuePeer, VenueProtocol

CONNECTIONS_PER_MINUTE = 20
RUN_S = 0.05
"""How long one `run_on` keeps the loop from its sockets, a step more at most."""
BEHIND_NS = 1_000_000_000
"""How far a market that cannot keep up may fall behind the clock before it leaves time out."""
CLOSED_EARLIER = 64
"""Ended connections whose numbers `stats` still shows."""


@dataclass(slots=True)
class Options:
    """How the server behaves; the market is the exchange's own business."""

    port: int = 0
    control_port: int = 0
    tick_s: float = 0.001  # how often the market is run on
    connections_per_minute: int = CONNECTIONS_PER_MINUTE  # 0: no limit
    buffer_limit_bytes: int = 16 << 20  # unsent bytes at which the exchange hangs up on a slow client
    hold: str = ""  # "" runs at once; "connection": from the first one; "go": from the command
    load: bool = False
    load_s: float = 30.0
    load_channels: int = 0  # start the load when so many channels are subscribed; 0: at the command
    load_fetches: int = 0  # and further venues have answered so many REST requests
    rate: float = 0.0  # frames a second of the load; 0: as fast as it goes
    binance_rate: float = 0.0  # depth changes a second of the load on Binance, beside the others
    coalesce_us: float = 0.0
    sent_log: Path | None = None  # folder
    venue_ports: dict[str, int] = field(default_factory=dict)  # of further venues; others get a free one


class Peer(WSListener, BasePeer):
    """One client of Bitfinex's WebSocket: its session, the faults on the way, and its socket."""

    def __init__(self, server: Server) -> None:
        BasePeer.__init__(self, server, Link(Session(server.exchange)))
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Greet."""
        self.transport = transport
        self.opened_ns = time.monotonic_ns()
        peer = transport.underlying_transport.get_extra_info("peername")
        self.port = int(peer[1]) if peer else 0
        self.server.joined(self)
        self.flush()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take what the client says."""
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif kind == WSMsgType.PING:
            pong = b"\x8a" + bytes((frame.payload_size,)) + frame.get_payload_as_bytes()
            self.write(pong)
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.server.run_on()
            self.link.session.handle(frame.get_payload_as_bytes())
            self.flush()
            self.server.heard()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Forget the client."""
        self.ended = self.ended or "client"
        self.link.session.close()
        self.server.left(self)

    def socket_fileno(self) -> int:
        """The socket's number."""
        assert self.transport is not None
        return int(self.transport.underlying_transport.get_extra_info("socket").fileno())

    def is_open(self) -> bool:
        """Whether bytes can be written."""
        return self.transport is not None and not self.transport.is_disconnected

    def waiting(self) -> int:
        """Bytes that the socket has not taken yet."""
        assert self.transport is not None
        return int(self.transport.underlying_transport.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """Write bytes, through the load's thread while it sends."""
        if self.stream is not None:
            self.stream.inject.append(data)
        elif self.transport is not None:
            self.transport.underlying_transport.write(data)

    def encode(self, frame: Frame) -> bytes:
        """A text frame."""
        return text_frame(frame.data)

    def hang_up(self, reason: str) -> None:
        """End the connection: politely at a restart, else as if the line were cut."""
        if self.transport is not None:
            if reason in ("cut", "slow", "flood"):
                self.transport.underlying_transport.abort()
            else:
                self.transport.disconnect(graceful=reason == "restart")

    def tick(self) -> None:
        """Send what waits."""
        self.flush()


class Server:
    """Runs the market against the wall clock and serves its clients. `start`, then `port`; `stop` at the end."""

    def __init__(self, exchange: Exchange, options: Options | None = None) -> None:
        self.exchange = exchange
        self.options = options or Options()
        self.peers: dict[int, Peer | VenuePeer] = {}
        self.venues: dict[str, Venue] = {}
        self.venue_ports: dict[str, int] = {}
        self.wires: set[VenueProtocol] = set()
        self.tls_until_ns: dict[str, int] = {}  # by venue, monotonic: until then a client hears that TLS failed
        self.gone: deque[dict[str, Any]] = deque(maxlen=CLOSED_EARLIER)
        self.sent = SentLog()
        self.refuse_until_ns = 0  # monotonic; new connections get HTTP 503 until then
        self.refused = 0
        self.skipped_ns = 0  # of the market's time, left out as it could not keep up
        self.load_report: dict[str, Any] | None = None
        self.on_load_done: Callable[[dict[str, Any]], None] = lambda report: None
        self.port = 0
        self._held = bool(self.options.hold) or self.options.load
        self._arrivals: deque[float] = deque()
        self._wall_ns = time.time_ns() - time.monotonic_ns()
        self._server: asyncio.Server | None = None
        self._venue_servers: list[asyncio.Server] = []
        self._ticker: asyncio.Task[None] | None = None
        self._sender: Sender | None = None

    async def start(self) -> None:
        """Listen and run."""
        self._server = await ws_create_server(
            self._admit, "127.0.0.1", self.options.port, enable_auto_pong=False, max_frame_size=1 << 20
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        for name, venue in self.venues.items():
            make = partial(VenueProtocol, self, venue)
            listener = await loop.create_server(make, "127.0.0.1", self.options.venue_ports.get(name, 0))
            self._venue_servers.append(listener)
            self.venue_ports[name] = int(listener.sockets[0].getsockname()[1])
        if not self._held:
            self.go()
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Close every connection and write the log of what was sent."""
        if self._sender is not None:
            self._sender.stopping = True
            await asyncio.to_thread(self._sender.join, 5.0)
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        for peer in list(self.peers.values()):
            peer.end("stop")
        for listener in self._venue_servers:
            listener.close()
        for wire in list(self.wires):
            wire.transport.abort()
        if self._server is not None:
            self._server.close()
        self.save_log()

    def add(self, venue: Venue) -> None:
        """Serve a further venue, on a port of its own, from `start` on."""
        self.venues[venue.name] = venue

    def now_ns(self) -> int:
        """The wall clock, read once at start and carried on by the monotonic clock."""
        return self._wall_ns + time.monotonic_ns()

    def run_on(self) -> None:
        """Bring the market to now, unless it is held, for RUN_S at most: what is left waits for the next call.

        A market that is more than BEHIND_NS behind after that goes on from now: nothing has happened in the time left
        out (`skipped_ns`). However dear its steps, the loop gets back to its sockets and signals, and times told are
        at most that old.
        """
        if self._held:
            return
        to_ns, until_s = self.now_ns(), time.monotonic() + RUN_S
        while self.exchange.now_ns < to_ns:
            self.exchange.advance(min(to_ns, self.exchange.now_ns + STEP_NS))
            if time.monotonic() >= until_s:
                break
        behind_ns = to_ns - self.exchange.now_ns
        if behind_ns > BEHIND_NS:
            self.exchange.rebase(to_ns)
            self.skipped_ns += behind_ns

    def go(self) -> None:
        """Let a held market run from now on; nothing has happened in between."""
        now = self.now_ns()
        if now > self.exchange.now_ns:
            self.exchange.rebase(now)
        self._held = False

    def save_log(self) -> None:
        """Write `sent.npy` and `connections.json` into the folder asked for, if one was."""
        folder = self.options.sent_log
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.sent.save(folder / "sent.npy")
        seen = [*self.gone, *(peer.stats() for peer in self.peers.values())]
        (folder / "connections.json").write_text(json.dumps(seen), encoding="utf-8")

    def stats(self) -> dict[str, Any]:
        """Counters of the market and of every connection."""
        return {
            "now_ns": self.exchange.now_ns,
            "held": self._held,
            "events": self.exchange.events,
            "sent_rows": len(self.sent),
            "refused": self.refused,
            "skipped_ns": self.skipped_ns,
            "load": self.load_report,
            "connections": [peer.stats() for peer in self.peers.values()],
            "gone": list(self.gone),
        }

    # What peers tell

    def joined(self, peer: Peer | VenuePeer) -> None:
        """A client is there."""
        self.peers[peer.conn] = peer
        if self._held and self.options.hold == "connection":
            self.go()
        self.run_on()

    def left(self, peer: Peer | VenuePeer) -> None:
        """A client is gone."""
        if self.peers.pop(peer.conn, None) is not None:
            self.gone.append(peer.stats() | {"channels": []})

    def heard(self) -> None:
        """A client said something: perhaps everything that the load waits for is there now."""
        wanted = self.options.load_channels
        if self.options.load and wanted and self._sender is None:
            channels = sum(len(peer.link.session.channels) for peer in self.peers.values())
            fetches = sum(status == HTTPStatus.OK for venue in self.venues.values() for *_, status in venue.requests)
            if channels >= wanted and fetches >= self.options.load_fetches:
                # What was answered last still has to leave: making the load keeps this loop busy for seconds.
                asyncio.get_running_loop().call_later(0.05, self.start_load)

    def _admit(self, request: WSUpgradeRequest) -> Any:
        path = request.path.decode()
        if not path.startswith("/ws"):
            body = answer(path, self.exchange)
            if body is None:
                return None
            return WSUpgradeResponseWithListener(
                WSUpgradeResponse.create_ok_response(body, {"Content-Type": "application/json"}), None
            )
        now = time.monotonic()
        while self._arrivals and now - self._arrivals[0] >= 60.0:
            self._arrivals.popleft()
        limit = self.options.connections_per_minute
        if limit and len(self._arrivals) >= limit:
            self.refused += 1
            return self._refusal(HTTPStatus.TOO_MANY_REQUESTS, b'["error",11010,"ratelimit: error"]')
        if time.monotonic_ns() < self.refuse_until_ns:
            self.refused += 1
            return self._refusal(HTTPStatus.SERVICE_UNAVAILABLE, b'["error",20060,"maintenance"]')
        self._arrivals.append(now)
        return Peer(self)

    @staticmethod
    def _refusal(status: HTTPStatus, body: bytes) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, body), None)

    async def _tick(self) -> None:
        while True:
            if self._sender is None:
                self.run_on()
                for peer in list(self.peers.values()):
                    peer.tick()
            # A load's sender shares the interpreter with this loop: it is left alone.
            await asyncio.sleep(self.options.tick_s if self._sender is None else 0.05)

    # Load

    def start_load(self) -> None:
        """Make every frame of the run, then send them from a thread; no channel is opened or closed meanwhile."""
        if self._sender is not None:
            return
        self.go()
        for peer in self.peers.values():
            peer.flush()
            peer.link.session.unserved = "load: running"
        prepared = prepare(self.exchange, self.options.load_s, self.options.rate)
        for venue in self.venues.values():
            if isinstance(venue, BinanceVenue):
                prepared |= prepare_depth(venue, self.options.load_s, self.options.binance_rate)
            for session in venue.sessions:  # behind a load the market is another one than what the streams told
                session.mute(None, True, heartbeats=False)
        streams = []
        for conn, frames in prepared.items():
            peer = self.peers[conn]
            sock = socket.socket(fileno=socket.dup(peer.socket_fileno()))
            sock.setblocking(False)
            peer.stream = Stream(frames, sock)
            streams.append(peer.stream)
        self._held = True
        self._sender = Sender(streams, self.options.coalesce_us)
        self._sender.start()
        self._reporter = asyncio.create_task(self._finish_load())

    async def _finish_load(self) -> None:
        sender = self._sender
        assert sender is not None
        while sender.is_alive():
            await asyncio.sleep(0.05)
        for peer in self.peers.values():
            if peer.stream is not None:
                rows = peer.stream.stamps > 0
                self.sent.add_block(peer.conn, peer.stream.prepared.seq[rows], peer.stream.stamps[rows])
                peer.frames += int(rows.sum())
                peer.bytes += len(peer.stream.prepared.data)
                peer.stream.sock.close()
                peer.stream = None
        self.load_report = sender.report()
        self.exchange.halt(True)
        self._sender = None
        self.options.load = False
        self.go()
        self.save_log()
        self.on_load_done(self.load_report)
