"""One client of the simulated exchange, whatever its socket: the faults on its way, what was sent, how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from zlib import DEFLATED, Z_SYNC_FLUSH, compressobj

from data_controller.simulator.exchange import Frame
from data_controller.simulator.faults import Link

if TYPE_CHECKING:
    from data_controller.simulator.load import Stream
    from data_controller.simulator.server import Server

_CHUNK = 1 << 16
_UNREAD = 1 << 20
"""Unsent bytes at which a flood waits."""


class BasePeer:
    """A connection as the server and the control port see it; subclasses know the socket."""

    def __init__(self, server: Server, link: Link) -> None:
        self.server = server
        self.link = link
        self.conn = link.session.conn
        self.stream: Stream | None = None
        self.port = 0
        self.opened_ns = 0
        self.ended = ""
        self.frames = 0
        self.bytes = 0
        self._flood: asyncio.Task[None] | None = None

    # What a subclass knows

    def is_open(self) -> bool:
        """Whether bytes can be written."""
        raise NotImplementedError

    def waiting(self) -> int:
        """Bytes written and not yet taken by the socket."""
        raise NotImplementedError

    def hang_up(self, reason: str) -> None:
        """End the connection as `reason` asks."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Write bytes."""
        raise NotImplementedError

    def encode(self, frame: Frame) -> bytes:
        """A frame's bytes on the wire."""
        raise NotImplementedError

    # What all do

    def flush(self) -> None:
        """Send what waits, and end the connection where a fault asks for it."""
        if not self.is_open() or self.ended or self._flood is not None:
            return
        frames = self.link.flush(self.server.exchange.now_ns)
        if frames:
            self.send(frames)
        if self.link.fragment:
            whole = len(self.link.fragment) * 2
            self.write(b"\x81\x7e" + whole.to_bytes(2, "big") + self.link.fragment)
        if self.link.flood:
            kind, limit = self.link.flood
            self._flood = asyncio.get_running_loop().create_task(self._pour(flood(kind, limit)))
        elif self.link.closed:
            self.end(self.link.closed)
        elif self.waiting() > self.server.options.buffer_limit_bytes:
            self.end("slow")

    async def _pour(self, chunks: Iterator[bytes]) -> None:
        for chunk in chunks:
            while self.is_open() and not self.ended and self.waiting() > _UNREAD:
                await asyncio.sleep(0.001)
            if self.ended or not self.is_open():
                return
            self.bytes += len(chunk)
            self.write(chunk)
            await asyncio.sleep(0)
        while self.is_open() and not self.ended and self.waiting():
            await asyncio.sleep(0.001)
        self.end("flood")

    def send(self, frames: list[Frame]) -> None:
        """Write frames in one go, stamped just before."""
        data = b"".join([self.encode(frame) for frame in frames])
        self.frames += len(frames)
        self.bytes += len(data)
        sent, conn = self.server.sent, self.conn
        now = time.monotonic_ns()
        for frame in frames:
            if frame.seq:
                sent.add(conn, frame.seq, now)
        self.write(data)

    def end(self, reason: str) -> None:
        """Drop the connection, without a closing handshake: what is lost on the way is lost."""
        self.ended = reason
        self.hang_up(reason)

    def stats(self) -> dict[str, Any]:
        """What the control port tells of this connection."""
        return {
            "conn": self.conn,
            "client_port": self.port,
            "opened_mono_ns": self.opened_ns,
            "channels": self.link.session.stats(),
            "flags": self.link.session.flags,
            "frames": self.frames,
            "bytes": self.bytes,
            "struck": self.link.struck,
            "armed": len(self.link.faults),
            "ended": self.ended,
        }


def flood(kind: str, limit_bytes: int) -> Iterator[bytes]:
    """Bytes that no client should take in: one frame of `limit_bytes` (`huge`), a message that goes on in fragments
    for as long (`endless`), or a compressed frame that unfolds to so many bytes (`bomb`)."""
    chunk = b" " * _CHUNK
    if kind == "bomb":
        packer = compressobj(9, DEFLATED, -15)
        packed = bytearray()
        for _ in range(-(-limit_bytes // _CHUNK)):
            packed += packer.compress(chunk)
        packed += packer.flush(Z_SYNC_FLUSH)
        body = bytes(packed[:-4])
        yield b"\xc1\x7f" + len(body).to_bytes(8, "big") + body
        return
    if kind == "huge":
        yield b"\x81\x7f" + limit_bytes.to_bytes(8, "big")
    for number in range(-(-limit_bytes // _CHUNK)):
        part = chunk[: limit_bytes - number * _CHUNK]
        if kind == "endless":
            yield (b"\x00" if number else b"\x01") + b"\x7f" + len(part).to_bytes(8, "big")
        yield part
