"""A WebSocket peer written by hand, so that tests can send any bytes and break any rule, and a sink that records."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import uvloop

from data_controller.actions import Alert
from data_controller.ingest.settings import IngestSettings
from data_controller.ingest.websocket import WebSocketShell
from data_controller.records import Kind

DEADLINE_S = 60.0
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on a fresh uvloop, as the engine does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


class Record(NamedTuple):
    kind: Kind
    conn: int
    recv_ns: int
    payload: bytes


class RecordingSink:
    """Keeps every record and lets a test wait for a condition over them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.wakes = 0
        self._changed = asyncio.Event()

    def push(self, kind: int, conn: int, recv_ns: int, payload: bytes | memoryview) -> None:
        self.records.append(Record(Kind(kind), conn, recv_ns, bytes(payload)))

    def wake(self) -> None:
        self.wakes += 1
        self._changed.set()

    def frames_taken(self) -> None:
        self.wake()

    def of(self, kind: Kind) -> list[bytes]:
        return [record.payload for record in self.records if record.kind is kind]

    def kinds(self) -> list[Kind]:
        return [record.kind for record in self.records]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def frame(payload: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """An unmasked frame, as a server sends it."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 1 << 16:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


class Link:
    """The server's end of one connection, upgraded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the client's next frame."""
        async with asyncio.timeout(DEADLINE_S):
            first, second = await self.reader.readexactly(2)
            assert second & 0x80, "expected a masked frame from a client"
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            mask = await self.reader.readexactly(4)
            payload = await self.reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))

    def abort(self) -> None:
        self.writer.transport.abort()


class Peer:
    """A server whose behaviour after the upgrade is the test's `talk`; `links` are its connections so far."""

    def __init__(self, talk: Callable[[Link], Awaitable[None]] | None = None, status: str = "") -> None:
        self.links: list[Link] = []
        self.port = 0
        self.status = status  # an HTTP status line to answer with instead of an upgrade
        self.asked = 0
        self._talk = talk
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/2"

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for link in self.links:
            link.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        self.asked += 1
        head = await reader.readuntil(b"\r\n\r\n")
        if self.status:
            writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            writer.close()
            return
        key = next(line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if b"websocket-key" in line.lower())
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        link = Link(reader, writer)
        self.links.append(link)
        if self._talk is not None:
            await self._talk(link)


class Rig:
    """A shell on a recording sink, with delays short enough for tests."""

    def __init__(self, **settings: Any) -> None:
        quick: dict[str, Any] = {"reconnect_first_s": 0.001, "reconnect_max_s": 0.002, **settings}
        self.sink = RecordingSink()
        self.alerts: list[Alert] = []
        self.shell = WebSocketShell(self.sink, time.time_ns, self._on_alert, IngestSettings(**quick))

    def _on_alert(self, alert: Alert) -> None:
        self.alerts.append(alert)
        self.sink.wake()

    async def __aenter__(self) -> Rig:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shell.close()
