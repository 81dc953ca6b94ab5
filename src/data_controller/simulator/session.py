"""One client's connection to the simulated exchange, without a socket: texts in, frames out, Bitfinex's v2 protocol."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from data_controller.simulator import state as layout
from data_controller.simulator.exchange import Exchange, Frame

CHANNELS_MAX = 25
RESTART, MAINTENANCE, RESUMED = 20051, 20060, 20061
UNKNOWN_EVENT, UNKNOWN_PRECISION, UNKNOWN_LENGTH = 10000, 10011, 10012
SUBSCRIBE_FAILED, DUPLICATE, UNKNOWN_CHANNEL, CHANNEL_LIMIT = 10300, 10301, 10302, 10305
UNSUBSCRIBE_FAILED = 10400

_PRECISIONS = ("P0", "P1", "P2", "P3", "P4", "R0")
_LENGTHS = ("1", "25", "100", "250")
_TIME_FRAMES = ("1m", "5m", "15m", "30m", "1h")
_INFO_TEXTS = {
    RESTART: "Stopping. Please try to reconnect",
    MAINTENANCE: "Trading engine is refreshing",
    RESUMED: "Trading engine refresh completed",
}


class Session:
    """Speaks for the exchange on one connection.

    `receive` takes what the client sent, `poll` runs the market on and returns what the client would get; both
    return frames as bytes, oldest first. `take` returns the same as `Frame` (what each one is, for fault injection).
    The greeting waits from the start.
    """

    acks: tuple[bytes, ...] = (b'{"event":"subscribed"', b'{"event":"unsubscribed"', b'{"event":"conf"')

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.conn = exchange.connect()
        self.flags = 0
        self.channels: dict[int, dict[str, Any]] = {}  # chanId -> the fields of its `subscribed`
        self.hung_up = ""  # this exchange ends no connection by itself
        self.unserved = ""  # where not empty, every subscription fails with this text
        self._chan_of: dict[str, int] = {}  # what was asked for -> chanId
        self._verbs: dict[str, Callable[[dict[str, Any]], None]] = {
            "conf": self._conf,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "ping": self._ping,
        }
        server = uuid.uuid5(uuid.NAMESPACE_URL, f"simulator/{exchange.seed}")
        status = 0 if exchange.maintenance else 1
        self._say({"event": "info", "version": 2, "serverId": str(server), "platform": {"status": status}})

    def receive(self, text: str | bytes) -> list[bytes]:
        """Take one message of the client; returns the frames that wait, answers included."""
        self.handle(text)
        return self._bytes()

    def handle(self, text: str | bytes) -> None:
        """Take one message of the client; what it causes waits in the queue."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._say({"event": "error", "msg": "Unknown event", "code": UNKNOWN_EVENT})
            return
        verb = message.get("event")
        handler = self._verbs.get(verb) if isinstance(verb, str) else None
        if handler is None:
            self._fail(message, UNKNOWN_EVENT, "event: invalid")
        else:
            handler(message)

    def poll(self, now_ns: int) -> list[bytes]:
        """Run the market on to `now_ns`; returns the frames that wait."""
        self.exchange.advance(now_ns)
        return self._bytes()

    def take(self, now_ns: int | None = None) -> list[Frame]:
        """Like `poll`, as `Frame`; None does not run the market."""
        if now_ns is not None:
            self.exchange.advance(now_ns)
        return self.exchange.take(self.conn)

    def close(self) -> None:
        """The connection ended: the exchange forgets it."""
        self.exchange.disconnect(self.conn)
        self.channels.clear()
        self._chan_of.clear()

    def info(self, code: int) -> None:
        """Tell the client of a restart, a maintenance or its end."""
        self._say({"event": "info", "code": code, "msg": _INFO_TEXTS[code]})

    def channel_ids(self, symbol: str | None = None, channel: str | None = None) -> list[int]:
        """Ids of the open channels, of one symbol and one kind (book, trades, ticker, candles) where given."""
        return [
            chan_id
            for chan_id, fields in self.channels.items()
            if (symbol is None or fields.get("symbol", fields.get("key", "").split(":", 2)[-1]) == symbol)
            and (channel is None or fields["channel"] == channel)
        ]

    def mute(self, chan_ids: list[int] | None, muted: bool, catch_up: bool = True, heartbeats: bool = True) -> None:
        """Silence channels (None: all), but for `heartbeats`, or let them speak again; see `Exchange.mute`."""
        self.exchange.mute(self.conn, chan_ids, muted, catch_up, heartbeats)

    def stats(self) -> list[dict[str, Any]]:
        """The channels as the control port tells of them."""
        return [{k: v for k, v in fields.items() if k not in ("event", "asked")} for fields in self.channels.values()]

    # What the client may ask

    def _conf(self, message: dict[str, Any]) -> None:
        flags = message.get("flags", 0)
        if not isinstance(flags, int) or isinstance(flags, bool) or flags < 0:
            self._fail(message, UNKNOWN_EVENT, "flags: invalid")
            return
        self.flags = flags
        self._say({"event": "conf", "status": "OK", "flags": flags})
        self.exchange.set_flags(self.conn, flags)

    def _ping(self, message: dict[str, Any]) -> None:
        pong: dict[str, Any] = {"event": "pong", "ts": self.exchange.now_ns // 1_000_000}
        if "cid" in message:
            pong["cid"] = message["cid"]
        self._say(pong)

    def _subscribe(self, message: dict[str, Any]) -> None:
        if self.unserved:
            self._fail(message, SUBSCRIBE_FAILED, self.unserved)
            return
        opened = {"book": self._book, "trades": self._plain, "ticker": self._plain, "candles": self._candles}.get(
            str(message.get("channel"))
        )
        if opened is None:
            self._fail(message, UNKNOWN_CHANNEL, "channel: unknown")
            return
        opened(message)

    def _book(self, message: dict[str, Any]) -> None:
        precision, freq, length = (str(message.get(k, d)) for k, d in (("prec", "P0"), ("freq", "F0"), ("len", "25")))
        if precision not in _PRECISIONS:
            self._fail(message, UNKNOWN_PRECISION, "prec: invalid")
        elif freq not in ("F0", "F1"):
            self._fail(message, SUBSCRIBE_FAILED, "freq: invalid")
        elif length not in _LENGTHS:
            self._fail(message, UNKNOWN_LENGTH, "len: invalid")
        else:
            fields = {"prec": precision, "freq": freq, "len": length}
            symbol = self._symbol(message)
            if symbol:
                self._open(
                    message, symbol, layout.BOOK, fields, precision=precision, length=int(length), slow=freq == "F1"
                )

    def _plain(self, message: dict[str, Any]) -> None:
        symbol = self._symbol(message)
        if symbol:
            self._open(message, symbol, layout.TRADES if message["channel"] == "trades" else layout.TICKER, {})

    def _candles(self, message: dict[str, Any]) -> None:
        parts = str(message.get("key", "")).split(":", 2)
        if len(parts) != 3 or parts[0] != "trade" or parts[1] not in _TIME_FRAMES:
            self._fail(message, SUBSCRIBE_FAILED, "key: invalid")
        elif self.exchange.instrument(parts[2]) is None:
            self._fail(message, SUBSCRIBE_FAILED, "symbol: invalid")
        else:
            self._open(message, parts[2], layout.CANDLE_KIND, {"key": message["key"]}, key=message["key"])

    def _symbol(self, message: dict[str, Any]) -> str | None:
        symbol = message.get("symbol")
        if symbol is None and isinstance(message.get("pair"), str):
            symbol = "t" + message["pair"].removeprefix("t")
        if not isinstance(symbol, str) or self.exchange.instrument(symbol) is None:
            self._fail(message, SUBSCRIBE_FAILED, "symbol: invalid")
            return None
        return symbol

    def _open(self, message: dict[str, Any], symbol: str, kind: int, fields: dict[str, Any], **options: Any) -> None:
        channel = message["channel"]
        asked = json.dumps([channel, symbol, fields], sort_keys=True)
        if asked in self._chan_of:
            self._fail(message, DUPLICATE, "subscribe: dup")
            return
        if len(self.channels) >= CHANNELS_MAX:
            self._fail(message, CHANNEL_LIMIT, "subscribe: limit")
            return
        chan_id = self.exchange.open_channel(self.conn, kind, symbol, **options)
        ack: dict[str, Any] = {"event": "subscribed", "channel": channel, "chanId": chan_id}
        if kind != layout.CANDLE_KIND:
            ack["symbol"] = symbol
        ack |= fields
        if "subId" in message:
            ack["subId"] = message["subId"]
        if kind != layout.CANDLE_KIND:
            ack["pair"] = symbol[1:]
        self._chan_of[asked] = chan_id
        self.channels[chan_id] = ack | {"asked": asked}
        self._say(ack)
        self.exchange.start_channel(self.conn, chan_id)

    def _unsubscribe(self, message: dict[str, Any]) -> None:
        try:
            chan_id = int(message.get("chanId", 0))
        except (TypeError, ValueError):
            chan_id = 0
        known = self.channels.pop(chan_id, None)
        if known is None:
            self._fail(message, UNSUBSCRIBE_FAILED, "unsubscribe: invalid")
            return
        del self._chan_of[known["asked"]]
        self.exchange.close_channel(self.conn, chan_id)
        self._say({"event": "unsubscribed", "status": "OK", "chanId": chan_id})

    def _fail(self, message: dict[str, Any], code: int, text: str) -> None:
        """Answer with the request itself, turned into an error, as the exchange does."""
        self._say(message | {"event": "error", "msg": text, "code": code})

    def _say(self, message: dict[str, Any]) -> None:
        self.exchange.put(self.conn, json.dumps(message, separators=(",", ":")).encode())

    def _bytes(self) -> list[bytes]:
        return [frame.data for frame in self.exchange.take(self.conn)]
