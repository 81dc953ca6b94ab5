"""Coinbase Exchange's requests: channels by product, signed where one of them asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from data_controller.exchanges.coinbase.keys import KEY, PASSPHRASE, SIGNATURE, TIMESTAMP
from data_controller.exchanges.coinbase.settings import CoinbaseSettings, symbol_of
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.tables import Channel

LIMITS = Limits(
    channels_per_connection=100,  # ours: a snapshot of levels is 5 MB
    channels_per_request=10,
    requests_per_s=8.0,  # the venue's limit of connects and messages by address
    connection_life_s=0.0,
    ping_every_s=0.0,
    acknowledged=True,  # by the list of all subscriptions, after each request
)


class CoinbaseDialect:
    """Dialect (see streaming.dialect) of Coinbase Exchange."""

    venue = "coinbase"
    limits = LIMITS

    def channels(self, settings: Any) -> list[list[Channel]]:
        """Each product's channels."""
        own: CoinbaseSettings = settings
        groups = []
        for name in own.instruments:
            product = symbol_of(name)
            group = []
            if own.books:
                group.append(Channel(self.venue, product, "book"))
            if own.orders:
                group.append(Channel(self.venue, product, "book", "R0"))
            if own.trades:
                group.append(Channel(self.venue, product, "trades"))
            if own.tickers:
                group.append(Channel(self.venue, product, "ticker"))
            groups.append(group)
        return [group for group in groups if group]

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        """One address for all."""
        own: CoinbaseSettings = settings
        return own.url

    def greeting(self, settings: Any) -> bytes | None:
        """Nothing: a subscription within five seconds is the greeting."""
        return None

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """Asks for channels, and for heartbeats of their products; a signature is left to `keys.signed`.

        What is public is asked for unsigned: a key that is refused costs its own channels alone.
        """
        own: CoinbaseSettings = settings
        message = {"type": "subscribe", "channels": self._named(own, channels, heartbeat=True)}
        if any(_is_guarded(own, channel) for channel in channels):
            message |= {"signature": SIGNATURE, "key": KEY, "passphrase": PASSPHRASE, "timestamp": TIMESTAMP}
        return msgspec.json.encode(message)

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """Gives channels up."""
        return msgspec.json.encode({"type": "unsubscribe", "channels": self._named(settings, channels)})

    def confirm(self, settings: Any, request: int) -> bytes | None:
        """Nothing: every answer names all channels there are now."""
        return None

    def ping(self) -> bytes:
        """Never asked for."""
        return b""

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        """The level-3 book, which a product's single orders are spliced to."""
        own: CoinbaseSettings = settings
        if channel.precision != "R0":
            return None
        return f"{own.rest_url}/products/{channel.symbol}/book?level=3"

    def _named(
        self, settings: CoinbaseSettings, channels: Sequence[Channel], *, heartbeat: bool = False
    ) -> list[dict[str, Any]]:
        products: dict[str, list[str]] = {}
        for channel in channels:
            name = "matches" if channel.stream == "trades" else "ticker"
            if channel.stream == "book":
                name = "full" if channel.precision == "R0" else settings.book_channel
            products.setdefault(name, []).append(channel.symbol)
        if heartbeat:
            products["heartbeat"] = list(dict.fromkeys(channel.symbol for channel in channels))
        return [{"name": name, "product_ids": own} for name, own in products.items()]


def _is_guarded(settings: CoinbaseSettings, channel: Channel) -> bool:
    """Whether Coinbase gives `channel` to known users alone."""
    return channel.stream == "book" and (channel.precision == "R0" or settings.book_channel == "level2")
