"""Config section of Bitstamp: what to subscribe, and where."""

from __future__ import annotations

import re

from pydantic import field_validator

from data_controller.exchanges.streaming.settings import StreamingSettings, symbols_of
from data_controller.settings import hot, restart

_SYMBOL = re.compile(r"[a-z0-9]{5,20}(-perp)?")


class BitstampSettings(StreamingSettings):
    """What Bitstamp is asked for. The lists are hot: a reload subscribes and unsubscribes."""

    url: str = restart("wss://ws.bitstamp.net", pattern=r"^wss?://")
    rest_url: str = restart("https://www.bitstamp.net/api/v2", pattern=r"^https?://")
    books: bool = hot(True)  # prices; nothing proves them
    orders: bool = hot(False)  # every order, proved by its chain of events
    trades: bool = hot(True)
    resnapshot_every_s: float = hot(600.0, ge=0, le=86400)  # a book nothing can prove is fetched anew this often

    @field_validator("instruments")
    @classmethod
    def _symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        return symbols_of("bitstamp", symbols, _SYMBOL, "BTC/USD or btcusd")
