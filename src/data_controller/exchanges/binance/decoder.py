"""Binance's frames to event rows: what the compiled scan leaves to Python, and the splice to a fetched book."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.binance import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN
from data_controller.exchanges.streaming.snapshots import Snapshot, read_levels
from data_controller.exchanges.streaming.splice import SplicedDecoder
from data_controller.exchanges.streaming.tape import name
from data_controller.market.rows import Control, Kind, Promise
from data_controller.market.tables import Channel, Stream

_REQUEST = re.compile(r"/depth\?(?:.*&)?symbol=([A-Za-z0-9_]+)")
_SYMBOL = re.compile(r"[a-z0-9_]{2,40}")
_STREAMS: dict[str, Stream] = {
    "trade": "trades",
    "aggTrade": "trades",
    "bookTicker": "quotes",
    "markPrice": "derivative",
    "forceOrder": "liquidations",
    "24hrTicker": "ticker",
    "ticker": "ticker",
}
_EVENTS = {"depthUpdate": "depth", "markPriceUpdate": "markPrice", "kline": "kline"}
_TICKER = {"bid": "b", "bid_size": "B", "ask": "a", "ask_size": "A", "change": "p", "last": "c", "volume": "v"}
_TICKER_ALSO = {"high": "h", "low": "l"}
_CANDLE = {"open": "o", "close": "c", "high": "h", "low": "l", "volume": "v"}
_MS = 1_000_000


def channel_of(venue: str, stream: str) -> Channel | None:
    """The channel of a stream as Binance names it (`btcusdt@depth@100ms`), None where it is none of ours."""
    symbol, _, rest = stream.partition("@")
    kind, _, speed = rest.partition("@")
    if not _SYMBOL.fullmatch(symbol) or len(rest) > 24:
        return None
    if kind == "depth":
        return Channel(venue, symbol.upper(), "book", "", speed)
    if kind.startswith("kline_"):
        return Channel(venue, symbol.upper(), "candles", kind.removeprefix("kline_"))
    found = _STREAMS.get(kind)
    if found is None:
        return None
    return Channel(venue, symbol.upper(), found, "aggregate" if kind == "aggTrade" else "", speed)


class BinanceDecoder(SplicedDecoder):
    """Decoder of Binance spot's market streams, combined or single; see `streaming.decoder`."""

    venue: ClassVar[str] = "binance"
    scan: ClassVar[Any] = scanner.scan
    chain: ClassVar[int] = scanner.SPOT

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        stream: Any = message.get("stream")
        body: Any = message
        if stream is not None:
            body = message.get("data")
            if not isinstance(stream, str) or not isinstance(body, dict):
                return "expected a stream's name and its data, was otherwise"
        elif "e" in message and "s" in message:
            event, symbol = message["e"], message["s"]
            if not isinstance(event, str) or not isinstance(symbol, str):
                return "expected an event's name and a symbol, was otherwise"
            stream = f"{symbol.lower()}@{_EVENTS.get(event, event)}"
        else:
            return self._answer(message, conn, seq, recv_ns, rows)
        key = name(message["stream"]) if "stream" in message else state.key_of(message["e"], message["s"])
        cell = self._cell(conn, key)
        if cell is None:
            channel = channel_of(self.venue, stream)
            if channel is None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            return AGAIN if self._join(conn, key, channel, seq, recv_ns, rows) else None
        cell["heard_ns"] = recv_ns
        return self._other(self.tables.channels[int(cell["row"])], int(cell["row"]), body, seq, recv_ns, rows)

    def _join(self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        promise = Promise.SEQUENCED if channel.stream == "book" else Promise(0)
        known = self._meet(conn, key, channel, seq, recv_ns, rows, promise=promise)
        cell = self._cell(conn, key)
        if cell is not None:
            cell["option"] = self.chain
        return known

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """The answer to a request: an error, a plain yes, or the names of all streams there are now."""
        self._counts[state.C_ENVELOPES] += 1
        request = message.get("id")
        number = request if type(request) is int and 0 <= request < 1 << 62 else 0
        error = message.get("error", message if "code" in message else None)
        if isinstance(error, dict):
            code = error.get("code")
            if type(code) is not int or abs(code) >= 1 << 31:
                return "expected an integer as code, was otherwise"
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=code, size=number)
            return None
        if "result" not in message:
            return "expected a stream, an event or an answer, was other JSON"
        names = message["result"]
        if not isinstance(names, list):
            return None
        wanted: dict[int, str] = {int(name(text)): text for text in names if isinstance(text, str)}
        if 2 * (len(wanted) + self._used) > rows.room:
            return "expected at most as many streams as the row buffer holds, was more"
        live = self._cells[(self._cells["conn"] == conn) & (self._cells["state"] == state.LIVE)]["key"].tolist()
        for key in live:
            if key not in wanted:
                self._part(conn, np.uint64(key), seq, recv_ns, rows)
        for key, text in wanted.items():
            channel = channel_of(self.venue, text)
            if channel is not None and self._cell(conn, np.uint64(key)) is None:
                self._join(conn, np.uint64(key), channel, seq, recv_ns, rows)
        return None

    def _other(
        self, channel: Channel, row: int, body: dict[str, Any], seq: int, recv_ns: int, rows: Rows
    ) -> str | None:
        """A ticker, a candle, a mark price or a liquidation."""
        try:
            if channel.stream == "ticker":
                values = {key: float(body.get(own) or 0) for key, own in (_TICKER | _TICKER_ALSO).items()}
                self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)
            elif channel.stream == "candles":
                candle = body["k"]
                values = {key: float(candle[own]) for key, own in _CANDLE.items()}
                self._tell("candles", state.C_CANDLES, seq, recv_ns, row, {"mts": int(candle["t"]), **values})
            elif channel.stream == "derivative":
                self._derivative(body, row, seq, recv_ns, rows)
            elif channel.stream == "liquidations":
                order = body["o"]
                side = {"BUY": 1, "SELL": -1}[order["S"]]
                price = order.get("ap") or order["p"]
                exch_ns = int(order["T"]) * _MS
                self._event(
                    rows, seq, recv_ns, Kind.LIQUIDATION, row, price=price, size=order["q"], side=side, exch_ns=exch_ns
                )
                self._counts[state.C_LIQUIDATIONS] += 1
            else:
                return "expected a change, a trade or best prices of this stream, was otherwise"
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            return f"expected a {channel.stream} message, was otherwise: {error!r}"
        return None

    def _derivative(self, body: dict[str, Any], row: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Mark and index price, and the funding rate with the time it is due (`ref`, ns)."""
        exch_ns = int(body["E"]) * _MS
        self._event(rows, seq, recv_ns, Kind.MARK, row, price=body["p"], exch_ns=exch_ns)
        if body.get("i"):
            self._event(rows, seq, recv_ns, Kind.INDEX, row, price=body["i"], exch_ns=exch_ns)
        if body.get("r"):
            due_ns = int(body.get("T") or 0) * _MS
            self._event(rows, seq, recv_ns, Kind.FUNDING, row, price=body["r"], ref=due_ns, exch_ns=exch_ns)
        self._counts[state.C_DERIVATIVES] += 1

    # the splice

    def _asked(self, request: str) -> Channel | None:
        match = _REQUEST.search(request)
        if match is None:
            return None
        symbol = match[1].upper()
        books = [c for c in self.tables.channels if c.stream == "book" and c.symbol == symbol and c.venue == self.venue]
        live = [channel for channel in books if self._cell_of(channel) is not None]
        return (live or books or [Channel(self.venue, symbol, "book", "", "100ms")])[0]

    def _read_snapshot(self, body: bytes) -> Snapshot | None:
        return read_levels(body, last=_LAST_UPDATE, bids=_BIDS, asks=_ASKS)

    def _joins(self, last: int, first: int, until: int, prev: int) -> int:
        if until < last + 1:
            return -1
        return 0 if first <= last + 1 else 1


_LAST_UPDATE, _BIDS, _ASKS = name("lastUpdateId"), name("bids"), name("asks")


class BinanceUsdmDecoder(BinanceDecoder):
    """Decoder of Binance's USD-M futures: changes name the one before them."""

    venue: ClassVar[str] = "binance_usdm"
    chain: ClassVar[int] = scanner.FUTURES

    def _joins(self, last: int, first: int, until: int, prev: int) -> int:
        if until < last:
            return -1
        return 0 if first <= last else 1


class BinanceCoinmDecoder(BinanceUsdmDecoder):
    """Decoder of Binance's COIN-M futures, whose sizes are contracts."""

    venue: ClassVar[str] = "binance_coinm"
