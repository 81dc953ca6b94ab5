"""Bybit's streams of 2021, of inverse and USDT contracts: books of 25 or 200 entries with ids, which nothing proves."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from data_controller.exchanges.bybit import _scanner as scanner
from data_controller.exchanges.bybit.decoder import BybitDecoder
from data_controller.exchanges.bybit.widths import INTERVALS
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.tape import name
from data_controller.market.rows import Control
from data_controller.market.tables import Channel

_TOPIC = re.compile(r"(orderBookL2_25|orderBook_200\.100ms|trade|klineV2|candle|liquidation)\.([A-Za-z0-9.]{2,60})")
_WIDTHS = {interval: width for width, interval in INTERVALS.items()}
_LENGTHS = {"orderBookL2_25": 25, "orderBook_200.100ms": 200}


class Bybit2021Decoder(BybitDecoder):
    """Decoder of Bybit's streams of 2021; its books are UNVERIFIABLE: `cross_seq` counts those of all of them."""

    venue: ClassVar[str] = "bybit_2021"
    form: ClassVar[int] = scanner.LISTED

    def channel_of(self, topic: str) -> Channel | None:
        """The channel of a topic (`orderBookL2_25.BTCUSD`), None where it is none of ours."""
        match = _TOPIC.fullmatch(topic)
        if match is None:
            return None
        kind, symbol = match[1], match[2]
        if kind in ("klineV2", "candle"):
            interval, _, symbol = symbol.partition(".")
            width = _WIDTHS.get(interval)
            return None if width is None or not symbol.isalnum() else Channel(self.venue, symbol, "candles", width)
        if not symbol.isalnum():
            return None
        if kind in _LENGTHS:
            return Channel(self.venue, symbol, "book", "", kind, _LENGTHS[kind])
        return Channel(self.venue, symbol, "trades" if kind == "trade" else "liquidations")

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """As v5's, but that a yes repeats the request, and names its topics."""
        request = message.get("request")
        if message.get("success") is not True or not isinstance(request, dict):
            return super()._answer(message, conn, seq, recv_ns, rows)
        self._counts[state.C_ENVELOPES] += 1
        topics = request.get("args")
        if request.get("op") == "ping":
            self._counts[state.C_HEARTBEATS] += 1
            self._control(rows, seq, recv_ns, conn, Control.PONG)
            return None
        if not isinstance(topics, list) or len(topics) > 64 or not all(isinstance(topic, str) for topic in topics):
            return "expected the topics of a request, was otherwise"
        for topic in topics:
            channel = self.channel_of(topic)
            if request.get("op") == "unsubscribe":
                self._part(conn, name(topic), seq, recv_ns, rows)
            elif channel is None:
                self._unknown(conn, seq, recv_ns, rows)
            elif self._cell(conn, name(topic)) is None:
                self._join(conn, name(topic), channel, seq, recv_ns, rows)
        return None
