"""A venue on a loopback port of its own: HTTP for REST, WebSocket for streams, over one small protocol.

Written out because a broken server is what it has to be able to play: half a frame, a frame of a gigabyte, a
compressed bomb, nonsense in place of TLS. What a client sends is checked as RFC 6455 asks.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from data_controller.simulator.dialect import Answer, Venue, VenueSession
from data_controller.simulator.exchange import Frame
from data_controller.simulator.faults import Link
from data_controller.simulator.load import text_frame
from data_controller.simulator.peer import BasePeer

if TYPE_CHECKING:
    from data_controller.simulator.server import Server

HEAD_MAX = 1 << 16
BODY_MAX = 1 << 20
PONG_WITHIN_S = 60.0
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"  # fatal, handshake failure
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


class VenuePeer(BasePeer):
    """A client's WebSocket connection to a venue."""

    def __init__(self, server: Server, session: VenueSession, transport: asyncio.Transport, deflated: bool) -> None:
        super().__init__(server, Link(session))
        self.session = session
        self.transport = transport
        self.opened_ns = time.monotonic_ns()
        peer = transport.get_extra_info("peername")
        self.port = int(peer[1]) if peer else 0
        self._deflated = deflated
        self._buffer = bytearray()
        self._message = bytearray()
        self._packed = False
        self._pinged_s = self._answered_s = time.monotonic()

    def socket_fileno(self) -> int:
        """The socket's number."""
        return int(self.transport.get_extra_info("socket").fileno())

    def is_open(self) -> bool:
        """Whether bytes can be written."""
        return not self.transport.is_closing()

    def waiting(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self.transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Write bytes, through the load's thread while it sends."""
        if self.stream is not None:
            self.stream.inject.append(data)
        else:
            self.transport.write(data)

    def encode(self, frame: Frame) -> bytes:
        """A text frame, never compressed: what was agreed on is allowed, not owed."""
        return text_frame(frame.data)

    def hang_up(self, reason: str) -> None:
        """End the connection: politely at a restart, else as if the line were cut."""
        if reason == "restart":
            self.transport.write(b"\x88\x02\x03\xf4")  # 1012, service restart
            self.transport.close()
        else:
            self.transport.abort()

    def tick(self) -> None:
        """Send what waits, and the venue's pings; who answers none is dropped."""
        now = time.monotonic()
        every = self.session.venue.ping_every_ns * 1e-9
        if every and now - self._pinged_s >= every:
            if self._answered_s < self._pinged_s and now - self._answered_s > PONG_WITHIN_S + every:
                self.end("no pong")
                return
            self._pinged_s = now
            payload = str(self.session.venue.told_ms).encode()
            self.write(bytes((0x89, len(payload))) + payload)
        self.flush()

    def received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._buffer += data
        while not self.ended and self._next():
            pass

    def _next(self) -> bool:
        """Take one frame out of the buffer; False where it is not all there."""
        buffer = self._buffer
        if len(buffer) < 6:
            return False
        first, size, at = buffer[0], buffer[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(buffer) < 2 + width:
                return False
            size, at = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
        if not buffer[1] & 0x80 or size > BODY_MAX:
            self.end("protocol error")
            return False
        if len(buffer) < at + 4 + size:
            return False
        mask = bytes(buffer[at : at + 4])
        body = bytes(buffer[at + 4 : at + 4 + size])
        del buffer[: at + 4 + size]
        if any(mask):
            key = (mask * (size // 4 + 1))[:size]
            body = (int.from_bytes(body, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
        self._frame(first, body)
        return True

    def _frame(self, first: int, body: bytes) -> None:
        code = first & 0x0F
        if code == _CLOSE:
            self.transport.write(bytes((0x88, len(body))) + body)
            self.ended = "client"
            self.transport.close()
        elif code == _PING:
            self.write(bytes((0x8A, len(body))) + body)
        elif code == _PONG:
            self._answered_s = time.monotonic()
        else:
            if code in (_TEXT, _BINARY):
                self._packed = bool(first & 0x40)
                self._message.clear()
            self._message += body
            if first & 0x80:
                self._said(bytes(self._message))

    def _said(self, message: bytes) -> None:
        if self._packed:
            if not self._deflated:
                self.end("protocol error")
                return
            message = zlib.decompressobj(-15).decompress(message + b"\x00\x00\xff\xff", BODY_MAX)
        self.server.run_on()
        self.session.handle(message)
        self.flush()
        self.server.heard()


class VenueProtocol(asyncio.Protocol):
    """One TCP connection to a venue: HTTP until it asks to become a WebSocket."""

    def __init__(self, server: Server, venue: Venue) -> None:
        self.server, self.venue = server, venue
        self.peer: VenuePeer | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; where TLS is to fail it hears so at once."""
        self.transport = cast("asyncio.Transport", transport)
        self.server.wires.add(self)
        if time.monotonic_ns() < self.server.tls_until_ns.get(self.venue.name, 0):
            self.transport.write(_TLS_ALERT)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.server.wires.discard(self)
        if self.peer is not None:
            self.peer.ended = self.peer.ended or "client"
            self.peer.session.close()
            self.server.left(self.peer)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self.peer is not None:
            self.peer.received(data)
            return
        self._buffer += data
        while self.peer is None and not self.transport.is_closing() and self._request():
            pass

    def _request(self) -> bool:
        """Answer one request out of the buffer; False where it is not all there."""
        stop = self._buffer.find(b"\r\n\r\n")
        if stop < 0:
            if len(self._buffer) > HEAD_MAX:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return False
        lines = bytes(self._buffer[:stop]).decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines[1:])}
        try:
            method, target, _ = lines[0].split(" ")
            size = int(headers.get("content-length", "0"))
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return False
        if not 0 <= size <= BODY_MAX:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return False
        if len(self._buffer) < stop + 4 + size:
            return False
        body = bytes(self._buffer[stop + 4 : stop + 4 + size])
        del self._buffer[: stop + 4 + size]
        self.server.run_on()
        if headers.get("upgrade", "").lower() == "websocket":
            self._upgrade(target, headers)
        else:
            self._respond(self.venue.rest(target, method, headers, body), headers.get("connection", "").lower())
            self.server.heard()
        return True

    def _upgrade(self, target: str, headers: dict[str, str]) -> None:
        if time.monotonic_ns() < self.server.refuse_until_ns:
            self.server.refused += 1
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        session = self.venue.open(target)
        if session is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        key = base64.b64encode(hashlib.sha1(headers.get("sec-websocket-key", "").encode() + _MAGIC).digest())
        deflated = "permessage-deflate" in headers.get("sec-websocket-extensions", "")
        agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + (f"Sec-WebSocket-Extensions: {agreed}\r\n".encode() if deflated else b"")
            + b"Sec-WebSocket-Accept: "
            + key
            + b"\r\n\r\n"
        )
        self.peer = VenuePeer(self.server, session, self.transport, deflated)
        self.server.joined(self.peer)
        self.peer.flush()
        rest, self._buffer = bytes(self._buffer), bytearray()
        if rest:
            self.peer.received(rest)

    def _refuse(self, status: HTTPStatus) -> None:
        self._respond(Answer(status, {}, status.phrase.encode()), "close")

    def _respond(self, answer: Answer, connection: str) -> None:
        phrase = HTTPStatus(answer.status).phrase
        headers = {"Content-Type": "application/json"} | answer.headers | {"Content-Length": str(len(answer.body))}
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        self.transport.write(f"HTTP/1.1 {answer.status} {phrase}\r\n{head}\r\n".encode("latin-1") + answer.body)
        if connection == "close":
            self.transport.close()
