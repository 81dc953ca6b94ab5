"""KuCoin's frames to event rows: what the compiled scan leaves to Python, and the splice to a fetched book."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec
import numpy as np

from data_controller.exchanges.kucoin import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN
from data_controller.exchanges.streaming.snapshots import Snapshot, read_levels
from data_controller.exchanges.streaming.splice import Held, SplicedDecoder
from data_controller.exchanges.streaming.tape import name
from data_controller.market.rows import Control, Flag, Promise, copy_rows
from data_controller.market.tables import Channel

_REQUEST = re.compile(r"/market/orderbook/level2\?(?:.*&)?symbol=([A-Za-z0-9-]+)")
_TOPIC = re.compile(r"/market/(level2|match|ticker|candles):([A-Z0-9-]{2,60})(?:_([0-9]{1,2})(min|hour|day|week))?")
_UNITS = {"min": "m", "hour": "h", "day": "d", "week": "w"}
_TICKER = {
    "bid": "bestBid",
    "bid_size": "bestBidSize",
    "ask": "bestAsk",
    "ask_size": "bestAskSize",
    "last": "price",
}
_LAST = np.uint32(Flag.LAST)
_MS = 1_000_000


class _Body(msgspec.Struct):
    time: int = 0


class _Answer(msgspec.Struct):
    code: str = ""
    data: _Body = msgspec.field(default_factory=_Body)


class KucoinDecoder(SplicedDecoder):
    """Decoder of KuCoin's spot streams; see `streaming.decoder`. Books are proved by their numbers."""

    venue: ClassVar[str] = "kucoin"
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        topic, data = message.get("topic"), message.get("data")
        if topic is None:
            return self._answer(message, conn, seq, recv_ns, rows)
        if not isinstance(topic, str) or not isinstance(data, dict):
            return "expected a topic and its data, was otherwise"
        key = name(topic)
        cell = self._cell(conn, key)
        if cell is None:
            channel = self.channel_of(topic)
            if channel is None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            promise = Promise.SEQUENCED if channel.stream == "book" else Promise(0)
            if not self._meet(conn, key, channel, seq, recv_ns, rows, promise=promise):
                return None
            cell = self._cell(conn, key)
            if cell is None or cell["stream"] != state.OTHER:
                if cell is not None and channel.stream == "trades":
                    cell["spare"] = recv_ns
                return AGAIN
        if cell["stream"] != state.OTHER:
            return "expected changes or a trade of this topic, was otherwise"
        cell["heard_ns"] = recv_ns
        row = int(cell["row"])
        try:
            if self.tables.channels[row].stream == "ticker":
                values = {key: float(data.get(own) or 0) for key, own in _TICKER.items()}
                self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)
            else:
                candle = data["candles"]
                values = {key: float(candle[k]) for k, key in enumerate(("open", "close", "high", "low", "volume"), 1)}
                self._tell("candles", state.C_CANDLES, seq, recv_ns, row, {"mts": int(candle[0]) * 1000, **values})
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            return f"expected a {self.tables.channels[row].stream} message, was otherwise: {error!r}"
        return None

    def channel_of(self, topic: str) -> Channel | None:
        """The channel of a topic (`/market/level2:BTC-USDT`), None where it is none of ours."""
        match = _TOPIC.fullmatch(topic)
        if match is None:
            return None
        kind, symbol, count, unit = match[1], match[2], match[3], match[4]
        if kind == "candles":
            return None if count is None else Channel(self.venue, symbol, "candles", count + _UNITS[unit])
        if count is not None:
            return None
        if kind == "level2":
            return Channel(self.venue, symbol, "book")
        return Channel(self.venue, symbol, "trades" if kind == "match" else "ticker")

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        self._counts[state.C_ENVELOPES] += 1
        kind = message.get("type")
        if kind == "error":
            code = message.get("code", 0)
            if type(code) is not int or abs(code) >= 1 << 31:
                return "expected an integer as code, was otherwise"
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=code)
        elif kind == "pong":
            self._counts[state.C_HEARTBEATS] += 1
            self._control(rows, seq, recv_ns, conn, Control.PONG)
        elif kind not in ("ack", "welcome"):
            return "expected a topic or an answer, was other JSON"
        return None

    # the splice

    def _asked(self, request: str) -> Channel | None:
        match = _REQUEST.search(request)
        return None if match is None else Channel(self.venue, match[1], "book")

    def _read_snapshot(self, body: bytes) -> Snapshot | None:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        if answer.code != "200000" or not 0 <= answer.data.time < 9_000_000_000_000:
            return None
        return read_levels(body, last=_SEQUENCE, bids=_BIDS, asks=_ASKS, inside=_DATA, exch_ns=answer.data.time * _MS)

    def _fitting(self, cell: np.void, snapshot: Snapshot) -> list[Held] | None:
        fitting = super()._fitting(cell, snapshot)
        return None if fitting is None else [held._replace(rows=_behind(held, snapshot.last)) for held in fitting]

    def _joins(self, last: int, first: int, until: int, prev: int) -> int:
        if until <= last:
            return -1
        return 0 if first <= last + 1 else 1


_DATA, _SEQUENCE, _BIDS, _ASKS = name("data"), name("sequence"), name("bids"), name("asks")


def _behind(held: Held, last: int) -> Any:
    """Rows of a change whose own number is above `last`; the number is taken out of them."""
    rows = copy_rows(held.rows[held.rows["ref"] > last])
    rows["ref"] = 0
    rows["flags"] &= ~_LAST
    if len(rows):
        rows["flags"][-1] |= _LAST
    return rows
