"""Kraken Futures' frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.kraken_futures import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, StreamDecoder
from data_controller.market.rows import Control, Kind, Promise
from data_controller.market.tables import Channel, Stream

_PRODUCT = re.compile(r"[A-Za-z0-9_.]{2,40}")
_FEEDS: dict[str, Stream] = {"book": "book", "trade": "trades", "ticker": "ticker", "ticker_lite": "ticker"}
_TICKER = {"bid": "bid", "bid_size": "bid_size", "ask": "ask", "ask_size": "ask_size", "change": "change"}
_TICKER_ALSO = {"last": "last", "volume": "volume"}
_MS = 1_000_000


def channel_of(venue: str, feed: str, product: str) -> Channel | None:
    """The channel of a product's feed, None where it is none of ours."""
    stream = _FEEDS.get(feed)
    if stream is None or not _PRODUCT.fullmatch(product):
        return None
    return Channel(venue, product, stream, "lite" if feed == "ticker_lite" else "")


class KrakenFuturesDecoder(StreamDecoder):
    """Decoder of Kraken Futures' public feeds; see `streaming.decoder`."""

    venue: ClassVar[str] = "kraken_futures"
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        if "event" in message:
            return self._answer(message, conn, seq, recv_ns, rows)
        feed, product = message.get("feed"), message.get("product_id")
        if not isinstance(feed, str):
            return "expected a feed or an event, was other JSON"
        if not isinstance(product, str):
            self._counts[state.C_UNKNOWN_EVENTS] += 1
            return None
        feed = feed.removesuffix("_snapshot")
        key = state.key_of(feed, product)
        cell = self._cell(conn, key)
        if cell is None:
            channel = channel_of(self.venue, feed, product)
            if channel is None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            return AGAIN if self._join(conn, key, channel, seq, recv_ns, rows) else None
        cell["heard_ns"] = recv_ns
        row = int(cell["row"])
        if self.tables.channels[row].stream != "ticker":
            return f"expected a {feed} message in the protocol's own spelling, was otherwise"
        try:
            values = {own: float(message.get(key) or 0) for own, key in (_TICKER | _TICKER_ALSO).items()}
            exch_ns = int(message.get("time") or 0) * _MS
            for kind, name in ((Kind.MARK, "markPrice"), (Kind.INDEX, "index"), (Kind.FUNDING, "funding_rate")):
                if message.get(name) is not None:
                    due_ns = int(message.get("next_funding_rate_time") or 0) * _MS if kind is Kind.FUNDING else 0
                    # Rates are doubles in full, with more digits than a row holds.
                    price = f"{Decimal(str(message[name])):.15f}" if kind is Kind.FUNDING else message[name]
                    self._event(rows, seq, recv_ns, kind, row, price=price, ref=due_ns, exch_ns=exch_ns)
        except (TypeError, ValueError, ArithmeticError) as error:
            return f"expected a {feed} message, was otherwise: {error!r}"
        self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)
        return None

    def _join(self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        promise = Promise.SEQUENCED if channel.stream == "book" else Promise(0)
        return self._meet(conn, key, channel, seq, recv_ns, rows, promise=promise)

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """The greeting, an error, or what became of a subscription."""
        self._counts[state.C_ENVELOPES] += 1
        event, feed, products = message.get("event"), message.get("feed"), message.get("product_ids")
        if event == "info":
            self._control(rows, seq, recv_ns, conn, Control.INFO)
        elif event in ("error", "alert", "subscribed_failed", "unsubscribed_failed"):
            self._control(rows, seq, recv_ns, conn, Control.ERROR)
        elif event in ("subscribed", "unsubscribed") and isinstance(feed, str) and isinstance(products, list):
            for product in products[: state.MAX_LIVE]:
                channel = channel_of(self.venue, feed, product) if isinstance(product, str) else None
                if channel is None:
                    self._counts[state.C_UNKNOWN_EVENTS] += 1
                elif rows.room < 2:
                    return "expected at most as many products as the row buffer holds, was more"
                elif event == "subscribed":
                    self._join(conn, state.key_of(feed, product), channel, seq, recv_ns, rows)
                else:
                    self._part(conn, state.key_of(feed, product), seq, recv_ns, rows)
        else:
            self._counts[state.C_UNKNOWN_EVENTS] += 1
        return None
