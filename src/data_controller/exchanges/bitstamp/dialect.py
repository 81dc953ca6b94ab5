"""What is said to Bitstamp: one channel a request, answered by name; books are fetched by REST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from data_controller.exchanges.bitstamp.decoder import VENUE, name_of
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.tables import Channel

_encode = msgspec.json.encode

LIMITS = Limits(
    channels_per_connection=50,  # ours: Bitstamp says no number
    requests_per_s=10.0,  # ours: no limit is published
    connection_life_s=90 * 86400,
    ping_every_s=25.0,
)


class BitstampDialect:
    """Requests of Bitstamp's WebSocket v2; see `streaming.dialect.Dialect`."""

    venue = VENUE
    limits = LIMITS

    def channels(self, settings: Any) -> list[list[Channel]]:
        """As `Dialect.channels`."""
        groups = []
        for symbol in settings.instruments:
            group = [Channel(VENUE, symbol, "book")] if settings.books else []
            group += [Channel(VENUE, symbol, "book", "R0")] if settings.orders else []
            group += [Channel(VENUE, symbol, "trades")] if settings.trades else []
            groups.append(group)
        return groups

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        """As `Dialect.url`: one for all."""
        return str(settings.url)

    def greeting(self, settings: Any) -> bytes | None:
        """None: public channels need no word."""
        return None

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """As `Dialect.subscribe`; the answer has the channel's name, so the request's number is not sent."""
        return _encode({"event": "bts:subscribe", "data": {"channel": name_of(channels[0])}})

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """As `Dialect.unsubscribe`."""
        return _encode({"event": "bts:unsubscribe", "data": {"channel": name_of(channels[0])}})

    def confirm(self, settings: Any, request: int) -> bytes | None:
        """None: answers name their channel."""
        return None

    def ping(self) -> bytes:
        """As `Dialect.ping`; answered in kind, so that a quiet connection is not taken for a dead one."""
        return b'{"event":"bts:heartbeat"}'

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        """As `Dialect.snapshot_url`: by price, or with `group=2` by order."""
        if channel.stream != "book":
            return None
        query = "?group=2" if channel.precision == "R0" else ""
        return f"{settings.rest_url}/order_book/{channel.symbol}/{query}"


DIALECT = BitstampDialect()
