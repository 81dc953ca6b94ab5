"""Config section of Kraken: what to subscribe, and where the key of its level3 channel lies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from data_controller.exchanges.streaming.settings import StreamingSettings
from data_controller.settings import hot, restart

_NAME = re.compile(r"[A-Za-z0-9.]{1,20}/[A-Za-z0-9.]{1,20}")
INTERVALS_MIN = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
"""Widths of candles, minutes."""


def symbol_of(name: str) -> str:
    """Kraken's symbol of a canonical name: v2 writes them alike, `BTC/USD`."""
    return name.upper()


class KrakenSettings(StreamingSettings):
    """What Kraken Spot is asked for. Single orders (level3) need a key that can only read."""

    url: str = restart("wss://ws.kraken.com/v2", pattern=r"^wss?://")
    orders_url: str = restart("wss://ws-l3.kraken.com/v2", pattern=r"^wss?://")
    rest_url: str = restart("https://api.kraken.com", pattern=r"^https?://")
    books: bool = hot(True)
    book_depth: Literal[10, 25, 100, 500, 1000] = hot(100)  # prices a side
    orders: bool = hot(False)  # the level3 channel: single orders, with a token
    order_depth: Literal[10, 100, 1000] = hot(100)  # prices a side
    trades: bool = hot(True)
    tickers: bool = hot(True)  # on every trade
    quotes: bool = hot(False)  # best prices on every change, in place of tickers
    candles_min: tuple[int, ...] = hot(())  # widths, minutes: 1, 5, 15, 30, 60, 240, 1440, 10080, 21600
    api_key_file: Path | None = restart(None)  # one line, mode 600; a key that can trade is refused
    api_secret_file: Path | None = restart(None)  # one line, mode 600: the key's private part

    @field_validator("instruments")
    @classmethod
    def _symbols(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"expected names as BTC/USD, was {name!r}")
        if len({symbol_of(name) for name in names}) < len(names):
            raise ValueError("expected each instrument once, was twice")
        return names

    @field_validator("candles_min")
    @classmethod
    def _widths(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        for width in widths:
            if width not in INTERVALS_MIN:
                raise ValueError(f"expected candle widths out of {INTERVALS_MIN} minutes, was {width}")
        return widths

    @model_validator(mode="after")
    def _key_for_orders(self) -> Self:
        if self.orders and (self.api_key_file is None or self.api_secret_file is None):
            raise ValueError("expected `api_key_file` and `api_secret_file` where `orders` is on, was otherwise")
        return self
