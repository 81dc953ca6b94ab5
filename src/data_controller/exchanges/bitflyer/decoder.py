"""bitFlyer's frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.bitflyer import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, StreamDecoder
from data_controller.exchanges.streaming.tape import name
from data_controller.market.rows import Control
from data_controller.market.tables import Channel

VENUE = "bitflyer"
TICKER = "lightning_ticker_"
_PRODUCT = re.compile(r"[A-Z0-9_]{3,40}")
_TICKER = {"bid": "best_bid", "bid_size": "best_bid_size", "ask": "best_ask", "ask_size": "best_ask_size"}
_TICKER_ALSO = {"last": "ltp", "volume": "volume_by_product"}


@lru_cache(maxsize=1024)
def channel_of(name_: str) -> Channel | None:
    """The channel of a stream as bitFlyer names it (`lightning_board_BTC_JPY`), None where it is none of ours.

    The whole boards are no channel of their own: they are of the book that the changes are of.
    """
    for prefix in (scanner.SNAPSHOT, scanner.BOARD, scanner.EXECUTIONS, TICKER):
        product = name_.removeprefix(prefix)
        if product != name_ and _PRODUCT.fullmatch(product):
            if prefix == TICKER:
                return Channel(VENUE, product, "ticker")
            return Channel(VENUE, product, "trades" if prefix == scanner.EXECUTIONS else "book")
    return None


@lru_cache(maxsize=1024)
def key_of(channel: Channel) -> np.uint64:
    """The key of a channel's cell, as the scan makes it."""
    if channel.stream == "ticker":
        return name(TICKER + channel.symbol)
    return state.key_of(scanner.BOARD if channel.stream == "book" else scanner.EXECUTIONS, channel.symbol)


class BitflyerDecoder(StreamDecoder):
    """Decoder of bitFlyer's JSON-RPC stream; see `streaming.decoder`. Nothing proves its books."""

    venue: ClassVar[str] = VENUE
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        params = message.get("params")
        if message.get("method") != "channelMessage":
            return self._answer(message, conn, seq, recv_ns, rows)
        stream = params.get("channel") if isinstance(params, dict) else None
        if not isinstance(stream, str):
            return "expected a channel's name, was otherwise"
        channel = channel_of(stream)
        if channel is None:
            self._counts[state.C_UNKNOWN_EVENTS] += 1
            return None
        key = key_of(channel)
        cell = self._cell(conn, key)
        if cell is None:
            known = self._meet(conn, key, channel, seq, recv_ns, rows)
            if channel.stream != "ticker" or not known:
                return AGAIN if known else None
            cell = self._cell(conn, key)
        if channel.stream != "ticker" or cell is None:
            return "expected a board or executions, was otherwise"
        cell["heard_ns"] = recv_ns
        body = params.get("message") if isinstance(params, dict) else None
        if not isinstance(body, dict):
            return "expected a ticker, was otherwise"
        try:
            values = {key: float(body.get(own) or 0) for key, own in (_TICKER | _TICKER_ALSO).items()}
        except (TypeError, ValueError, OverflowError) as error:
            return f"expected a ticker of numbers, was otherwise: {error!r}"
        self._tell("ticker", state.C_TICKERS, seq, recv_ns, int(cell["row"]), values)
        return None

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """The answer to a request: yes, or an error with the request's number."""
        self._counts[state.C_ENVELOPES] += 1
        request, error = message.get("id"), message.get("error")
        number = request if type(request) is int and 0 <= request < 1 << 62 else 0
        if isinstance(error, dict):
            code = error.get("code")
            if type(code) is not int or abs(code) >= 1 << 31:
                return "expected an integer as code, was otherwise"
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=code, size=number)
        elif "result" not in message:
            return "expected a channel's message or an answer, was other JSON"
        return None
