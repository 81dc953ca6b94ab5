"""What is said to bitFlyer: JSON-RPC, one channel a request; a yes names no channel, so data acknowledges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from data_controller.exchanges.bitflyer._scanner import BOARD, EXECUTIONS, SNAPSHOT
from data_controller.exchanges.bitflyer.decoder import TICKER, VENUE
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.tables import Channel

_encode = msgspec.json.encode

LIMITS = Limits(
    channels_per_connection=40,  # as many as the capture had: bitFlyer says no number
    requests_per_s=5.0,  # ours: no limit of the stream is published
    acknowledged=False,
)
REPEATS = "board_snapshot"
"""Precision of the channel that stands for the whole boards: asked for as a channel, though its data is the book's."""


def name_of(channel: Channel) -> str:
    """The channel's name at bitFlyer."""
    if channel.stream == "ticker":
        return (SNAPSHOT if channel.precision == REPEATS else TICKER) + channel.symbol
    return (BOARD if channel.stream == "book" else EXECUTIONS) + channel.symbol


class BitflyerDialect:
    """Requests of bitFlyer's realtime API; see `streaming.dialect.Dialect`."""

    venue = VENUE
    limits = LIMITS

    def channels(self, settings: Any) -> list[list[Channel]]:
        """As `Dialect.channels`; a book is two of the venue's channels, changes and whole boards."""
        groups = []
        for symbol in settings.instruments:
            group = []
            if settings.books:
                group = [Channel(VENUE, symbol, "book"), Channel(VENUE, symbol, "ticker", REPEATS)]
            group += [Channel(VENUE, symbol, "trades")] if settings.trades else []
            group += [Channel(VENUE, symbol, "ticker")] if settings.tickers else []
            groups.append(group)
        return groups

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        """As `Dialect.url`: one for all."""
        return str(settings.url)

    def greeting(self, settings: Any) -> bytes | None:
        """None: public channels need no word."""
        return None

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """As `Dialect.subscribe`."""
        return self._call("subscribe", channels, request)

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """As `Dialect.unsubscribe`."""
        return self._call("unsubscribe", channels, request)

    def _call(self, method: str, channels: Sequence[Channel], request: int) -> bytes:
        params = {"channel": name_of(channels[0])}
        return _encode({"jsonrpc": "2.0", "method": method, "params": params, "id": request})

    def confirm(self, settings: Any, request: int) -> bytes | None:
        """None: nothing lists what is served."""
        return None

    def ping(self) -> bytes:
        """Nothing: the WebSocket's own ping keeps it alive."""
        return b""

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        """None: the stream repeats its boards."""
        return None


DIALECT = BitflyerDialect()
