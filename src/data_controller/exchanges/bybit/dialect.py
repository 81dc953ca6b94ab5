"""What is said to Bybit: subscriptions by topic, one address a market; a yes names no topic, so data acknowledges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from data_controller.exchanges.bybit.widths import INTERVALS
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.tables import Channel

_encode = msgspec.json.encode

LIMITS = Limits(
    channels_per_connection=150,
    channels_per_request=10,  # what spot allows; the others count characters
    requests_per_s=5.0,
    ping_every_s=20.0,
    acknowledged=False,
)


def venue_symbol(instrument: str) -> str:
    """Bybit's symbol: BTC/USDT and BTC/USDT:USDT BTCUSDT, BTC/USD:BTC BTCUSD, BTC/USDC:USDC BTCPERP."""
    if "/" not in instrument:
        return instrument
    pair, _, settled = instrument.partition(":")
    base, _, quote = pair.partition("/")
    return f"{base}PERP" if settled == "USDC" else f"{base}{quote}"


def topic_of(channel: Channel) -> str:
    """The topic that carries `channel`: orderbook.50.BTCUSDT."""
    if channel.stream == "book":
        return f"orderbook.{channel.length}.{channel.symbol}"
    if channel.stream == "quotes":
        return f"orderbook.1.{channel.symbol}"
    if channel.stream == "candles":
        return f"kline.{INTERVALS[channel.precision]}.{channel.symbol}"
    if channel.stream == "trades":
        return f"publicTrade.{channel.symbol}"
    if channel.stream == "liquidations":
        return f"allLiquidation.{channel.symbol}"
    return f"tickers.{channel.symbol}"


class BybitDialect:
    """Requests of one of Bybit's markets; see `streaming.dialect.Dialect`."""

    limits = LIMITS

    def __init__(self, venue: str) -> None:
        self.venue = venue

    def channels(self, settings: Any) -> list[list[Channel]]:
        groups = []
        for instrument in settings.instruments:
            symbol = venue_symbol(instrument)
            group = []
            if settings.books:
                group.append(Channel(self.venue, symbol, "book", "", "", settings.book_levels))
            if settings.trades:
                group.append(Channel(self.venue, symbol, "trades"))
            if settings.quotes:
                group.append(Channel(self.venue, symbol, "quotes"))
            if settings.tickers or getattr(settings, "derivatives", False):
                group.append(Channel(self.venue, symbol, "ticker"))
            group += [Channel(self.venue, symbol, "candles", width) for width in settings.candles]
            if getattr(settings, "liquidations", False):
                group.append(Channel(self.venue, symbol, "liquidations"))
            groups.append(group)
        return groups

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        return str(settings.url)

    def greeting(self, settings: Any) -> bytes | None:
        return None

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return _encode({"req_id": str(request), "op": "subscribe", "args": [topic_of(c) for c in channels]})

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return _encode({"req_id": str(request), "op": "unsubscribe", "args": [topic_of(c) for c in channels]})

    def confirm(self, settings: Any, request: int) -> bytes | None:
        return None

    def ping(self) -> bytes:
        return b'{"op":"ping"}'

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        return None


SPOT = BybitDialect("bybit")
LINEAR = BybitDialect("bybit_linear")
INVERSE = BybitDialect("bybit_inverse")
