"""What is said to Binance: SUBSCRIBE by stream names on the combined endpoint; books are fetched by REST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.tables import Channel

_encode = msgspec.json.encode
_STREAM = {"quotes": "bookTicker", "ticker": "ticker", "derivative": "markPrice", "liquidations": "forceOrder"}
_PUBLIC = ("book", "quotes", "trades")
"""What USD-M serves on /public, single trades included; aggregates and all else on /market (since 2026-04-23)."""


def stream_of(channel: Channel) -> str:
    """The stream that carries `channel`: btcusdt@depth@100ms."""
    symbol = channel.symbol.lower()
    if channel.stream == "book":
        # 250 ms is what `@depth` alone means to the futures.
        return (
            f"{symbol}@depth" if channel.frequency in ("", "1000ms", "250ms") else f"{symbol}@depth@{channel.frequency}"
        )
    if channel.stream == "trades":
        return f"{symbol}@aggTrade" if channel.precision == "aggregate" else f"{symbol}@trade"
    if channel.stream == "candles":
        return f"{symbol}@kline_{channel.precision}"
    if channel.stream == "derivative":
        return f"{symbol}@markPrice@{channel.frequency}"
    return f"{symbol}@{_STREAM[channel.stream]}"


class BinanceDialect:
    """Requests of one of Binance's markets; see `streaming.dialect.Dialect`."""

    def __init__(self, venue: str, requests_per_s: float) -> None:
        self.venue = venue
        # A connection may live 24 h; the server pings, and the socket answers by itself.
        self.limits = Limits(
            channels_per_connection=200,
            channels_per_request=50,
            requests_per_s=requests_per_s,
            connection_life_s=86400,
            mixed=True,
        )

    def channels(self, settings: Any) -> list[list[Channel]]:
        groups = []
        for symbol in settings.instruments:
            group = []
            if settings.books:
                speed = "" if settings.book_speed in ("1000ms", "250ms") else settings.book_speed
                group.append(Channel(self.venue, symbol, "book", "", speed))
            if settings.trades:
                group.append(Channel(self.venue, symbol, "trades"))
            if settings.aggregate_trades:
                group.append(Channel(self.venue, symbol, "trades", "aggregate"))
            if settings.quotes:
                group.append(Channel(self.venue, symbol, "quotes"))
            if settings.tickers:
                group.append(Channel(self.venue, symbol, "ticker"))
            group += [Channel(self.venue, symbol, "candles", width) for width in settings.candles]
            if getattr(settings, "derivatives", False):
                group.append(Channel(self.venue, symbol, "derivative", "", "1s"))
            if getattr(settings, "liquidations", False):
                group.append(Channel(self.venue, symbol, "liquidations"))
            groups.append(group)
        return groups

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        channel = channels[0]
        public = channel.stream in _PUBLIC and channel.precision != "aggregate"
        return str(settings.url if public else getattr(settings, "market_url", settings.url))

    def greeting(self, settings: Any) -> bytes | None:
        return None

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return _encode({"method": "SUBSCRIBE", "params": [stream_of(c) for c in channels], "id": request})

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return _encode({"method": "UNSUBSCRIBE", "params": [stream_of(c) for c in channels], "id": request})

    def confirm(self, settings: Any, request: int) -> bytes | None:
        return _encode({"method": "LIST_SUBSCRIPTIONS", "id": request})

    def ping(self) -> bytes:
        return b""

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        if channel.stream != "book":
            return None
        return f"{settings.rest_url}/depth?symbol={channel.symbol}&limit={settings.snapshot_limit}"


SPOT = BinanceDialect("binance", 4.0)
USDM = BinanceDialect("binance_usdm", 8.0)
COINM = BinanceDialect("binance_coinm", 8.0)
"""Requests a second stay below what the venue allows: 5 on spot, 10 on the futures."""
