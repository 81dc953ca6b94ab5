"""What every further venue shares: how its sessions queue frames, how it answers REST, how time reaches it.

A *venue* is one reading of the shared market in one exchange's protocol. The exchange calls its `step` at every
multiple of `STEP_NS`; it then tells its sessions, which put frames in line. All of it works without a socket:

    venue = BinanceVenue(exchange, "spot")
    session = venue.open("/ws")
    session.receive(b'{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}')
    exchange.advance(exchange.now_ns + 1_000_000_000)
    frames = session.frames()                                 # frames[j].seq names a moment: venue.truth(symbol, seq)
    status, headers, body = venue.rest("/api/v3/depth?symbol=BTCUSDT&limit=100")
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from data_controller.simulator import state as layout
from data_controller.simulator.exchange import STEP_NS, Exchange, Frame
from data_controller.simulator.history import History

SECOND = 1_000_000_000
__all__ = ["STEP_NS", "Answer", "Request", "Subscription", "Venue", "VenueSession", "compact"]


def compact(value: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


class Answer(NamedTuple):
    """What a REST request is answered with."""

    status: int
    headers: dict[str, str]
    body: bytes


class Request(NamedTuple):
    """A REST request: its path without the query, the query's fields, the body."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @classmethod
    def of(
        cls, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Request:
        """A request from its target (path and query)."""
        parts = urlsplit(target)
        names = {name.lower(): value for name, value in (headers or {}).items()}
        return cls(method, parts.path, dict(parse_qsl(parts.query)), names, body)


class Subscription(NamedTuple):
    """A stream that a session listens to."""

    channel: str  # book, trades, ticker ..., as the faults name them
    symbol: str  # the venue's name; "" where it belongs to none
    name: str  # as the client asked for it


Sides = tuple[list[tuple[str, str]], list[tuple[str, str]]]
"""Bids and asks as texts (price, amount), best first."""
REST_FAULTS = ("rest_429", "rest_418", "rest_5xx", "rest_stale", "rest_garbage")
"""What can go wrong with a REST answer: too many requests, banned, a dead gateway, an old book, half an answer."""


class Venue(ABC):
    """One exchange's protocol over the shared market; makes sessions and answers REST."""

    name = ""
    ping_every_ns = 0  # WebSocket pings of the server; 0: none
    lifetime_ns = 0  # after which a connection is ended; 0: never

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.history = History.of(exchange)
        self.clock_offset_ns = 0  # a wrong clock: added to every time that is told
        self.rest_faults: dict[str, int] = {}  # kind -> answers still to spoil
        self.requests: deque[tuple[int, str, int]] = deque(maxlen=4096)  # (market time, path, status)
        self.sessions: list[VenueSession] = []
        exchange.venues.append(self)

    @property
    def told_ns(self) -> int:
        """The time that this venue tells."""
        return self.exchange.now_ns + self.clock_offset_ns

    @property
    def told_ms(self) -> int:
        """The time that this venue tells, in ms."""
        return self.told_ns // 1_000_000

    @abstractmethod
    def open(self, path: str) -> VenueSession | None:
        """A new connection to a WebSocket path, None where there is none."""

    @abstractmethod
    def step(self, now_ns: int) -> None:
        """The market stands at a multiple of STEP_NS: tell the sessions what changed."""

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """The answer to a REST request that no fault spoils."""

    def truth(self, symbol: str, **moment: Any) -> Sides:
        """Bids and asks as texts (price, amount), best first, as of a moment; LookupError where there is none."""
        raise LookupError(f"expected a venue that knows the book of {symbol} as of a moment, was {self.name}")

    def rest(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Answer a REST request: status, headers, body."""
        try:
            request = Request.of(target, method, headers, body)
        except ValueError:  # such as //[: no address can be that
            return Answer(400, {}, compact({"error": "bad request"}))
        answer = self._spoiled() or self.answer(request)
        if self.strikes("rest_garbage"):
            answer = answer._replace(body=answer.body[: len(answer.body) // 2])
        self.requests.append((self.exchange.now_ns, request.path, answer.status))
        return answer

    def _spoiled(self) -> Answer | None:
        if self.strikes("rest_429"):
            return Answer(429, {"Retry-After": "2"}, compact(self.too_many()))
        if self.strikes("rest_418"):
            return Answer(418, {"Retry-After": "30"}, compact(self.too_many()))
        if self.strikes("rest_5xx"):
            return Answer(502, {"Content-Type": "text/html"}, b"<html><body>502 Bad Gateway</body></html>")
        return None

    def too_many(self) -> Any:
        """The body of a refusal for too many requests."""
        return {"error": "too many requests"}

    def strikes(self, kind: str) -> bool:
        """Whether a fault of that kind is armed; one of its answers is then used up."""
        left = self.rest_faults.get(kind, 0)
        if left <= 0:
            return False
        self.rest_faults[kind] = left - 1
        return True


class VenueSession(ABC):
    """One client's connection to a venue, without a socket; what `faults.Link` needs of a session is here."""

    acks: tuple[bytes, ...] = ()  # how the answers to a subscription begin

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.exchange = venue.exchange
        self.conn = venue.exchange.connect()
        self.opened_ns = venue.exchange.now_ns
        self.flags = 0
        self.channels: dict[int, Any] = {}  # id -> Subscription
        self.unserved = ""  # where not empty, every subscription fails with this text
        self.hung_up = ""  # where not empty, the venue ends the connection, and why
        self._muted: dict[int, list[Frame]] = {}
        self._dead: set[int] = set()
        self._next_chan = 0
        venue.sessions.append(self)

    # In and out

    def receive(self, data: str | bytes) -> list[bytes]:
        """Take one message of the client; returns the frames that wait, answers included."""
        self.handle(data)
        return [frame.data for frame in self.frames()]

    @abstractmethod
    def handle(self, text: str | bytes) -> None:
        """Take one message of the client; what it causes waits in line."""

    def frames(self) -> list[Frame]:
        """The frames that wait, oldest first."""
        lifetime_ns = self.venue.lifetime_ns
        if lifetime_ns and self.exchange.now_ns - self.opened_ns >= lifetime_ns:
            self.hung_up = "lifetime"
        return self.exchange.take(self.conn)

    def poll(self, now_ns: int) -> list[bytes]:
        """Run the market on to `now_ns`; returns the frames that wait."""
        self.exchange.advance(now_ns)
        return [frame.data for frame in self.frames()]

    def take(self, now_ns: int | None = None) -> list[Frame]:
        """The frames that wait, the market run on to `now_ns` first where that is given."""
        if now_ns is not None:
            self.exchange.advance(now_ns)
        return self.frames()

    def close(self) -> None:
        """The connection ended: the venue forgets it."""
        if self in self.venue.sessions:
            self.venue.sessions.remove(self)
        self.exchange.disconnect(self.conn)
        self.channels.clear()

    # What the faults use

    def channel_ids(self, symbol: str | None = None, channel: str | None = None) -> list[int]:
        """Ids of the streams, of one symbol and one kind where given."""
        return [
            chan_id
            for chan_id, stream in self.channels.items()
            if (symbol is None or stream.symbol == symbol) and (channel is None or stream.channel == channel)
        ]

    def mute(self, chan_ids: list[int] | None, muted: bool, catch_up: bool = True, heartbeats: bool = True) -> None:
        """Keep back what streams (None: all) say, or let them speak again, with what was kept back or without it.

        Without `heartbeats` a stream is dead for good.
        """
        for chan_id in list(self.channels) if chan_ids is None else chan_ids:
            if muted and not heartbeats:
                self._dead.add(chan_id)
            elif muted:
                self._muted.setdefault(chan_id, [])
            else:
                kept = self._muted.pop(chan_id, [])
                if catch_up:
                    self.exchange.line_up(self.conn, *kept)

    def info(self, code: int) -> None:
        """Tell of a restart or a maintenance (a Bitfinex code); without a message for it, nothing."""
        return

    def stats(self) -> list[dict[str, Any]]:
        """The streams as the control port tells of them."""
        return [stream._asdict() | {"chanId": chan_id} for chan_id, stream in self.channels.items()]

    # For the dialects

    def add(self, stream: Subscription) -> int:
        """Remember a stream; returns its id, which never goes over the wire."""
        self._next_chan += 1
        self.channels[self._next_chan] = stream
        return self._next_chan

    def remove(self, chan_id: int) -> None:
        """Forget a stream."""
        self.channels.pop(chan_id, None)
        self._muted.pop(chan_id, None)
        self._dead.discard(chan_id)

    def say(self, data: bytes, kind: int = layout.EVENT, chan_id: int = 0, stamp: int = 0) -> None:
        """Put a frame in line; `stamp` names the moment whose truth the client has once it took the frame."""
        frame = Frame(data, kind, chan_id, stamp, self.exchange.now_ns)
        if chan_id in self._dead:
            return
        if chan_id in self._muted:
            self._muted[chan_id].append(frame)
            return
        self.exchange.line_up(self.conn, frame)
