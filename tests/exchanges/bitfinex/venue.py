"""A Bitfinex of a few lines, without books: it answers requests with control rows, and can be told to misbehave."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Alert, Open, Reconnect, Send
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.exchanges.bitfinex.subscriptions import BitfinexSubscriptions
from data_controller.market.layout import BOOK
from data_controller.market.rows import EVENT, Control, Kind
from data_controller.market.tables import Channel, Tables

S = 1_000_000_000
T0 = 1_700_000_000 * S
FLAGS = 229376


def control(code: Control, conn: int, now_ns: int, channel: int = -1, price: int = 0, size: int = 0) -> np.void:
    """A CONTROL row as the decoder writes it."""
    row = np.zeros(1, EVENT)[0]
    row["kind"], row["ref"], row["part"], row["channel"] = Kind.CONTROL, code, conn, channel
    row["price"], row["size"], row["recv_ns"] = price, size, now_ns
    return row


class Rig:
    """Subscriptions under test with a venue and a shell that obey, on a virtual clock.

    `inbox` are requests not yet answered; `alerts` what a person would hear; `said` all that was sent.
    """

    def __init__(self, first_conn: int = 0, **settings: Any) -> None:
        self.settings = BitfinexSettings(**settings)
        self.tables = Tables()
        self.subs = BitfinexSubscriptions(self.settings, self.tables, first_conn)
        self.now_ns = T0
        self.last_recv_ns: NDArray[np.int64] = np.zeros(64, np.int64)
        self.books = np.zeros(0, BOOK)
        self.inbox: list[tuple[int, dict[str, Any]]] = []
        self.said: list[tuple[int, dict[str, Any]]] = []
        self.alerts: list[Alert] = []
        self.log: list[Action] = []
        self.open: dict[int, bool] = {}
        self.subscribed: dict[tuple[int, int], int] = {}  # (connection, venue's id) -> channel row
        self.next_id = 100
        self.limit = 25

    # What the engine does

    def start(self) -> list[Action]:
        return self.perform(self.subs.start(self.now_ns))

    def perform(self, actions: list[Action]) -> list[Action]:
        self.subs.validate()
        self.log += actions
        for action in actions:
            match action:
                case Open(conn=conn):
                    assert not self.open.get(conn), f"connection {conn} is open already"
                    self.open[conn] = False
                case Send(conn=conn, payload=payload):
                    if self.open.get(conn):
                        message = (conn, json.loads(payload))
                        self.inbox.append(message)
                        self.said.append(message)
                case Reconnect(conn=conn):
                    self.drop(conn)
                case Alert():
                    self.alerts.append(action)
        return actions

    def row(self, code: Control, conn: int = 0, channel: int = -1, price: int = 0, size: int = 0) -> list[Action]:
        """Hand one control row over and do what comes of it."""
        return self.perform(self.subs.on_control(control(code, conn, self.now_ns, channel, price, size), self.now_ns))

    def broken(self, channel: int, by: int) -> list[Action]:
        return self.perform(self.subs.on_broken(channel, by, self.now_ns))

    def pulse(self, seconds: float, heard: bool = True) -> list[Action]:
        """Let time pass, then pulse; `heard` says whether every open connection got a frame just now."""
        self.now_ns += int(seconds * S)
        if heard:
            self.last_recv_ns[:] = self.now_ns
        return self.perform(self.subs.on_pulse(self.now_ns, self.last_recv_ns, self.books))

    # What the venue does

    def drop(self, conn: int) -> None:
        was = self.open.get(conn)
        self.inbox = [message for message in self.inbox if message[0] != conn]
        self.subscribed = {key: row for key, row in self.subscribed.items() if key[0] != conn}
        if was:
            del self.open[conn]
            self.row(Control.CLOSED, conn)

    def connect(self) -> None:
        """Open every connection that was asked for."""
        for conn, is_open in list(self.open.items()):
            if not is_open:
                self.open[conn] = True
                self.row(Control.OPENED, conn)
                self.row(Control.INFO, conn, price=2)

    def answer(self) -> bool:
        """Answer the oldest request as the venue would; False where there is none."""
        if not self.inbox:
            return False
        conn, message = self.inbox.pop(0)
        if message["event"] == "conf":
            self.row(Control.CONFIGURED, conn, size=message["flags"])
        elif message["event"] == "unsubscribe":
            row = self.subscribed.pop((conn, message["chanId"]), None)
            if row is None:
                self.row(Control.ERROR, conn, price=10400)
            else:
                self.row(Control.UNSUBSCRIBED, conn, row, message["chanId"])
        else:
            row = self.channel(message)
            here = [r for (c, _), r in self.subscribed.items() if c == conn]
            if row in here:
                self.row(Control.ERROR, conn, row, 10301)
            elif len(here) >= self.limit:
                self.row(Control.ERROR, conn, row, 10305)
            else:
                self.next_id += 1
                self.subscribed[conn, self.next_id] = row
                self.row(Control.SUBSCRIBED, conn, row, self.next_id)
        return True

    def settle(self) -> None:
        """Connect and answer until nothing is asked any more."""
        for _ in range(10_000):
            self.connect()
            if not self.answer() and all(self.open.values()):
                return
        raise AssertionError("expected the session to come to rest")

    # What a test looks at

    def channel(self, message: dict[str, Any]) -> int:
        """Row of the channel that a subscribe message asks for."""
        if message["channel"] == "candles":
            _, width, symbol = message["key"].split(":", 2)
            return self.tables.channel(Channel("bitfinex", symbol, "candles", width))
        if message["channel"] == "book":
            rendering = (message["prec"], message["freq"], int(message["len"]))
            return self.tables.channel(Channel("bitfinex", message["symbol"], "book", *rendering))
        return self.tables.channel(Channel("bitfinex", message["symbol"], message["channel"]))

    def states(self, conn: int = 0) -> list[str]:
        """States of the channels of connection `conn`, in order of placement."""
        (found,) = [c for c in self.subs.state()["connections"] if c["conn"] == conn]
        return [ch["state"] for ch in found["channels"]]

    def slots(self) -> list[str]:
        return [c["state"] for c in self.subs.state()["connections"]]

    def chan_id(self, channel: int) -> int:
        return next(chan_id for (_, chan_id), row in self.subscribed.items() if row == channel)

    def live_everywhere(self) -> bool:
        states = [ch["state"] for c in self.subs.state()["connections"] for ch in c["channels"]]
        return set(states) <= {"LIVE"} and sorted(self.subscribed.values()) == sorted(
            ch["row"] for c in self.subs.state()["connections"] for ch in c["channels"]
        )

    def book(self, channel: int, **fields: int) -> NDArray[np.void]:
        """One BOOK row for `channel`, appended to what pulses see."""
        book = np.zeros(1, BOOK)
        book["channel"], book["depth"], book["checksummed"] = channel, 2, 1
        for name, value in fields.items():
            book[name] = value
        self.books = np.concatenate([self.books, book])
        return self.books[-1:]
