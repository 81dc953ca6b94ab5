"""What the bridge is asked for: one connection, each wanted channel live on it or waiting for its next try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Alert, Open, Reconnect, Send
from data_controller.exchanges.ccxt.settings import VENUE, CcxtSettings, key_of, wanted
from data_controller.exchanges.naming import described
from data_controller.market.layout import Proof
from data_controller.market.rows import Control
from data_controller.market.tables import Channel, Tables

BRIDGE_VERSION = 1
_S = 1_000_000_000
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Stream:
    """One wanted channel."""

    channel: Channel
    asked_ns: int = 0  # when its subscribe was sent on this connection, 0 not
    not_before_ns: int = 0  # earliest next try after it was refused
    refused: bool = False


class CcxtSubscriptions:
    """Keeps the wanted channels asked for on one connection to the bridge, slot `first_conn`. Pure.

    An exchange that the bridge lost is the bridge's matter: it says `lost`, and a fresh book follows.
    """

    def __init__(self, settings: CcxtSettings, tables: Tables, first_conn: int = 0) -> None:
        self.counters = dict.fromkeys(("opens", "resyncs", "refusals", "bridge_errors"), 0)
        self._settings = settings
        self._tables = tables
        self._conn = first_conn
        self._streams: dict[int, _Stream] = {}
        self._wanted = False  # an Open was asked for
        self._open_ns = 0  # since when the connection is open, 0 not

    def start(self, now_ns: int) -> list[Action]:
        """The Open of the connection, where any channel is wanted; rows for them are added to the tables."""
        return self.reload(self._settings, now_ns)

    def reload(self, settings: CcxtSettings, now_ns: int) -> list[Action]:
        """Actions that make `settings` true: new channels are asked for, others given up; those that stay stay."""
        self._settings = settings
        rows = {}
        for channel in wanted(settings):
            self._tables.instrument(described(channel.venue, channel.symbol))
            rows[self._tables.channel(channel)] = channel
        actions: list[Action] = []
        for row in [row for row in self._streams if row not in rows]:
            stream = self._streams.pop(row)
            if self._open_ns and stream.asked_ns:
                actions.append(self._send("unsubscribe", stream.channel))
        for row, channel in rows.items():
            stream = self._streams.setdefault(row, _Stream(channel))
            stream.not_before_ns = 0
            actions += self._ask(stream, now_ns)
        if self._streams and not self._wanted:
            self._wanted = True
            actions.append(Open(self._conn, VENUE, settings.url))
        return actions

    def on_control(self, row: np.void, now_ns: int) -> list[Action]:
        """Actions after a CONTROL row."""
        if int(row["part"]) != self._conn:
            return []
        now_ns = int(row["recv_ns"]) or now_ns
        stream = self._streams.get(int(row["channel"]))
        match int(row["ref"]):
            case Control.OPENED:
                self.counters["opens"] += 1
                self._open_ns = now_ns
                return [action for s in self._streams.values() for action in self._ask(s, now_ns)]
            case Control.CLOSED:
                self._open_ns = 0
                for s in self._streams.values():
                    s.asked_ns = 0
                self._wanted = bool(self._streams)
                return [Open(self._conn, VENUE, self._settings.url)] if self._streams else []
            case Control.INFO if int(row["price"]) != BRIDGE_VERSION:
                text = f"expected a bridge of version {BRIDGE_VERSION}, was {int(row['price'])}: who listens there?"
                return [Alert("critical", "ccxt_bridge_version", text)]
            case Control.ERROR if stream is None:
                self.counters["bridge_errors"] += 1
            case Control.ERROR if stream is not None:
                return self._on_refused(stream, now_ns)
            case Control.SUBSCRIBED if stream is not None:
                stream.refused = False
        return []

    def on_broken(self, channel: int, broken_by: int, now_ns: int) -> list[Action]:
        """Nothing at once: the bridge begins anew by itself, and `on_pulse` looks whether it did."""
        return []

    def on_pulse(self, now_ns: int, last_recv_ns: NDArray[np.int64], books: NDArray[np.void]) -> list[Action]:
        """A silent bridge is hung up on; a book without a snapshot for too long is asked for anew."""
        if not self._open_ns:
            return []
        heard_ns = max(self._open_ns, int(last_recv_ns[self._conn]) if self._conn < len(last_recv_ns) else 0)
        if now_ns - heard_ns > int(self._settings.silent_after_s * _S):
            return [Reconnect(self._conn, f"the bridge is silent for {self._settings.silent_after_s:g} s")]
        actions: list[Action] = []
        patience_ns = int(self._settings.book_lost_after_s * _S)
        for row, stream in self._streams.items():
            if not stream.asked_ns:
                actions += self._ask(stream, now_ns)
            elif stream.channel.stream == "book" and row < len(books):
                book = books[row]
                lost = book["proof"] in (Proof.EMPTY, Proof.PENDING, Proof.BROKEN)
                since_ns = max(stream.asked_ns, int(book["broken_ns"]))
                if lost and now_ns - since_ns > patience_ns:
                    self.counters["resyncs"] += 1
                    stream.asked_ns = 0
                    actions += [self._send("unsubscribe", stream.channel), *self._ask(stream, now_ns)]
        return actions

    def silent(self, now_ns: int, heard_ns: NDArray[np.int64]) -> list[int]:
        """None: a quiet market says nothing, and neither do its books here; the bridge itself has heartbeats."""
        return []

    def state(self) -> dict[str, Any]:
        """What a status display shows."""
        return {
            "open": bool(self._open_ns),
            "channels": [
                {**s.channel._asdict(), "row": row, "asked_ns": s.asked_ns, "refused": s.refused}
                for row, s in self._streams.items()
            ],
            "counters": dict(self.counters),
        }

    def _ask(self, stream: _Stream, now_ns: int) -> list[Action]:
        if not self._open_ns or stream.asked_ns or now_ns < stream.not_before_ns:
            return []
        stream.asked_ns = now_ns
        return [self._send("subscribe", stream.channel)]

    def _on_refused(self, stream: _Stream, now_ns: int) -> list[Action]:
        self.counters["refusals"] += 1
        stream.asked_ns = 0
        stream.not_before_ns = now_ns + int(self._settings.retry_refused_after_s * _S)
        told, stream.refused = stream.refused, True
        if told:
            return []
        text = f"{stream.channel.symbol} {stream.channel.stream} cannot be had through ccxt: the journal has its words"
        return [Alert("warning", "ccxt_channel_refused", text)]

    def _send(self, op: str, channel: Channel) -> Send:
        exchange, _, symbol = channel.symbol.partition(":")
        request: dict[str, Any] = {"op": op, "channel": key_of(channel)}
        if op == "subscribe":
            request |= {"exchange": exchange, "symbol": symbol, "stream": channel.stream, "depth": channel.length or 25}
        return Send(self._conn, _encode(request))
