"""Bitget's v1 streams, named and written as OKX's are; its trades have no id, and checksums alone prove its books."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from data_controller.exchanges.okx import _scanner as scanner
from data_controller.exchanges.okx.decoder import OkxDecoder
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming.snapshots import Snapshot
from data_controller.market.tables import Channel

_NAME = re.compile(r"[A-Za-z0-9_]{2,60}")
_BOOKS = {"books": 0, "books5": 5, "books15": 15}


class BitgetDecoder(OkxDecoder):
    """Decoder of Bitget's v1 streams."""

    venue: ClassVar[str] = "bitget"
    ticker: ClassVar[dict[str, str]] = {
        "bid": "bestBid",
        "bid_size": "bidSz",
        "ask": "bestAsk",
        "ask_size": "askSz",
        "last": "last",
        "volume": "baseVolume",
        "high": "high24h",
        "low": "low24h",
    }

    def channel_of(self, stream: str, symbol: str) -> Channel | None:
        """The channel of a stream as Bitget names it (`books`, `BTCUSDT`), None where it is none of ours."""
        if not _NAME.fullmatch(symbol):
            return None
        if stream in _BOOKS:
            return Channel(self.venue, symbol, "book", "", stream, _BOOKS[stream])
        if stream == "trade":
            return Channel(self.venue, symbol, "trades")
        if stream == "ticker":
            return Channel(self.venue, symbol, "ticker")
        if stream.startswith("candle") and len(stream) <= 16:
            return Channel(self.venue, symbol, "candles", stream.removeprefix("candle"))
        return None

    def _how(self, stream: str) -> int:
        return scanner.CHECKED if stream == "books" else scanner.WHOLE

    def _other(self, stream: str, row: int, data: list[Any], seq: int, recv_ns: int, rows: Rows) -> str | None:
        return super()._other("tickers" if stream == "ticker" else stream, row, data, seq, recv_ns, rows)

    def _asked(self, request: str) -> Channel | None:
        return None

    def _read_snapshot(self, body: bytes) -> Snapshot | None:
        return None
