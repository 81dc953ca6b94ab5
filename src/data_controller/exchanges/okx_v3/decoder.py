"""OKX's third protocol, of 2018 to 2021, and OKCoin's: deflated frames, tables whose entries name their instrument."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.okx import _scanner as scanner
from data_controller.exchanges.okx.decoder import MOST_ENTRIES, number
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, MOST_NEW
from data_controller.exchanges.streaming.inflating import RAW_DEFLATE, InflatingDecoder
from data_controller.market.layout import ChecksumRule
from data_controller.market.rows import Control, Kind, Promise
from data_controller.market.tables import Channel, Stream

_NAME = re.compile(r"[A-Za-z0-9_-]{2,60}")
_TABLE = re.compile(r"(spot|swap|futures|option|index)/([a-z0-9_]{2,24})")
_BOOKS = {"depth_l2_tbt": 400, "depth": 200, "depth5": 5}
_STREAMS: dict[str, Stream] = {"trade": "trades", "ticker": "ticker"}
_DERIVATIVE = ("mark_price", "funding_rate")
_TICKER = {
    "bid": "best_bid",
    "bid_size": "best_bid_size",
    "ask": "best_ask",
    "ask_size": "best_ask_size",
    "last": "last",
    "high": "high_24h",
    "low": "low_24h",
}


class OkxV3Decoder(InflatingDecoder):
    """Decoder of OKX's v3 streams; a checksum stands behind every change of a book, and none but it proves it."""

    venue: ClassVar[str] = "okx_v3"
    scan: ClassVar[Any] = scanner.scan
    window: ClassVar[int] = RAW_DEFLATE

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        if "event" in message:
            return self._answer(message, conn, seq, recv_ns, rows)
        table, data = message.get("table"), message.get("data")
        if not isinstance(table, str) or not isinstance(data, list):
            return "expected a table and its entries, was otherwise"
        if len(data) > MOST_ENTRIES:
            return f"expected at most {MOST_ENTRIES} entries, was {len(data)}"
        again = False
        other: list[tuple[int, dict[str, Any]]] = []
        new = 0
        for entry in data:
            symbol = entry.get("instrument_id") if isinstance(entry, dict) else None
            if not isinstance(symbol, str):
                return "expected entries that name their instrument, was otherwise"
            key = state.key_of(table, symbol)
            cell = self._cell(conn, key)
            if cell is None:
                channel = self.channel_of(table, symbol)
                if channel is None:
                    self._counts[state.C_UNKNOWN_EVENTS] += 1
                    return None
                new += 1
                if new > MOST_NEW:
                    return f"expected at most {MOST_NEW} streams not heard of, was more"
                if not self._join(conn, key, channel, seq, recv_ns, rows):
                    return None
                cell = self._cell(conn, key)
                again = True
            if cell is not None and cell["stream"] == state.OTHER:
                cell["heard_ns"] = recv_ns
                other.append((int(cell["row"]), entry))
        if len(other) == len(data):
            return self._other(table, other, seq, recv_ns, rows)
        return AGAIN if again else "expected levels or trades of these streams, was otherwise"

    def channel_of(self, table: str, symbol: str) -> Channel | None:
        """The channel of a table's instrument (`spot/trade`, `BTC-USD`), None where it is none of ours."""
        match = _TABLE.fullmatch(table)
        if match is None or not _NAME.fullmatch(symbol):
            return None
        stream = match[2]
        if stream in _BOOKS:
            return Channel(self.venue, symbol, "book", "", stream, _BOOKS[stream])
        if stream.startswith("candle"):
            return Channel(self.venue, symbol, "candles", stream.removeprefix("candle"))
        if stream in _DERIVATIVE:
            return Channel(self.venue, symbol, "derivative", stream)
        found = _STREAMS.get(stream)
        return None if found is None else Channel(self.venue, symbol, found)

    def _join(self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        how: dict[str, Any] = {}
        whole = channel.frequency == "depth5"
        if channel.stream == "book" and not whole:
            how = {"promise": Promise.CHECKSUMMED, "rule": ChecksumRule.OKX}
        known = self._meet(conn, key, channel, seq, recv_ns, rows, **how)
        cell = self._cell(conn, key)
        if known and cell is not None:
            cell["option"] = scanner.WHOLE if whole else scanner.CHECKED
            cell["spare"] = recv_ns if channel.stream == "trades" else 0
        return known

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        self._counts[state.C_ENVELOPES] += 1
        event = message["event"]
        if event in ("subscribe", "unsubscribe"):
            table, _, symbol = str(message.get("channel", "")).partition(":")
            channel = self.channel_of(table, symbol)
            if event == "unsubscribe":
                self._part(conn, state.key_of(table, symbol), seq, recv_ns, rows)
            elif channel is None:
                self._unknown(conn, seq, recv_ns, rows)
            else:
                self._join(conn, state.key_of(table, symbol), channel, seq, recv_ns, rows)
        elif event == "error":
            code = message.get("errorCode", 0)
            if type(code) is not int or abs(code) >= 1 << 31:
                return "expected an integer as errorCode, was otherwise"
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=code)
        return None

    def _other(
        self, table: str, entries: list[tuple[int, dict[str, Any]]], seq: int, recv_ns: int, rows: Rows
    ) -> str | None:
        """Tickers, candles, mark prices and funding rates."""
        first = rows.stop
        try:
            for row, entry in entries:
                if table.endswith("/ticker"):
                    values = {key: float(entry.get(own) or 0) for key, own in _TICKER.items()}
                    values["change"] = values["last"] - float(entry.get("open_24h") or 0)
                    values["volume"] = float(entry.get("base_volume_24h") or entry.get("volume_24h") or 0)
                    self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)
                elif table.endswith("/mark_price"):
                    self._event(rows, seq, recv_ns, Kind.MARK, row, price=entry["mark_price"])
                    self._counts[state.C_DERIVATIVES] += 1
                elif table.endswith("/funding_rate"):
                    self._event(rows, seq, recv_ns, Kind.FUNDING, row, price=entry["funding_rate"])
                    self._counts[state.C_DERIVATIVES] += 1
                else:
                    candle = entry["candle"]
                    names = ("open", "high", "low", "close", "volume")
                    candles = {key: float(candle[k]) for k, key in enumerate(names, 1)}
                    opened = datetime.strptime(candle[0], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
                    values = {"mts": round(opened.timestamp() * 1000), **candles}
                    self._tell("candles", state.C_CANDLES, seq, recv_ns, row, values)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError) as error:
            rows.stop = first
            return f"expected a {table} message, was otherwise: {error!r}"
        number(rows, first)
        return None


class OkcoinDecoder(OkxV3Decoder):
    """Decoder of OKCoin's v3 streams."""

    venue: ClassVar[str] = "okcoin"
