"""Config section of Coinbase Exchange: what to subscribe, and where the key of its authenticated channels lies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from data_controller.exchanges.streaming.settings import StreamingSettings
from data_controller.settings import hot, restart

_NAME = re.compile(r"[A-Z0-9]{1,16}[/-][A-Z0-9]{1,16}")


def symbol_of(name: str) -> str:
    """Coinbase's product of a canonical name: `BTC/USD` is `BTC-USD`; its own names stay as they are."""
    return name.replace("/", "-")


class CoinbaseSettings(StreamingSettings):
    """What Coinbase Exchange is asked for. `level2` and `orders` need a key that can only view."""

    url: str = restart("wss://ws-feed.exchange.coinbase.com", pattern=r"^wss?://")
    rest_url: str = restart("https://api.exchange.coinbase.com", pattern=r"^https?://")
    books: bool = hot(True)
    book_channel: Literal["level2_batch", "level2"] = restart("level2_batch")  # every 50 ms; or at once, with a key
    orders: bool = hot(False)  # the full channel: single orders, with a key
    trades: bool = hot(True)
    tickers: bool = hot(True)
    api_key_file: Path | None = restart(None)  # one line, mode 600; a key that can trade is refused
    api_secret_file: Path | None = restart(None)  # one line, mode 600: the key's private part
    api_passphrase_file: Path | None = restart(None)  # one line, mode 600: the key's passphrase

    @field_validator("instruments")
    @classmethod
    def _products(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"expected names as BTC/USD or BTC-USD, was {name!r}")
        if len({symbol_of(name) for name in names}) < len(names):
            raise ValueError("expected each instrument once, was twice")
        return names

    @property
    def needs_key(self) -> bool:
        """Whether something is asked for that Coinbase gives to known users alone."""
        return self.orders or (self.books and self.book_channel == "level2")

    @model_validator(mode="after")
    def _key(self) -> Self:
        if self.needs_key and None in (self.api_key_file, self.api_secret_file, self.api_passphrase_file):
            raise ValueError(
                "expected `api_key_file`, `api_secret_file` and `api_passphrase_file` where `orders` or `level2` is"
                " on, was otherwise"
            )
        return self
