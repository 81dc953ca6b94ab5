"""Gemini's frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from data_controller.exchanges.gemini import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, StreamDecoder
from data_controller.market.rows import Control
from data_controller.market.tables import Channel

VENUE = "gemini"
_SYMBOL = re.compile(r"[A-Za-z0-9]{3,40}")


class GeminiDecoder(StreamDecoder):
    """Decoder of Gemini's market data v2; see `streaming.decoder`. Nothing proves its books.

    One subscription gives a symbol's book and trades, which become two channels.
    """

    venue: ClassVar[str] = VENUE
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        kind = message.get("type")
        if kind in ("l2_updates", "trade"):
            symbol = message.get("symbol")
            if not isinstance(symbol, str) or not _SYMBOL.fullmatch(symbol):
                return "expected a symbol, was otherwise"
            book, trades = Channel(VENUE, symbol, "book"), Channel(VENUE, symbol, "trades")
            known = self._meet(conn, state.key_of("l2_updates", symbol), book, seq, recv_ns, rows)
            known = known and self._meet(conn, state.key_of("trade", symbol), trades, seq, recv_ns, rows)
            return AGAIN if known else None
        self._counts[state.C_ENVELOPES] += 1
        if message.get("result") == "error":
            self._control(rows, seq, recv_ns, conn, Control.ERROR)
        elif not isinstance(kind, str):
            return "expected a `type`, was without"
        else:
            # Auctions, block trades, candles of subscriptions that nobody here made.
            self._counts[state.C_UNKNOWN_EVENTS] += 1
        return None
