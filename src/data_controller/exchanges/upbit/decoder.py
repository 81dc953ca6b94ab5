"""Upbit's frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, StreamDecoder
from data_controller.exchanges.upbit import _scanner as scanner
from data_controller.market.rows import Control
from data_controller.market.tables import Channel

VENUE = "upbit"
_CODE = re.compile(r"[A-Z0-9]{2,12}-[A-Z0-9.]{1,20}")
_TICKER = {"last": ("tp", "trade_price"), "volume": ("atv24h", "acc_trade_volume_24h")}
_TICKER_ALSO = {"high": ("hp", "high_price"), "low": ("lp", "low_price")}


class UpbitDecoder(StreamDecoder):
    """Decoder of Upbit's stream, short names or long; see `streaming.decoder`. Nothing proves its books."""

    venue: ClassVar[str] = VENUE
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        kind, code = message.get("ty", message.get("type")), message.get("cd", message.get("code"))
        if "error" in message or "status" in message:
            self._counts[state.C_ENVELOPES] += 1
            if "error" in message:
                self._control(rows, seq, recv_ns, conn, Control.ERROR)
            return None
        if not isinstance(kind, str) or not isinstance(code, str) or not _CODE.fullmatch(code):
            return "expected a type and a market's code, was otherwise"
        if kind not in ("orderbook", "trade", "ticker"):
            self._counts[state.C_UNKNOWN_EVENTS] += 1
            return None
        key = state.key_of(kind, code)
        cell = self._cell(conn, key)
        if cell is None:
            stream: Any = {"orderbook": "book", "trade": "trades", "ticker": "ticker"}[kind]
            if not self._meet(conn, key, Channel(VENUE, code, stream), seq, recv_ns, rows):
                return None
            if kind != "ticker":
                return AGAIN
            cell = self._cell(conn, key)
        if kind != "ticker" or cell is None:
            return "expected a book or a trade, was otherwise"
        cell["heard_ns"] = recv_ns
        try:
            values = {
                own: float(message.get(short, message.get(long)) or 0)
                for own, (short, long) in (_TICKER | _TICKER_ALSO).items()
            }
        except (TypeError, ValueError, OverflowError) as error:
            return f"expected a ticker of numbers, was otherwise: {error!r}"
        self._tell("ticker", state.C_TICKERS, seq, recv_ns, int(cell["row"]), values)
        return None
