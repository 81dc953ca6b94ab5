"""Config sections of Bybit's three markets: what to subscribe, and where."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import field_validator

from data_controller.exchanges.bybit.dialect import venue_symbol
from data_controller.exchanges.bybit.widths import INTERVALS
from data_controller.exchanges.streaming.settings import StreamingSettings
from data_controller.settings import hot, restart


class BybitSettings(StreamingSettings):
    """What Bybit spot is asked for. The lists are hot: a reload subscribes and unsubscribes."""

    symbol_form: ClassVar[re.Pattern[str]] = re.compile(r"[A-Z0-9]{4,40}|[A-Z0-9]+/[A-Z0-9]+")
    symbol_example: ClassVar[str] = "BTC/USDT or BTCUSDT"

    url: str = restart("wss://stream.bybit.com/v5/public/spot", pattern=r"^wss?://")
    books: bool = hot(True)
    book_levels: Literal[50, 200, 1000] = hot(200)  # levels a side: 50 come every 20 ms, 200 every 100, 1000 every 200
    trades: bool = hot(True)
    quotes: bool = hot(False)  # best bid and ask, every 10 ms
    tickers: bool = hot(False)
    candles: tuple[str, ...] = hot(())  # widths: 1m, 5m, 1h, ...

    @field_validator("instruments")
    @classmethod
    def _symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in symbols:
            if not cls.symbol_form.fullmatch(symbol):
                raise ValueError(f"expected instruments such as {cls.symbol_example}, was {symbol!r}")
        if len({venue_symbol(symbol) for symbol in symbols}) != len(symbols):
            raise ValueError("expected each instrument once")
        return symbols

    @field_validator("candles")
    @classmethod
    def _widths(cls, widths: tuple[str, ...]) -> tuple[str, ...]:
        for width in widths:
            if width not in INTERVALS:
                raise ValueError(f"expected candle widths out of {', '.join(INTERVALS)}, was {width!r}")
        return widths


class BybitLinearSettings(BybitSettings):
    """What Bybit's contracts that settle in USDT or USDC are asked for."""

    symbol_form: ClassVar[re.Pattern[str]] = re.compile(
        r"[A-Z0-9]{4,40}(-[0-9]{2}[A-Z]{3}[0-9]{2})?|[A-Z0-9]+/[A-Z0-9]+:[A-Z0-9]+"
    )
    symbol_example: ClassVar[str] = "BTC/USDT:USDT or BTCUSDT"

    url: str = restart("wss://stream.bybit.com/v5/public/linear", pattern=r"^wss?://")
    derivatives: bool = hot(True)  # mark and index price and funding rate, which come with the ticker
    liquidations: bool = hot(False)


class BybitInverseSettings(BybitLinearSettings):
    """What Bybit's contracts that settle in the coin are asked for; their sizes are in USD."""

    symbol_example: ClassVar[str] = "BTC/USD:BTC or BTCUSD"

    url: str = restart("wss://stream.bybit.com/v5/public/inverse", pattern=r"^wss?://")
