"""The WebSocket shell: opens, sends and drops as told; stamps what arrives and pushes it into the sink as records.

The frame callback stamps, pushes and wakes, and does nothing else: what a frame means is the pipeline's matter. The
shell opens nothing by itself: a connection that ended is a CLOSED record, and whoever reads it asks for another Open.
An Open, though, is kept up until it succeeds, with back-off and within the venue's connection rate; attempts that
never opened are counted, not recorded.

Each socket has a listener of its own, and a listener that was dropped pushes nothing any more: frames of a slot's old
socket cannot appear behind the CLOSED record that ended it.

A message with a place for a secret waits until `secrets` filled it, and those behind it wait with it. The SENT record
has the place, the wire the secret. One that must not be sent becomes a FETCHED record of status 0: it, and why.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import picows
from picows import WSCloseCode, WSMsgType

from data_controller.actions import Alert, Open, Reconnect, Send
from data_controller.ingest.backoff import delays, worth_retrying
from data_controller.ingest.limiter import TokenBucket
from data_controller.ingest.outbox import Outbox, Secrets
from data_controller.ingest.settings import IngestSettings
from data_controller.records import ENGINE_STOPS, Fetched, Kind

_S = 1_000_000_000
_TEXT, _CONTINUATION = WSMsgType.TEXT, WSMsgType.CONTINUATION
_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
_FRAME = int(Kind.FRAME)
SHORT_LIVES = 3
"""Sockets of a slot that were lost in a row before one was stable: then people are told, once until one is."""


class Sink(Protocol):
    """Where records go: the arena that the journal owns."""

    def push(self, kind: int, conn: int, recv_ns: int, payload: bytes | memoryview, /) -> object:
        """Take a record; `payload` is only valid during the call.

        It may not refuse: a sink that runs full calls the shell's `pause()`, after which at most what each
        connection's read buffer holds still comes.
        """
        ...

    def wake(self) -> None:
        """Records were pushed; what they mean is looked at in a turn of its own."""
        ...

    def frames_taken(self) -> None:
        """All frames of one read of a socket were pushed. Calls nothing of the shell before it returns."""
        ...


@dataclass(slots=True)
class _Slot:
    conn: int
    delays: Generator[float, float, None]
    venue: str = ""
    url: str = ""
    task: asyncio.Task[None] | None = None  # runs while an attempt or a socket is there
    socket: _Socket | None = None  # the one whose records count; None while not open
    not_before_ns: int = 0
    opened_ns: int = 0
    lasted_s: float = -1.0  # how long the last socket was open; -1: no attempt yet
    overdue: asyncio.TimerHandle | None = None  # raises the alert of an outage
    opens: int = 0
    attempts: int = 0
    failures: int = 0
    sends: int = 0
    sends_dropped: int = 0  # asked for while nothing was open
    sends_refused: int = 0  # for want of a secret
    unsent_peak_bytes: int = 0
    last_error: str = ""
    alerted: str = ""  # how severe the alert of this outage was
    short_lives: int = 0  # sockets in a row that were lost before they were stable


@dataclass(slots=True)
class _Venue:
    limiter: TokenBucket
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # makes the bucket first come, first served


class WebSocketShell:
    """All WebSocket connections of an engine, on the running loop.

    `now_ns` is the engine's clock, `alert` hears of outages, `rng` jitters the back-off, `ssl_context` replaces the
    default one for wss addresses, `secrets` knows what belongs in messages that have a place for one.
    """

    def __init__(
        self,
        sink: Sink,
        now_ns: Callable[[], int],
        alert: Callable[[Alert], None],
        settings: IngestSettings | None = None,
        rng: random.Random | None = None,
        ssl_context: ssl.SSLContext | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self.settings = settings or IngestSettings()
        self.paused = False
        self._sink = sink
        self._now_ns = now_ns
        self._alert = alert
        self._rng = rng or random.Random()
        self._ssl_context = ssl_context
        self._secrets = secrets
        self._slots: dict[int, _Slot] = {}
        self._venues: dict[str, _Venue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses = 0

    def go_on_from(self, before: WebSocketShell) -> None:
        """Keep to the connection rates of `before`, which opens no more; its clock may have been another one."""
        for name, venue in before._venues.items():
            venue.limiter.other_clock()
            self._venues[name] = _Venue(venue.limiter)

    def open(self, action: Open) -> None:
        """Open a connection in the slot, as soon as back-off and rate allow; nothing where one is there or coming."""
        slot = self._slot(action.conn)
        if slot.socket is not None or (slot.task is not None and not slot.task.done()):
            return
        slot.venue, slot.url = action.venue, action.url
        if action.venue not in self._venues:
            settings = self.settings
            bucket = TokenBucket(settings.connection_burst, settings.connections_per_minute)
            self._venues[action.venue] = _Venue(bucket)
        loop = asyncio.get_running_loop()
        slot.alerted = ""
        slot.overdue = loop.call_later(self.settings.unreachable_after_s, self._on_overdue, slot)
        slot.task = loop.create_task(self._connect(slot), name=f"connect {action.venue} {action.conn}")
        self._tasks.add(slot.task)
        slot.task.add_done_callback(self._tasks.discard)

    def send(self, action: Send) -> bool:
        """Send bytes as one text message and record them; False (and counted) where the slot is not open.

        One that needs a secret, or follows one that does, is sent and recorded later.
        """
        slot = self._slot(action.conn)
        socket = slot.socket
        if socket is None or socket.transport is None:
            slot.sends_dropped += 1
            return False
        outbox = socket.outbox
        if outbox is None or not outbox.holds(action.payload):
            self._transmit(slot, socket, action.payload, action.payload)
            return True
        outbox.put(action.payload)
        limit = self.settings.send_buffer_bytes
        if outbox.waiting_bytes > limit:
            self._drop(slot, f"the venue's key is not known: more than {limit} bytes wait for it")
            self._sink.wake()
        return True

    def _transmit(self, slot: _Slot, socket: _Socket, wire: bytes, payload: bytes) -> None:
        """Send `wire` on the slot's open socket and record it as `payload`, which differs from it by its secrets."""
        transport = socket.transport
        assert transport is not None, "only an open socket has something to send on"
        transport.send(_TEXT, wire)
        slot.sends += 1
        self._sink.push(int(Kind.SENT), slot.conn, self._now_ns(), payload)
        self._bound_unsent(slot, transport)
        self._sink.wake()

    def _bound_unsent(self, slot: _Slot, transport: picows.WSTransport) -> None:
        """Drop the slot's socket where more waits to be sent than a peer that reads would leave."""
        unsent = transport.underlying_transport.get_write_buffer_size()
        slot.unsent_peak_bytes = max(slot.unsent_peak_bytes, unsent)
        limit = self.settings.send_buffer_bytes
        if unsent > limit:
            self._drop(slot, f"the peer does not read: {unsent} bytes unsent, at most {limit} allowed")

    def _refuse(self, slot: _Slot, payload: bytes, reason: str) -> None:
        """Record that `payload` was not sent, and why."""
        slot.sends_refused += 1
        record = Fetched(request=payload.decode(errors="replace"), status=0, body=reason.encode())
        self._sink.push(int(Kind.FETCHED), slot.conn, self._now_ns(), msgspec.json.encode(record))
        self._sink.wake()

    def reconnect(self, action: Reconnect) -> None:
        """Drop the slot's socket, if any, at once: its CLOSED record is pushed before this returns."""
        slot = self._slot(action.conn)
        slot.not_before_ns = action.not_before_ns
        if slot.socket is not None:
            self._drop(slot, action.reason)

    def pause(self) -> None:
        """Stop reading on all connections, those that open later included; the peers' windows fill, nothing is lost."""
        self._pauses += not self.paused
        self.paused = True
        for slot in self._slots.values():
            if slot.socket is not None and slot.socket.transport is not None:
                slot.socket.transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self.paused = False
        for slot in self._slots.values():
            if slot.socket is not None and slot.socket.transport is not None:
                slot.socket.transport.underlying_transport.resume_reading()

    async def close(self, reason: str = ENGINE_STOPS) -> None:
        """Drop every connection and give up every attempt; returns when none is left."""
        for slot in self._slots.values():
            if slot.socket is not None:
                self._drop(slot, reason)
            if slot.overdue is not None:
                slot.overdue.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stats(self) -> dict[str, Any]:
        """Counters, and depth and peak of what is bounded: unsent bytes by connection."""
        return {
            "paused": self.paused,
            "pauses": self._pauses,
            "unsent_limit_bytes": self.settings.send_buffer_bytes,
            "connections": {slot.conn: self._slot_stats(slot) for slot in self._slots.values()},
        }

    def life_of(self, conn: int) -> int:
        """Which socket of slot `conn` is open, counted from 1; 0 while none is."""
        slot = self._slots.get(conn)
        return slot.opens if slot is not None and slot.socket is not None else 0

    def reconnects(self) -> int:
        """How often a connection was opened again after a loss."""
        return sum(max(0, slot.opens - 1) for slot in self._slots.values())

    def local_ports(self) -> dict[int, int]:
        """Our TCP port by slot, of those that are open: how a peer's log names a connection."""
        ports = {}
        for slot in self._slots.values():
            transport = None if slot.socket is None else slot.socket.transport
            if transport is not None:
                ports[slot.conn] = int(transport.underlying_transport.get_extra_info("sockname")[1])
        return ports

    def _slot_stats(self, slot: _Slot) -> dict[str, Any]:
        transport = None if slot.socket is None else slot.socket.transport
        return {
            "venue": slot.venue,
            "url": slot.url,
            "open": transport is not None,
            "opened_ns": slot.opened_ns,
            "opens": slot.opens,
            "attempts": slot.attempts,
            "failures": slot.failures,
            "sends": slot.sends,
            "sends_dropped": slot.sends_dropped,
            "sends_refused": slot.sends_refused,
            "unsent_bytes": 0 if transport is None else transport.underlying_transport.get_write_buffer_size(),
            "unsent_peak_bytes": slot.unsent_peak_bytes,
            "last_error": slot.last_error,
        }

    def _slot(self, conn: int) -> _Slot:
        slot = self._slots.get(conn)
        if slot is None:
            settings = self.settings
            pace = delays(self._rng, settings.reconnect_first_s, settings.reconnect_max_s, settings.stable_after_s)
            slot = self._slots[conn] = _Slot(conn, pace)
        return slot

    async def _connect(self, slot: _Slot) -> None:
        """Try until a socket is open, then stay until it is gone."""
        patience_s = 0.0
        while True:
            await self._wait_turn(slot, patience_s)
            slot.attempts += 1
            slot.lasted_s = 0.0
            socket = _Socket(self, slot)
            try:
                await self._attempt(slot, socket)
            except Exception as error:
                if socket.transport is None:
                    socket.live = False
                    patience_s = self._on_failure(slot, error)
                    continue
            finally:
                # Cancelled: whatever still comes of this attempt is nobody's.
                socket.live = socket.live and slot.socket is socket
            try:
                if socket.transport is not None:
                    await socket.transport.wait_disconnected()
            except Exception as error:
                slot.last_error = _describe(error)
            return

    async def _attempt(self, slot: _Slot, socket: _Socket) -> None:
        """Return once `socket` is open; raises what kept it from opening."""
        async with asyncio.timeout(self.settings.connect_timeout_s):
            await picows.ws_connect(
                lambda request, response: socket,
                slot.url,
                ssl_context=self._ssl_context,
                websocket_handshake_timeout=self.settings.connect_timeout_s,
                # Pings are ours to answer: the stamp of a read must be renewed after its last frame, and picows would
                # keep a ping that is the last frame to itself.
                enable_auto_pong=False,
                max_frame_size=self.settings.max_message_bytes,
                max_redirects=0,
                read_buffer_init_size=self.settings.read_buffer_bytes,
                logger_name="data_controller",
            )
        if socket.transport is None:
            raise ConnectionError("the peer ended the connection inside the handshake")

    async def _wait_turn(self, slot: _Slot, at_least_s: float) -> None:
        delay_s = next(slot.delays) if slot.lasted_s < 0 else slot.delays.send(slot.lasted_s)
        delay_s = max(delay_s, at_least_s, (slot.not_before_ns - self._now_ns()) / _S)
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        venue = self._venues[slot.venue]
        async with venue.turn:
            while wait_ns := venue.limiter.take(self._now_ns()):
                await asyncio.sleep(wait_ns / _S)

    def _on_failure(self, slot: _Slot, error: Exception) -> float:
        """Seconds that the next attempt waits at least."""
        slot.failures += 1
        slot.last_error = _describe(error)
        if worth_retrying(error):
            return 0.0
        self._alert_outage(slot, "critical", "a person must look at this")
        return self.settings.reconnect_max_s

    def _on_overdue(self, slot: _Slot) -> None:
        self._alert_outage(slot, "warning", f"still trying after {self.settings.unreachable_after_s:g} s")

    def _alert_outage(self, slot: _Slot, severity: str, what: str) -> None:
        if slot.alerted in (severity, "critical"):
            return
        slot.alerted = severity
        text = f"connection {slot.conn} to {slot.url} is not open ({slot.last_error or 'no answer yet'}): {what}"
        self._alert(Alert(severity, "connection_unreachable", text))

    def _opened(self, slot: _Slot, socket: _Socket) -> None:
        slot.socket = socket
        if self._secrets is not None:
            socket.outbox = Outbox(
                self._secrets,
                slot.venue,
                lambda wire, payload: self._transmit(slot, socket, wire, payload),
                lambda payload, reason: self._refuse(slot, payload, reason),
            )
        slot.opened_ns = self._now_ns()
        slot.opens += 1
        slot.last_error = ""
        if slot.overdue is not None:
            slot.overdue.cancel()
        self._sink.push(int(Kind.OPENED), slot.conn, slot.opened_ns, slot.url.encode())
        self._sink.wake()

    def _closed(self, slot: _Slot, reason: str) -> None:
        """The slot's socket counts no more: the one place that writes CLOSED."""
        now_ns = self._now_ns()
        assert slot.socket is not None, "a CLOSED record needs an open socket"
        slot.socket.live = False
        if slot.socket.outbox is not None:
            slot.socket.outbox.close()
            slot.socket.outbox = None  # it knows its socket: nobody collects cycles while the engine is live
        slot.socket = None
        slot.lasted_s = (now_ns - slot.opened_ns) / _S
        slot.task = None
        slot.short_lives = 0 if slot.lasted_s >= self.settings.stable_after_s else slot.short_lives + 1
        if slot.short_lives == SHORT_LIVES and reason != ENGINE_STOPS:
            text = f"connection {slot.conn} to {slot.url} was lost {SHORT_LIVES} times in a row, at last: {reason}"
            self._alert(Alert("warning", "connection_unstable", f"{text}: still trying, at growing intervals"))
        self._sink.push(int(Kind.CLOSED), slot.conn, now_ns, reason.encode())
        self._sink.wake()

    def _drop(self, slot: _Slot, reason: str, code: WSCloseCode = WSCloseCode.GOING_AWAY) -> None:
        assert slot.socket is not None, "only an open socket can be dropped"
        transport = slot.socket.transport
        self._closed(slot, reason)
        if transport is not None:
            transport.send_close(code)
            # Not gracefully: a dead peer would hold the socket until TCP gives up.
            transport.disconnect(False)


class _Socket(picows.WSListener):
    """One socket's callbacks. `live` says whether its records count; it never becomes True again."""

    def __init__(self, shell: WebSocketShell, slot: _Slot) -> None:
        self.live = True
        self.transport: picows.WSTransport | None = None
        self.outbox: Outbox | None = None  # None before it is open, and where nobody knows secrets
        self._shell = shell
        self._slot = slot
        self._conn = slot.conn
        self._push = shell._sink.push
        self._frames_taken = shell._sink.frames_taken
        self._now_ns = shell._now_ns
        self._recv_ns = 0  # of the read that is being taken apart
        self._fresh = True  # the next frame is the first of its read
        self._parts: list[bytes] = []  # of a fragmented message
        self._parts_bytes = 0

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        if not self.live:
            transport.disconnect(False)
            return
        self.transport = transport
        if self._shell.paused:
            transport.underlying_transport.pause_reading()
        self._shell._opened(self._slot, self)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if not self.live:
            return
        if self._fresh:
            self._recv_ns = self._now_ns()
        kind = frame.msg_type
        if kind in _DATA and frame.fin and not self._parts:
            self._push(_FRAME, self._conn, self._recv_ns, frame.get_payload_as_memoryview())
        else:
            self._on_rare(transport, frame, kind)
        self._fresh = frame.last_in_buffer
        if self._fresh:
            self._frames_taken()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        if self.live:
            self._shell._closed(self._slot, _why_closed(transport))

    def pause_writing(self) -> None:
        """Nothing to do: what is unsent is bounded at each send."""

    def resume_writing(self) -> None:
        """Nothing to do."""

    def _on_rare(self, transport: picows.WSTransport, frame: picows.WSFrame, kind: WSMsgType) -> None:
        """Fragments, control frames, and what the protocol forbids."""
        if kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            self._shell._bound_unsent(self._slot, transport)
        elif kind == WSMsgType.CLOSE:
            self._shell._drop(self._slot, _why_closed(transport), WSCloseCode.OK)
        elif kind in _DATA or kind == _CONTINUATION:
            if (kind == _CONTINUATION) != bool(self._parts):
                reason = "the peer broke the protocol: a fragment without its first, or a message inside another"
                self._shell._drop(self._slot, reason, WSCloseCode.PROTOCOL_ERROR)
                return
            self._parts.append(frame.get_payload_as_bytes())
            self._parts_bytes += frame.payload_size
            limit = self._shell.settings.max_message_bytes
            if self._parts_bytes > limit:
                reason = f"a message of more than {limit} bytes (`ingest.max_message_bytes`)"
                self._shell._drop(self._slot, reason, WSCloseCode.MESSAGE_TOO_BIG)
            elif frame.fin:
                self._push(_FRAME, self._conn, self._recv_ns, b"".join(self._parts))
                self._parts.clear()
                self._parts_bytes = 0


def _why_closed(transport: picows.WSTransport) -> str:
    """The reason of a CLOSED record: what was said, by whom."""
    # None until a close frame was seen, which picows' own annotations leave out.
    handshake: picows.picows.WSCloseHandshake | None = transport.close_handshake
    for info, who in () if handshake is None else ((handshake.recv, "the peer closed"), (handshake.sent, "we closed")):
        if info is not None:
            return f"{who}: {getattr(info.code, 'value', info.code)} {info.reason or ''}".rstrip()
    return "the connection was lost"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
