"""Bybit's v5 frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.bybit import _scanner as scanner
from data_controller.exchanges.bybit.widths import INTERVALS
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, MAX_CHANNELS, StreamDecoder
from data_controller.exchanges.streaming.tape import name
from data_controller.market.rows import Control, Kind, Promise
from data_controller.market.tables import Channel, Tables

_TOPIC = re.compile(r"([A-Za-z]+)(?:\.([A-Za-z0-9]{1,5}))?\.([A-Za-z0-9-]{2,60})")
_DEPTHS = ("50", "200", "500", "1000")
_WIDTHS = {interval: width for width, interval in INTERVALS.items()}
_TICKER = {
    "bid": "bid1Price",
    "bid_size": "bid1Size",
    "ask": "ask1Price",
    "ask_size": "ask1Size",
    "last": "lastPrice",
    "volume": "volume24h",
    "high": "highPrice24h",
    "low": "lowPrice24h",
}
_FIELDS = (*_TICKER.values(), "prevPrice24h", "markPrice", "indexPrice", "fundingRate", "nextFundingTime")
_CANDLE = ("open", "close", "high", "low", "volume")
MOST_ENTRIES = 2000
"""Entries taken of a message that Python reads."""
_MS = 1_000_000


class BybitDecoder(StreamDecoder):
    """Decoder of Bybit's v5 spot streams; see `streaming.decoder`. Books are proved by their count `u`."""

    venue: ClassVar[str] = "bybit"
    scan: ClassVar[Any] = scanner.scan
    form: ClassVar[int] = scanner.NUMBERED

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._tickers: dict[tuple[int, int], dict[str, str]] = {}  # connection and channel row -> merged fields

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        topic = message.get("topic")
        if topic is None:
            return self._answer(message, conn, seq, recv_ns, rows)
        if not isinstance(topic, str) or "data" not in message:
            return "expected a topic and its data, was otherwise"
        key = name(topic)
        cell = self._cell(conn, key)
        if cell is None:
            channel = self.channel_of(topic)
            if channel is None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            if not self._join(conn, key, channel, seq, recv_ns, rows):
                return None
            cell = self._cell(conn, key)
            if cell is None or cell["stream"] != state.OTHER:
                return AGAIN
        if cell["stream"] != state.OTHER:
            return "expected levels, best prices or trades of this topic, was otherwise"
        cell["heard_ns"] = recv_ns
        channel = self.tables.channels[int(cell["row"])]
        first = rows.stop
        try:
            self._other(channel, int(cell["row"]), message, conn, seq, recv_ns, rows)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            rows.stop = first
            return f"expected a {channel.stream} message, was otherwise: {error!r}"
        rows.array["part"][first : rows.stop] = np.arange(rows.stop - first)
        return None

    def channel_of(self, topic: str) -> Channel | None:
        """The channel of a topic (`orderbook.50.BTCUSDT`), None where it is none of ours."""
        match = _TOPIC.fullmatch(topic)
        if match is None:
            return None
        kind, how, symbol = match[1], match[2], match[3]
        if kind == "orderbook" and how == "1":
            return Channel(self.venue, symbol, "quotes")
        if kind == "orderbook" and how in _DEPTHS:
            return Channel(self.venue, symbol, "book", "", "", int(how))
        if kind == "kline" and how in _WIDTHS:
            return Channel(self.venue, symbol, "candles", _WIDTHS[how])
        if how is not None:
            return None
        if kind == "publicTrade":
            return Channel(self.venue, symbol, "trades")
        if kind == "tickers":
            return Channel(self.venue, symbol, "ticker")
        if kind in ("allLiquidation", "liquidation"):
            return Channel(self.venue, symbol, "liquidations", "" if kind == "allLiquidation" else "some")
        return None

    def _join(self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        how: dict[str, Any] = {}
        if channel.stream == "book" and self.form == scanner.NUMBERED:
            how = {"promise": Promise.SEQUENCED | Promise.TRIMMED}
        known = self._meet(conn, key, channel, seq, recv_ns, rows, **how)
        cell = self._cell(conn, key)
        if known and cell is not None:
            cell["option"] = self.form
            cell["spare"] = recv_ns if channel.stream == "trades" else 0
            self._tickers.pop((conn, int(cell["row"])), None)
        return known

    def _forget(self, conn: int) -> None:
        self._tickers = {key: fields for key, fields in self._tickers.items() if key[0] != conn}
        super()._forget(conn)

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """What Bybit says of a request; a yes names no topic."""
        self._counts[state.C_ENVELOPES] += 1
        operation, success = message.get("op"), message.get("success")
        if operation == "pong" or message.get("ret_msg") == "pong":
            self._counts[state.C_HEARTBEATS] += 1
            self._control(rows, seq, recv_ns, conn, Control.PONG)
        elif success is False:
            request = str(message.get("req_id", ""))
            known = request.isascii() and request.isdigit() and len(request) < 18
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=1, size=int(request) if known else 0)
        elif success is not True:
            return "expected a topic or an answer, was other JSON"
        return None

    def _other(
        self, channel: Channel, row: int, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows
    ) -> None:
        """A ticker, candles or liquidations."""
        data = message["data"]
        if channel.stream == "ticker":
            self._ticker(channel, row, message, conn, seq, recv_ns, rows)
            return
        entries = data if isinstance(data, list) else [data]
        if len(entries) > MOST_ENTRIES:
            raise ValueError(f"{len(entries)} entries, more than {MOST_ENTRIES}")
        for entry in entries:
            if channel.stream == "candles":
                values = {key: float(entry[key]) for key in _CANDLE}
                self._tell("candles", state.C_CANDLES, seq, recv_ns, row, {"mts": int(entry["start"]), **values})
                continue
            # Bybit tells whose position it was: a long one is sold.
            side = {"Buy": -1, "Sell": 1}[entry["S"] if "S" in entry else entry["side"]]
            price, size = (entry["p"], entry["v"]) if "p" in entry else (entry["price"], entry["size"])
            exch_ns = _ns(entry["T"] if "T" in entry else entry["updatedTime"])
            self._event(rows, seq, recv_ns, Kind.LIQUIDATION, row, price=price, size=size, side=side, exch_ns=exch_ns)
            self._counts[state.C_LIQUIDATIONS] += 1

    def _ticker(
        self, channel: Channel, row: int, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows
    ) -> None:
        """A ticker, whose changes name only what is new; of a derivative also its mark, index and funding rows."""
        data = message["data"]
        news = {key: str(data[key]) for key in _FIELDS if data.get(key) not in (None, "")}
        if message.get("type") == "delta":
            fields = self._tickers.get((conn, row))
            if fields is None:
                self._counts[state.C_STALE_UPDATES] += 1
                return
            fields.update(news)
        else:
            fields = self._tickers[conn, row] = dict(news)
        values = {key: float(fields.get(own, 0)) for key, own in _TICKER.items()}
        values["change"] = values["last"] - float(fields.get("prevPrice24h", 0))
        exch_ns = _ns(message.get("ts") or 0)
        derivative = Channel(self.venue, channel.symbol, "derivative")
        if not news.keys() & {"markPrice", "indexPrice", "fundingRate"}:
            pass
        elif len(self.tables.channels) < MAX_CHANNELS or derivative in self.tables.channels:
            # No SUBSCRIBED row of its own: what was subscribed is the ticker.
            own_row = self.tables.channel(derivative)
            for kind, key in ((Kind.MARK, "markPrice"), (Kind.INDEX, "indexPrice")):
                if key in news:
                    self._event(rows, seq, recv_ns, kind, own_row, price=news[key], exch_ns=exch_ns)
            if "fundingRate" in news:
                due_ns = _ns(fields.get("nextFundingTime", 0))
                rate = news["fundingRate"]
                self._event(rows, seq, recv_ns, Kind.FUNDING, own_row, price=rate, ref=due_ns, exch_ns=exch_ns)
            self._counts[state.C_DERIVATIVES] += 1
        self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)


class BybitLinearDecoder(BybitDecoder):
    """Decoder of Bybit's v5 streams of contracts that settle in USDT or USDC."""

    venue: ClassVar[str] = "bybit_linear"


class BybitInverseDecoder(BybitDecoder):
    """Decoder of Bybit's v5 streams of contracts that settle in the coin; their sizes are in USD."""

    venue: ClassVar[str] = "bybit_inverse"


def _ns(ms: str | int) -> int:
    value = int(ms)
    if not 0 <= value < 9_000_000_000_000:
        raise ValueError(f"expected a time in ms, was {ms!r}")
    return value * _MS
