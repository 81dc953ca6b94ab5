"""Config section of Bitfinex: what to subscribe, and after which silences to act."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, field_validator, model_validator

from data_controller.errors import ConfigError
from data_controller.exchanges.naming import is_canonical, to_venue
from data_controller.settings import Section, hot, restart

MAX_CHANNELS = 25
"""Channels that Bitfinex allows on one connection."""
MAX_CONNECTIONS = 128
"""Connections that a config may need; the venue lets us open 20 a minute."""

CANDLE_WIDTHS = ("1m", "5m", "15m", "30m", "1h", "3h", "6h", "12h", "1D", "1W", "14D", "1M")
_SYMBOL = re.compile(r"t[A-Z0-9]{6,}|t[A-Z0-9]+:[A-Z0-9]+|f[A-Z0-9]{3,}")


def _one_of(*allowed: object) -> BeforeValidator:
    text = ", ".join(map(str, allowed[:-1])) + f" or {allowed[-1]}"

    def check(value: Any) -> Any:
        # bool is an int to Python: `length: true` must not pass for 1.
        if isinstance(value, bool) or value not in allowed:
            raise ValueError(f"expected {text}, was {value}")
        return value

    return BeforeValidator(check)


Precision = Annotated[Literal["P0", "P1", "P2", "P3", "P4", "R0"], _one_of("P0", "P1", "P2", "P3", "P4", "R0")]
Frequency = Annotated[Literal["F0", "F1"], _one_of("F0", "F1")]
Length = Annotated[Literal[1, 25, 100, 250], _one_of(1, 25, 100, 250)]


class BookSettings(Section):
    """One rendering of the book: aggregated prices (P0 finest) or raw orders (R0)."""

    precision: Precision = hot("P0")
    frequency: Frequency = hot("F0")  # F0 real time, F1 every 2 s
    length: Length = hot(25)  # entries a side; a book of 1 cannot be proved by checksum


class BitfinexSettings(Section):
    """What Bitfinex is asked for. The lists are hot: a reload subscribes and unsubscribes."""

    url: str = restart("wss://api-pub.bitfinex.com/ws/2", pattern=r"^wss?://")
    instruments: tuple[str, ...] = hot(())  # names (BTC/USD) or the venue's own symbols (tBTCUSD)
    books: tuple[BookSettings, ...] = hot((BookSettings(),))
    trades: bool = hot(True)
    tickers: bool = hot(True)
    candles: tuple[str, ...] = hot(())  # widths: 1m, 5m, ...
    derivatives: bool = hot(True)  # of perpetuals (tBTCF0:USTF0): mark and index price, funding, open interest
    liquidations: bool = hot(False)  # one channel of all instruments
    max_channels_per_connection: int = restart(MAX_CHANNELS, ge=1, le=MAX_CHANNELS)
    silent_after_s: float = hot(20.0, gt=0, le=600)  # heartbeats come every 15 s: nothing at all means a dead socket
    ack_timeout_s: float = hot(10.0, gt=0, le=600)  # an answer or a snapshot later than this is lost
    unproved_after_s: float = hot(60.0, gt=0, le=86400)  # a book without its checksum for longer is asked for again
    channel_silent_after_s: float = hot(40.0, gt=0, le=86400)  # two heartbeats missed: a dead channel, asked for again
    maintenance_timeout_s: float = hot(150.0, gt=0, le=86400)  # Bitfinex says at most 120 s
    resync_backoff_s: float = hot(1.0, gt=0, le=3600)  # second resync in a row; the first is immediate, then doubling
    resync_backoff_max_s: float = hot(60.0, gt=0, le=3600)
    resync_stable_after_s: float = hot(120.0, gt=0, le=86400)  # a book that held for this long starts over
    retry_given_up_after_s: float = hot(
        300.0, gt=0, le=86400
    )  # a channel refused three times is tried again, then doubling
    retry_given_up_max_s: float = hot(3600.0, gt=0, le=86400)

    @field_validator("instruments")
    @classmethod
    def _symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        try:
            symbols = tuple(to_venue("bitfinex", symbol) if is_canonical(symbol) else symbol for symbol in symbols)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        for symbol in symbols:
            if not _SYMBOL.fullmatch(symbol):
                raise ValueError(f"expected symbols as Bitfinex writes them (tBTCUSD, tETH2X:ETH), was {symbol!r}")
        return _unique(symbols)

    @field_validator("candles")
    @classmethod
    def _widths(cls, widths: tuple[str, ...]) -> tuple[str, ...]:
        for width in widths:
            if width not in CANDLE_WIDTHS:
                raise ValueError(f"expected candle widths out of {', '.join(CANDLE_WIDTHS)}, was {width!r}")
        return _unique(widths)

    @field_validator("books")
    @classmethod
    def _renderings(cls, books: tuple[BookSettings, ...]) -> tuple[BookSettings, ...]:
        return _unique(books)

    def _has_status(self) -> bool:
        return self.derivatives and any("F0:" in symbol for symbol in self.instruments)

    @model_validator(mode="after")
    def _connections(self) -> Self:
        limit = self.max_channels_per_connection
        each = max(1, len(self.books) + self.trades + self.tickers + len(self.candles) + self._has_status())
        together = limit // each  # instruments that fit on one connection
        n = len(self.instruments)
        needed = int(self.liquidations) + -(-n // together) if together else n * -(-each // limit)
        if needed > MAX_CONNECTIONS:
            raise ValueError(
                f"expected at most {MAX_CONNECTIONS} connections, was {needed}: {n} instruments of {each} channels,"
                f" {limit} channels a connection"
            )
        return self


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """`values` themselves; a second subscription of the same thing would be refused by the venue."""
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"expected each entry once, was twice: {value}")
    return values
