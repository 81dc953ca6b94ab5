"""Config section of the exchanges that ccxt speaks to for us, and the channels that it asks for."""

from __future__ import annotations

import re

from pydantic import field_validator

from data_controller.errors import ConfigError
from data_controller.exchanges.naming import parse
from data_controller.market.tables import Channel
from data_controller.settings import Section, hot, restart

VENUE = "ccxt"
MERGED = "merged"
"""Precision of its books: what ccxt made of the exchange's messages, not those."""
MAX_INSTRUMENTS = 500
_EXCHANGE = re.compile(r"[a-z0-9]+")


class CcxtSettings(Section):
    """What the bridge is asked for: instruments as `exchange:NAME`. The lists are hot."""

    instruments: tuple[str, ...] = hot((), max_length=MAX_INSTRUMENTS)  # kraken:BTC/USD, okx:BTC/USDT:USDT
    books: bool = hot(True)  # merged books: UNVERIFIABLE for ever
    depth: int = hot(25, ge=1, le=500)  # levels a side
    trades: bool = hot(True)
    port: int = restart(8791, ge=1, le=65535)  # of the bridge, on 127.0.0.1
    rest_urls: dict[str, str] = restart({})  # exchange: address instead of its own
    socket_urls: dict[str, str] = restart({})  # likewise for WebSockets
    silent_after_s: float = hot(10.0, gt=0, le=600)  # the bridge's heartbeats come every 2 s
    book_lost_after_s: float = hot(60.0, gt=0, le=86400)  # a book lost or never come for longer is asked for anew
    retry_refused_after_s: float = hot(300.0, gt=0, le=86400)  # a channel that can never be had is tried again after

    @field_validator("instruments")
    @classmethod
    def _names(cls, instruments: tuple[str, ...]) -> tuple[str, ...]:
        for i, written in enumerate(instruments):
            exchange, _, name = written.partition(":")
            try:
                good = _EXCHANGE.fullmatch(exchange) is not None and str(parse(name)) == name
            except ConfigError:
                good = False
            if not good:
                raise ValueError(f"expected instruments as exchange:NAME (kraken:BTC/USD), was {written!r}")
            if written in instruments[:i]:
                raise ValueError(f"expected each entry once, was twice: {written}")
        return instruments

    @property
    def url(self) -> str:
        """Where the bridge listens."""
        return f"ws://127.0.0.1:{self.port}/"


def wanted(settings: CcxtSettings) -> list[Channel]:
    """Channels that `settings` asks for."""
    channels = []
    for symbol in settings.instruments:
        if settings.books:
            channels.append(Channel(VENUE, symbol, "book", MERGED, length=settings.depth))
        if settings.trades:
            channels.append(Channel(VENUE, symbol, "trades"))
    return channels


def key_of(channel: Channel) -> str:
    """The bridge's key of a channel: `book:25:kraken:BTC/USD`, `trades:0:kraken:BTC/USD`."""
    return f"{channel.stream}:{channel.length}:{channel.symbol}"


def channel_of(key: str) -> Channel | None:
    """The channel of a key, None where it is none."""
    match = re.fullmatch(r"(book|trades):(\d{1,4}):([a-z0-9]+:\S+)", key)
    if match is None:
        return None
    stream, length, symbol = match.groups()
    if stream == "book":
        return Channel(VENUE, symbol, "book", MERGED, length=int(length))
    return Channel(VENUE, symbol, "trades") if length == "0" else None
