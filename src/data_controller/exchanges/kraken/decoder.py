"""Kraken v2's frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.kraken import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, MOST_NEW, StreamDecoder
from data_controller.exchanges.streaming.keys import unsent
from data_controller.exchanges.streaming.moves import HELD_THERE
from data_controller.market.layout import BrokenBy, ChecksumRule
from data_controller.market.rows import Control, Promise
from data_controller.market.tables import Channel, Tables

DEPTHS = (10, 25, 100, 500, 1000)
_SYMBOL = re.compile(r"[A-Za-z0-9.]{1,20}/[A-Za-z0-9.]{1,20}")
_TICKER = ("bid", "ask", "change", "last", "volume", "high", "low")
_CANDLE = ("open", "close", "high", "low", "volume")
_MAX_PAIRS = 1 << 14
_MAX_PRECISION = 22


def stream_of(venue: str, result: dict[str, Any]) -> tuple[np.uint64, Channel] | None:
    """Key and channel of what the `result` of a subscription names, None where it is none of ours.

    An L3 book has precision R0 and its depth in prices as length.
    """
    name, symbol = result.get("channel"), result.get("symbol")
    if not isinstance(name, str) or not isinstance(symbol, str) or not _SYMBOL.fullmatch(symbol):
        return None
    key = state.key_of(name, symbol)
    if name in ("book", "level3"):
        depth = result.get("depth", DEPTHS[0])
        if type(depth) is not int or depth not in DEPTHS:
            return None
        return key, Channel(venue, symbol, "book", "R0" if name == "level3" else "", length=depth)
    if name == "trade":
        return key, Channel(venue, symbol, "trades")
    if name == "ticker":
        return key, Channel(venue, symbol, "quotes" if result.get("event_trigger") == "bbo" else "ticker")
    if name == "ohlc":
        minutes = result.get("interval", 1)
        if type(minutes) is not int or not 0 < minutes < 1 << 20:
            return None
        return state.key_of(name, symbol, str(minutes)), Channel(venue, symbol, "candles", f"{minutes}m")
    return None


class KrakenDecoder(StreamDecoder):
    """Decoder of Kraken Spot's market data, v2; see `streaming.decoder`."""

    venue: ClassVar[str] = "kraken"
    scan: ClassVar[Any] = scanner.scan

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._precision: dict[str, int] = {}  # symbol -> digits after the point: price, and size in the second byte
        self._paused: set[int] = set()  # connections whose venue pauses

    def _forget(self, conn: int) -> None:
        self._paused.discard(conn)
        super()._forget(conn)

    def fetched(
        self, conn: int, request: str, status: int, body: bytes, seq: int, recv_ns: int, rows: Rows, asked_ns: int = 0
    ) -> Iterator[None]:
        """An ERROR row where a request was never sent, for want of a key that can only read."""
        message = unsent(request, status)
        if message is None:
            return
        if not rows.room:
            yield
        number = message.get("req_id")
        size = number if type(number) is int and 0 <= number < 1 << 62 else 0
        self._control(rows, seq, recv_ns, conn, Control.ERROR, size=size)

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        if "method" in message or "error" in message:
            return self._answer(message, conn, seq, recv_ns, rows)
        name, data = message.get("channel"), message.get("data")
        if name == "status" and isinstance(data, list):
            return self._status(data, conn, seq, recv_ns, rows)
        if name == "instrument":
            return self._instruments(message, conn, seq, recv_ns, rows)
        if not isinstance(name, str) or not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            return "expected a channel and its data, was other JSON"
        again, new = False, 0
        for item in data:
            found = stream_of(self.venue, {**item, "channel": name})
            if found is None or (found[1].stream == "book" and self._cell(conn, found[0]) is None):
                # A book whose depth nobody said cannot be cut to it.
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                continue
            cell = self._cell(conn, found[0])
            if cell is None:
                new += 1
                if new > MOST_NEW:
                    return f"expected at most {MOST_NEW} streams that nobody knew, was more"
                if not self._join(conn, *found, seq, recv_ns, rows):
                    continue
                cell = self._cell(conn, found[0])
                again = again or found[1].stream == "trades"
            if cell is None or cell["stream"] != state.OTHER:
                if not again:
                    return "expected the protocol's own spelling of this message, was otherwise"
                continue
            cell["heard_ns"] = recv_ns
            try:
                self._tell_item(item, int(cell["row"]), seq, recv_ns)
            except (LookupError, TypeError, ValueError, OverflowError) as error:
                return f"expected a {name} message, was otherwise: {error!r}"
        return AGAIN if again else None

    def _tell_item(self, item: dict[str, Any], row: int, seq: int, recv_ns: int) -> None:
        """A ticker or a candle."""
        if self.tables.channels[row].stream == "ticker":
            values = {key: float(item[key]) for key in _TICKER}
            values |= {"bid_size": float(item["bid_qty"]), "ask_size": float(item["ask_qty"])}
            self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)
        else:
            values = {key: float(item[key]) for key in _CANDLE}
            begin = datetime.fromisoformat(item["interval_begin"])
            mts = round(begin.timestamp() * 1000)
            self._tell("candles", state.C_CANDLES, seq, recv_ns, row, {"mts": mts, **values})

    def _join(self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        promise, rule = Promise(0), ChecksumRule.NONE
        if channel.stream == "book":
            promise, rule = Promise.CHECKSUMMED | Promise.TRIMMED, ChecksumRule.KRAKEN
            if channel.precision == "R0":
                promise, rule = promise | Promise.QUEUED, ChecksumRule.KRAKEN_ORDERS
        known = self._meet(conn, key, channel, seq, recv_ns, rows, promise=promise, rule=rule)
        self._know_precision(conn, key, channel.symbol)
        return known

    def _know_precision(self, conn: int, key: np.uint64, symbol: str) -> None:
        cell, precision = self._cell(conn, key), self._precision.get(symbol)
        if cell is not None and precision is not None:
            cell["spare"], cell["option"] = precision, scanner.EXACT

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """What became of a request; one answer for each symbol."""
        self._counts[state.C_ENVELOPES] += 1
        request = message.get("req_id")
        number = request if type(request) is int and 0 <= request < 1 << 62 else 0
        if message.get("method") == "pong":
            self._control(rows, seq, recv_ns, conn, Control.PONG)
            return None
        if message.get("success") is not True:
            if request is None:
                # The greeting alone has no number. Without precisions the longest number seen of a pair tells.
                self._control(rows, seq, recv_ns, conn, Control.CONFIGURED)
                return None
            code = HELD_THERE if message.get("error") == "Already subscribed" else 0
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=code, size=number)
            return None
        result = message.get("result")
        if not isinstance(result, dict):
            return "expected the result of a request, was otherwise"
        found = stream_of(self.venue, result)
        if found is None:
            return None
        if message["method"] == "subscribe":
            self._join(conn, *found, seq, recv_ns, rows)
        elif message["method"] == "unsubscribe":
            self._part(conn, found[0], seq, recv_ns, rows)
        return None

    def _status(self, data: list[Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """The greeting and, when it changes, the state of the matching engine."""
        self._counts[state.C_ENVELOPES] += 1
        system = data[0].get("system") if data and isinstance(data[0], dict) else None
        if system == "maintenance":
            self._paused.add(conn)
            self._gaps(rows, seq, recv_ns, conn, BrokenBy.MAINTENANCE)
            self._control(rows, seq, recv_ns, conn, Control.MAINTENANCE_START)
        elif conn in self._paused:
            self._paused.discard(conn)
            self._control(rows, seq, recv_ns, conn, Control.MAINTENANCE_END)
        else:
            self._control(rows, seq, recv_ns, conn, Control.INFO, price=2)
        return None

    def _instruments(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """Precisions of pairs; the first such message answers the greeting."""
        self._counts[state.C_ENVELOPES] += 1
        data = message.get("data")
        pairs = data.get("pairs") if isinstance(data, dict) else None
        if not isinstance(pairs, list):
            return "expected the pairs of the instrument channel, was otherwise"
        told = set()
        for pair in pairs:
            if not isinstance(pair, dict):
                return "expected a list of pairs, was otherwise"
            symbol, price, qty = pair.get("symbol"), pair.get("price_precision"), pair.get("qty_precision")
            if not (isinstance(symbol, str) and type(price) is int and type(qty) is int):
                return "expected symbol, price_precision and qty_precision of every pair, was otherwise"
            if not (0 <= price <= _MAX_PRECISION and 0 <= qty <= _MAX_PRECISION):
                return f"expected precisions of 0 to {_MAX_PRECISION}, was {price} and {qty}"
            if len(self._precision) < _MAX_PAIRS or symbol in self._precision:
                self._precision[symbol] = price | qty << 8
                told.add(symbol)
        for row, (owner, key) in list(self._serving.items()):
            channel = self.tables.channels[row]
            if channel.stream == "book" and channel.symbol in told:
                self._know_precision(owner, np.uint64(key), channel.symbol)
        if message.get("type") == "snapshot":
            self._control(rows, seq, recv_ns, conn, Control.CONFIGURED)
        return None
