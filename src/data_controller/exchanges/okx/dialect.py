"""What is said to OKX: subscriptions by channel and instrument; candles have an address of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.tables import Channel

_encode = msgspec.json.encode

LIMITS = Limits(
    channels_per_connection=240,  # 480 requests an hour, and each channel may need two
    channels_per_request=40,
    requests_per_s=2.0,  # OKX allows 3
    ping_every_s=20.0,  # a connection silent for 30 s is ended
)


def venue_symbol(instrument: str) -> str:
    """OKX's name of an instrument: BTC/USDT BTC-USDT, BTC/USDT:USDT BTC-USDT-SWAP, with `-261225` its delivery."""
    if "/" not in instrument:
        return instrument
    pair, _, settled = instrument.partition(":")
    _, _, delivery = settled.partition("-")
    return pair.replace("/", "-") + (f"-{delivery}" if delivery else "-SWAP" if settled else "")


def _underlying(symbol: str) -> str:
    """The index that the instrument `symbol` follows: BTC-USDT-SWAP BTC-USDT."""
    return "-".join(symbol.split("-")[:2])


def _type(symbol: str) -> str:
    parts = symbol.split("-")
    return "SPOT" if len(parts) == 2 else "SWAP" if parts[2] == "SWAP" else "OPTION" if len(parts) > 3 else "FUTURES"


def argument_of(channel: Channel) -> dict[str, str]:
    """What names the stream that carries `channel`."""
    stream = channel.precision
    if channel.stream == "book":
        stream = channel.frequency
    elif channel.stream == "trades":
        stream = "trades-all" if channel.precision == "all" else "trades"
    elif channel.stream == "quotes":
        stream = "bbo-tbt"
    elif channel.stream == "ticker":
        stream = "tickers"
    elif channel.stream == "candles":
        stream = f"candle{channel.precision}"
    elif channel.stream == "liquidations":
        return {"channel": "liquidation-orders", "instType": channel.symbol}
    return {"channel": stream, "instId": channel.symbol}


class OkxDialect:
    """Requests of OKX's public v5 streams; see `streaming.dialect.Dialect`."""

    venue = "okx"
    limits = LIMITS

    def channels(self, settings: Any) -> list[list[Channel]]:
        groups: list[list[Channel]] = []
        indices: dict[str, None] = {}
        types: dict[str, None] = {}
        for instrument in settings.instruments:
            symbol = venue_symbol(instrument)
            kind = _type(symbol)
            group = []
            if settings.books:
                length = 5 if settings.book_channel == "books5" else 400
                group.append(Channel(self.venue, symbol, "book", "", settings.book_channel, length))
            if settings.trades:
                group.append(Channel(self.venue, symbol, "trades"))
            if settings.quotes:
                group.append(Channel(self.venue, symbol, "quotes"))
            if settings.tickers:
                group.append(Channel(self.venue, symbol, "ticker"))
            group += [Channel(self.venue, symbol, "candles", width) for width in settings.candles]
            if settings.derivatives and kind != "SPOT":
                group.append(Channel(self.venue, symbol, "derivative", "mark-price"))
                indices[_underlying(symbol)] = None
                if kind == "SWAP":
                    group.append(Channel(self.venue, symbol, "derivative", "funding-rate"))
            if settings.liquidations and kind != "SPOT":
                types[kind] = None
            groups.append(group)
        groups += [[Channel(self.venue, index, "derivative", "index-tickers")] for index in indices]
        return groups + [[Channel(self.venue, kind, "liquidations")] for kind in types]

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        candles = bool(channels) and (channels[0].stream == "candles" or channels[0].precision == "all")
        return str(settings.business_url if candles else settings.url)

    def greeting(self, settings: Any) -> bytes | None:
        return None

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return _encode({"id": str(request), "op": "subscribe", "args": [argument_of(c) for c in channels]})

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        return _encode({"id": str(request), "op": "unsubscribe", "args": [argument_of(c) for c in channels]})

    def confirm(self, settings: Any, request: int) -> bytes | None:
        return None

    def ping(self) -> bytes:
        return b"ping"

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        if channel.stream != "book" or channel.frequency == "books5" or settings.snapshots != "rest":
            return None
        return f"{settings.rest_url}/market/books?instId={channel.symbol}&sz={settings.snapshot_levels}"
