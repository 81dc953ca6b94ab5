"""A venue's server for tests: plays what it said once, answers as the venue does, and spoils one frame on command."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.ingest.peer import frame as websocket_frame

FAULTS = ("drop", "duplicate", "corrupt", "cut", "silence")
EVERY_S = 0.004
"""Between two frames of a stream: some twenty times as fast as they were captured."""


class Truth:
    """A book as a client holds it that lost nothing: price -> (price, size) as on the wire, a dict a side."""

    def __init__(self) -> None:
        self.bids: dict[float, tuple[str, str]] = {}
        self.asks: dict[float, tuple[str, str]] = {}
        self.number = 0
        self.changes = 0  # messages that said something new

    def begin(self, bids: Any, asks: Any, number: int = 0) -> None:
        """Take a whole book."""
        self.bids.clear()
        self.asks.clear()
        self.number = number
        self.change(bids, asks)

    def change(self, bids: Any, asks: Any) -> None:
        """Take entries of price, size and whatever else; size 0 takes a level away."""
        self.changes += 1
        for side, entries in ((self.bids, bids), (self.asks, asks)):
            for price, size, *_ in entries:
                if float(size):
                    side[float(price)] = (price, size)
                else:
                    side.pop(float(price), None)

    def sides(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Bids and asks, best first, as on the wire."""
        return [self.bids[p] for p in sorted(self.bids, reverse=True)], [self.asks[p] for p in sorted(self.asks)]

    def top(self, count: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """The best `count` levels a side as (price, size)."""
        bids, asks = ([(float(price), float(size)) for price, size in side[:count]] for side in self.sides())
        return bids, asks


@dataclass
class Track:
    """What one stream says: `play` begins anew for each subscription; `book` is the symbol whose book it tells."""

    play: Callable[[], Iterator[bytes]]
    book: str = ""
    begin: Callable[[Truth], None] = lambda truth: None  # what is true before its first frame


class Dialogue(Protocol):
    """One venue's manners; plain values and functions of what was said."""

    venue: str
    tracks: dict[str, Track]

    def greet(self) -> list[bytes]:
        """What is said first on a connection."""
        ...

    def hear(self, message: bytes, talk: Conversation) -> None:
        """Answer a request: `talk.reply`, `talk.play`, `talk.stop`."""
        ...

    def tell(self, truth: Truth, frame: bytes) -> None:
        """Take a frame of a book's track into the truth."""
        ...

    def fetch(self, target: str, truths: dict[str, Truth]) -> bytes | None:
        """The body of a REST answer, None where there is no such thing."""
        ...


@dataclass(eq=False)
class Conversation:
    """One connection: what it plays, and what is still to be answered."""

    server: ReplayServer
    socket: ServerConnection
    playing: dict[str, Iterator[bytes]] = field(default_factory=dict)
    replies: list[bytes] = field(default_factory=list)
    silent: bool = False

    def reply(self, message: Any) -> None:
        """Answer, with JSON where it is no bytes."""
        self.replies.append(message if isinstance(message, bytes) else json.dumps(message).encode())

    def play(self, stream: str) -> None:
        """Begin a stream from its start; one that has nothing to say is served all the same."""
        track = self.server.dialogue.tracks.get(stream)
        self.playing[stream] = iter(()) if track is None else track.play()
        if track is not None and track.book:
            self.server.truths[track.book] = truth = Truth()
            track.begin(truth)

    def stop(self, stream: str) -> None:
        """End a stream."""
        self.playing.pop(stream, None)

    async def talk(self) -> None:
        """Send until the connection ends."""
        try:
            while True:
                while self.replies and not self.silent:
                    await self._send(self.replies.pop(0))
                for stream, frames in list(self.playing.items()):
                    if not self.silent and not self.server.paused and (said := next(frames, None)) is not None:
                        await self._say(stream, said)
                await asyncio.sleep(self.server.every_s)
        except ConnectionClosed:
            return

    async def _say(self, stream: str, said: bytes) -> None:
        server = self.server
        track = server.dialogue.tracks[stream]
        fault = ""
        if track.book:
            truth = server.truths[track.book]
            before = truth.changes
            server.dialogue.tell(truth, said)
            # A change that a fetched book holds already can be lost without a loss.
            fault = server.take_fault() if truth.changes > before else ""
        if fault == "corrupt":
            k = server.rng.randrange(len(said))
            said = said[:k] + b"\x01" + said[k + 1 :]
        elif fault == "cut":
            whole = websocket_frame(said)
            self.socket.transport.write(whole[: server.rng.randrange(1, len(whole))])
            self.socket.transport.abort()
            self.playing.clear()
            return
        elif fault == "silence":
            self.silent = True
            return
        for _ in range({"drop": 0, "duplicate": 2}.get(fault, 1)):
            await self._send(said)

    async def _send(self, said: bytes) -> None:
        await self.socket.send(said, text=True)
        self.server.sent += 1


class ReplayServer:
    """Serves a dialogue on loopback, WebSocket and REST on one port; use as an async context."""

    def __init__(self, dialogue: Dialogue, *, seed: int = 1, every_s: float = EVERY_S) -> None:
        self.dialogue = dialogue
        self.every_s = every_s
        self.rng = random.Random(seed)
        self.truths: dict[str, Truth] = {}
        self.talks: list[Conversation] = []  # those that are open
        self.connections = 0  # ever
        self.fetches: list[str] = []
        self.heard: list[bytes] = []
        self.sent = 0
        self.paused = False
        self.port = 0
        self._armed: tuple[str, int] | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """The address of its streams; the same one with http is that of its REST."""
        return f"ws://127.0.0.1:{self.port}"

    def strike(self, fault: str) -> None:
        """Arm one of FAULTS for a frame of a book, a few frames from now (by seed)."""
        assert fault in FAULTS, fault
        self._armed = (fault, self.rng.randrange(1, 12))

    @property
    def struck(self) -> bool:
        """Whether the fault that was armed has happened."""
        return self._armed is None

    def take_fault(self) -> str:
        """The fault that is due now, empty for none."""
        if self._armed is None:
            return ""
        fault, left = self._armed
        self._armed = None if not left else (fault, left - 1)
        return "" if left else fault

    async def __aenter__(self) -> ReplayServer:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._request, compression=None, ping_interval=None
        )
        self.port = int(next(iter(self._server.sockets)).getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    def _request(self, socket: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        self.fetches.append(request.path)
        body = self.dialogue.fetch(request.path, self.truths)
        status, reason = (200, "OK") if body is not None else (404, "Not Found")
        body = body or b"{}"
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
        return Response(status, reason, headers, body)

    async def _serve(self, socket: ServerConnection) -> None:
        talk = Conversation(self, socket)
        self.connections += 1
        self.talks.append(talk)
        for message in self.dialogue.greet():
            talk.reply(message)
        sender = asyncio.get_running_loop().create_task(talk.talk())
        try:
            async for message in socket:
                said = message.encode() if isinstance(message, str) else message
                self.heard.append(said)
                self.dialogue.hear(said, talk)
        except ConnectionClosed:
            pass
        finally:
            self.talks.remove(talk)
            sender.cancel()
