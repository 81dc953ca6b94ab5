"""Kraken v2's requests: one a channel kind and symbol list; single orders go by an address of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from data_controller.exchanges.kraken.keys import TOKEN
from data_controller.exchanges.kraken.settings import KrakenSettings, symbol_of
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.tables import Channel

LIMITS = Limits(
    channels_per_connection=200,  # the venue's limit of level3 symbols; ours for the rest, which it does not limit
    channels_per_request=1,  # a refusal names a symbol but no channel, so one request asks for one
    requests_per_s=10.0,
    connection_life_s=0.0,
    ping_every_s=30.0,
    acknowledged=True,
)


class KrakenDialect:
    """Dialect (see streaming.dialect) of Kraken Spot, v2."""

    venue = "kraken"
    limits = LIMITS

    def channels(self, settings: Any) -> list[list[Channel]]:
        """Each instrument's public channels; its single orders apart, as they have another address."""
        own: KrakenSettings = settings
        groups = []
        for name in own.instruments:
            symbol = symbol_of(name)
            group = []
            if own.books:
                group.append(Channel(self.venue, symbol, "book", length=own.book_depth))
            if own.trades:
                group.append(Channel(self.venue, symbol, "trades"))
            if own.quotes:
                group.append(Channel(self.venue, symbol, "quotes"))
            elif own.tickers:
                group.append(Channel(self.venue, symbol, "ticker"))
            group += [Channel(self.venue, symbol, "candles", f"{minutes}m") for minutes in own.candles_min]
            groups.append(group)
            if own.orders:
                groups.append([Channel(self.venue, symbol, "book", "R0", length=own.order_depth)])
        return [group for group in groups if group]

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        """The address for single orders where `channels` are those, else the public one."""
        own: KrakenSettings = settings
        return own.orders_url if channels and channels[0].precision == "R0" else own.url

    def greeting(self, settings: Any) -> bytes | None:
        """Asks for the precisions of all pairs, without which a book's checksum may not be computed."""
        return msgspec.json.encode({"method": "subscribe", "params": {"channel": "instrument", "snapshot": True}})

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """Asks for channels of one kind; the token of single orders is left to `keys.with_token`."""
        return self._request("subscribe", channels, request)

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """Gives channels of one kind up."""
        return self._request("unsubscribe", channels, request)

    def confirm(self, settings: Any, request: int) -> bytes | None:
        """Nothing: every answer names its channel."""
        return None

    def ping(self) -> bytes:
        """Kraken's own ping, answered with a pong."""
        return b'{"method":"ping"}'

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        """None: books bring their own."""
        return None

    def _request(self, method: str, channels: Sequence[Channel], request: int) -> bytes:
        first = channels[0]
        params: dict[str, Any] = {"channel": _NAMES[first.stream], "symbol": [c.symbol for c in channels]}
        asks = method == "subscribe"
        if first.stream == "book":
            params["depth"] = first.length
            if first.precision == "R0":
                params |= {"channel": "level3", "token": TOKEN}
        elif first.stream in ("ticker", "quotes"):
            params["event_trigger"] = "bbo" if first.stream == "quotes" else "trades"
        elif first.stream == "candles":
            params["interval"] = int(first.precision.removesuffix("m"))
        if asks:
            params["snapshot"] = True
        return msgspec.json.encode({"method": method, "params": params, "req_id": request})


_NAMES = {"book": "book", "trades": "trade", "ticker": "ticker", "quotes": "ticker", "candles": "ohlc"}
