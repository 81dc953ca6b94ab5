"""A venue of named streams in a few lines, without books: a dialect, and a peer that obeys or is told to misbehave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Alert, Fetch, Open, Reconnect, Send
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.exchanges.streaming.settings import StreamingSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.layout import BOOK
from data_controller.market.rows import EVENT, Control, Kind
from data_controller.market.tables import Channel, Tables
from data_controller.settings import hot

S = 1_000_000_000
T0 = 1_700_000_000 * S
LIMITS = Limits(channels_per_connection=100, channels_per_request=10)
PING = b'{"op":"ping"}'


class FakeSettings(StreamingSettings):
    """What the venue of the tests is asked for."""

    books: tuple[str, ...] = hot(("full",))
    trades: bool = hot(False)
    greeting: bool = hot(False)
    nameless: bool = hot(False)  # answers name no channel
    fetched: bool = hot(False)  # books are spliced to a fetched snapshot
    apart: bool = hot(False)  # trades have an address of their own


class FakeDialect:
    """Requests as JSON objects that name their channels."""

    venue = "fake"

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def channels(self, settings: Any) -> list[list[Channel]]:
        return [
            [Channel("fake", symbol, "book", precision) for precision in settings.books]
            + ([Channel("fake", symbol, "trades")] if settings.trades else [])
            for symbol in settings.instruments
        ]

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        return f"wss://fake/{channels[0].stream if settings.apart else 'all'}"

    def greeting(self, settings: Any) -> bytes | None:
        return b'{"op":"hello"}' if settings.greeting else None

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return self._say("subscribe", channels, request)

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return self._say("unsubscribe", channels, request)

    def _say(self, op: str, channels: Sequence[Channel], request: int) -> bytes:
        names = [f"{c.symbol}:{c.stream}:{c.precision}" for c in channels]
        return json.dumps({"op": op, "id": request, "names": names}).encode()

    def confirm(self, settings: Any, request: int) -> bytes | None:
        return json.dumps({"op": "list", "id": request}).encode() if settings.nameless else None

    def ping(self) -> bytes:
        return PING

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        return (
            f"https://fake/depth/{channel.symbol}:book:{channel.precision}"
            if settings.fetched and channel.stream == "book"
            else None
        )


def control(code: Control, conn: int, now_ns: int, channel: int = -1, price: int = 0, size: int = 0) -> np.void:
    """A CONTROL row as a decoder writes it."""
    row = np.zeros(1, EVENT)[0]
    row["kind"], row["ref"], row["part"], row["channel"] = Kind.CONTROL, code, conn, channel
    row["price"], row["size"], row["recv_ns"] = price, size, now_ns
    return row


class Rig:
    """Subscriptions under test with a venue and a shell that obey, on a virtual clock.

    `inbox` are requests not yet answered, `asked` snapshots not yet given; `skew_ns` is how much later than its
    arrival a row is handed over.
    """

    def __init__(self, limits: Limits = LIMITS, first_conn: int = 0, skew_ns: int = 0, **settings: Any):
        self.settings = FakeSettings(**settings)
        self.limits = limits
        self.tables = Tables()
        self.dialect = FakeDialect(limits)
        self.subs = StreamSubscriptions(self.dialect, self.settings, self.tables, first_conn)
        self.now_ns = T0
        self.skew_ns = skew_ns
        self.last_recv_ns: NDArray[np.int64] = np.zeros(512, np.int64)
        self.books = np.zeros(0, BOOK)
        self.inbox: list[tuple[int, dict[str, Any]]] = []
        self.said: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[Fetch] = []
        self.alerts: list[Alert] = []
        self.log: list[Action] = []
        self.open: dict[int, bool] = {}
        self.held: dict[int, list[int]] = {}  # connection -> channel rows that it serves
        self.refused: set[str] = set()  # symbols that the venue does not know
        self.heard: set[tuple[int, int]] = set()  # connection and row of which data came at all
        self.sent_ns: dict[int, list[int]] = {}  # connection -> when requests went out

    # What the engine does

    def start(self) -> list[Action]:
        return self.perform(self.subs.start(self.now_ns))

    def reload(self, **settings: Any) -> list[Action]:
        self.settings = FakeSettings(**{**self.settings.model_dump(), **settings})
        return self.perform(self.subs.reload(self.settings, self.now_ns))

    def perform(self, actions: list[Action]) -> list[Action]:
        self.subs.validate()
        self.log += actions
        for action in actions:
            match action:
                case Open(conn=conn):
                    assert not self.open.get(conn), f"connection {conn} is open already"
                    self.open[conn] = False
                case Send(conn=conn, payload=payload):
                    self._take(conn, payload)
                case Reconnect(conn=conn):
                    self.drop(conn)
                case Fetch():
                    self.asked.append(action)
                case Alert():
                    self.alerts.append(action)
        return actions

    def _take(self, conn: int, payload: bytes) -> None:
        times = self.sent_ns.setdefault(conn, [])
        if payload != PING:
            times.append(self.now_ns)
            within = sum(self.now_ns - t < S for t in times)
            assert not self.limits.requests_per_s or within <= max(1, self.limits.requests_per_s), "asked too fast"
        if not self.open.get(conn):
            return  # the socket went away just now
        message = json.loads(payload)
        assert len(message.get("names", ())) <= self.limits.channels_per_request
        if message["op"] != "ping":
            self.inbox.append((conn, message))
        self.said.append((conn, message))

    def row(self, code: Control, conn: int = 0, channel: int = -1, price: int = 0, size: int = 0) -> list[Action]:
        """Hand one control row over and do what comes of it."""
        row = control(code, conn, self.now_ns, channel, price, size)
        return self.perform(self.subs.on_control(row, self.now_ns + self.skew_ns))

    def broken(self, channel: int, by: int) -> list[Action]:
        return self.perform(self.subs.on_broken(channel, by, self.now_ns))

    def pulse(self, seconds: float, heard: bool = True) -> list[Action]:
        """Let time pass, then pulse; `heard` says whether every open connection got a frame just now."""
        self.now_ns += int(seconds * S)
        if heard:
            self.last_recv_ns[:] = self.now_ns
            self._data()
        return self.perform(self.subs.on_pulse(self.now_ns, self.last_recv_ns, self.books))

    # What the venue does

    def _data(self) -> None:
        """Data of every channel; a venue that acknowledges nothing is known to serve one from the first of it."""
        if self.limits.acknowledged:
            return
        heard_ns = np.zeros(len(self.tables.channels), np.int64)
        for conn, rows in list(self.held.items()):
            for row in list(rows):
                heard_ns[row] = self.now_ns
                if (conn, row) not in self.heard and self.open.get(conn):
                    self.heard.add((conn, row))
                    self.row(Control.SUBSCRIBED, conn, row)
        # Only what was given up may be named: such a venue never says that it is over.
        live = {row for slot in self.subs._slots for row, ch in slot.channels.items() if ch.wanted}
        assert not live & set(self.subs.silent(self.now_ns, heard_ns))

    def drop(self, conn: int) -> None:
        was = self.open.get(conn)
        self.inbox = [message for message in self.inbox if message[0] != conn]
        self.asked = [fetch for fetch in self.asked if fetch.conn != conn]
        self.held.pop(conn, None)
        self.sent_ns.pop(conn, None)
        self.heard = {(c, row) for c, row in self.heard if c != conn}
        if was:
            del self.open[conn]
            self.row(Control.CLOSED, conn)

    def connect(self) -> None:
        """Open every connection that was asked for."""
        for conn, is_open in list(self.open.items()):
            if not is_open:
                self.open[conn] = True
                self.row(Control.OPENED, conn)

    def answer(self) -> bool:
        """Answer the oldest request as the venue would; False where there is none."""
        if not self.inbox:
            return False
        conn, message = self.inbox.pop(0)
        if message["op"] == "hello":
            self.row(Control.CONFIGURED, conn)
            return True
        names = [self.channel(name) for name in message["names"]]
        held = self.held.setdefault(conn, [])
        if message["op"] == "unsubscribe":
            for row in names:
                if row in held:
                    held.remove(row)
                    if self.limits.acknowledged:
                        self.row(Control.UNSUBSCRIBED, conn, row)
                else:
                    self.row(Control.ERROR, conn, row, price=2, size=message["id"])
                if not self.open.get(conn):
                    break
        elif any(row in held or self.tables.channels[row].symbol in self.refused for row in names):
            self.row(Control.ERROR, conn, price=1, size=message["id"])
        else:
            held += names
            assert len(held) <= self.limits.channels_per_connection, "more channels than the venue allows"
            for row in names:
                if self.open.get(conn) and self.limits.acknowledged:
                    self.row(Control.SUBSCRIBED, conn, row)
        return True

    def give(self, status: int = 200, size: int = 1) -> bool:
        """Give the oldest snapshot that was fetched; False where none was."""
        if not self.asked:
            return False
        fetch = self.asked.pop(0)
        self.row(Control.FETCHED, fetch.conn, self.channel(fetch.url.rpartition("/")[2]), status, size)
        return True

    def settle(self) -> None:
        """Connect, answer and give until nothing is asked any more."""
        for _ in range(10_000):
            self.connect()
            if not self.answer() and not self.give() and all(self.open.values()):
                return
        raise AssertionError("expected the session to come to rest")

    # What a test looks at

    def channel(self, name: str) -> int:
        """Row of the channel that a request names."""
        symbol, stream, precision = name.split(":")
        return self.tables.channel(Channel("fake", symbol, stream, precision))  # type: ignore[arg-type]

    def channels(self) -> list[dict[str, Any]]:
        return [ch for c in self.subs.state()["connections"] for ch in c["channels"]]

    def states(self) -> list[str]:
        return [ch["state"] for ch in self.channels()]

    def slots(self) -> list[str]:
        return [c["state"] for c in self.subs.state()["connections"]]

    def live_everywhere(self) -> bool:
        """Whether exactly the wanted channels are live, here and there, and every snapshot came."""
        wanted = sorted(self.tables.channel(c) for group in self.dialect.channels(self.settings) for c in group)
        here = sorted(ch["row"] for ch in self.channels() if ch["state"] == "LIVE" and not ch["fetching"])
        there = sorted(row for rows in self.held.values() for row in rows)
        return wanted == here == there

    def book(self, channel: int, **fields: int) -> NDArray[np.void]:
        """One BOOK row for `channel`, appended to what pulses see."""
        book = np.zeros(1, BOOK)
        book["channel"], book["depth"], book["sequenced"] = channel, 2, 1
        for name, value in fields.items():
            book[name] = value
        self.books = np.concatenate([self.books, book])
        return self.books[-1:]
