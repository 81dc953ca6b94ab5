"""Huobi's frames to event rows, gzip as they come: whole books once a second, trades, tickers, candles."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from data_controller.exchanges.huobi import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN
from data_controller.exchanges.streaming.inflating import GZIP, InflatingDecoder
from data_controller.exchanges.streaming.tape import name
from data_controller.market.rows import Control
from data_controller.market.tables import Channel

_CHANNEL = re.compile(r"market\.([a-z0-9]{2,40})\.(depth|trade|bbo|ticker|kline)(?:\.([A-Za-z0-9]{1,10}))?")
_TICKER = {
    "bid": "bid",
    "bid_size": "bidSize",
    "ask": "ask",
    "ask_size": "askSize",
    "last": "lastPrice",
    "volume": "amount",
    "high": "high",
    "low": "low",
}
_CANDLE = {"open": "open", "close": "close", "high": "high", "low": "low", "volume": "amount"}


class HuobiDecoder(InflatingDecoder):
    """Decoder of Huobi's spot streams. Each message of a book is all of it, and nothing tells that one is missing."""

    venue: ClassVar[str] = "huobi"
    scan: ClassVar[Any] = scanner.scan
    window: ClassVar[int] = GZIP

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        stream, tick = message.get("ch"), message.get("tick")
        if stream is None:
            return self._answer(message, conn, seq, recv_ns, rows)
        if not isinstance(stream, str) or not isinstance(tick, dict):
            return "expected a channel and its tick, was otherwise"
        cell = self._cell(conn, name(stream))
        if cell is None:
            channel = self.channel_of(stream)
            if channel is None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            if not self._join(conn, stream, channel, seq, recv_ns, rows):
                return None
            cell = self._cell(conn, name(stream))
            if cell is None or cell["stream"] != state.OTHER:
                return AGAIN
        if cell["stream"] != state.OTHER:
            return "expected levels, best prices or trades of this channel, was otherwise"
        cell["heard_ns"] = recv_ns
        row = int(cell["row"])
        try:
            if self.tables.channels[row].stream == "ticker":
                values = {key: float(tick.get(own) or 0) for key, own in _TICKER.items()}
                values["change"] = values["last"] - float(tick.get("open") or 0)
                self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)
            else:
                values = {key: float(tick[own]) for key, own in _CANDLE.items()}
                self._tell("candles", state.C_CANDLES, seq, recv_ns, row, {"mts": int(tick["id"]) * 1000, **values})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            return f"expected a {self.tables.channels[row].stream} message, was otherwise: {error!r}"
        return None

    def channel_of(self, stream: str) -> Channel | None:
        """The channel of a stream as Huobi names it (`market.btcusdt.depth.step0`), None where it is none of ours."""
        match = _CHANNEL.fullmatch(stream)
        if match is None:
            return None
        symbol, kind, how = match[1], match[2], match[3]
        if kind == "depth" and how is not None and how.startswith("step"):
            return Channel(self.venue, symbol, "book", how, "", 150)
        if kind == "trade" and how == "detail":
            return Channel(self.venue, symbol, "trades")
        if kind == "kline" and how is not None:
            return Channel(self.venue, symbol, "candles", how)
        if how is not None or kind not in ("bbo", "ticker"):
            return None
        return Channel(self.venue, symbol, "quotes" if kind == "bbo" else "ticker")

    def _join(self, conn: int, stream: str, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        known = self._meet(conn, name(stream), channel, seq, recv_ns, rows)
        cell = self._cell(conn, name(stream))
        if known and cell is not None and channel.stream == "trades":
            cell["spare"] = recv_ns
        return known

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """A ping, or what Huobi says of a request."""
        if "ping" in message:
            self._counts[state.C_HEARTBEATS] += 1
            return None
        self._counts[state.C_ENVELOPES] += 1
        status = message.get("status")
        if status == "error":
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=1)
        elif status == "ok" and isinstance(message.get("subbed"), str):
            stream = message["subbed"]
            channel = self.channel_of(stream)
            if channel is None:
                self._unknown(conn, seq, recv_ns, rows)
            else:
                self._join(conn, stream, channel, seq, recv_ns, rows)
        elif status == "ok" and isinstance(message.get("unsubbed"), str):
            self._part(conn, name(message["unsubbed"]), seq, recv_ns, rows)
        else:
            return "expected a channel, a ping or an answer, was other JSON"
        return None
