"""Config section of bitFlyer: what to subscribe, and where."""

from __future__ import annotations

import re

from pydantic import field_validator

from data_controller.exchanges.streaming.settings import StreamingSettings, symbols_of
from data_controller.settings import hot, restart

_SYMBOL = re.compile(r"[A-Z0-9]{2,20}(_[A-Z0-9]{2,20}){0,2}")


class BitflyerSettings(StreamingSettings):
    """What bitFlyer is asked for. The lists are hot: a reload subscribes and unsubscribes."""

    url: str = restart("wss://ws.lightstream.bitflyer.com/json-rpc", pattern=r"^wss?://")
    books: bool = hot(True)  # nothing proves them; the stream repeats the whole board every few seconds
    trades: bool = hot(True)
    tickers: bool = hot(False)

    @field_validator("instruments")
    @classmethod
    def _symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        return symbols_of("bitflyer", symbols, _SYMBOL, "BTC/JPY, BTC_JPY or FX_BTC_JPY")
