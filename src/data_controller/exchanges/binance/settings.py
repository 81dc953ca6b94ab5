"""Config sections of Binance's three markets: what to subscribe, and where."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import ValidationInfo, field_validator

from data_controller.exchanges.streaming.settings import StreamingSettings, symbols_of
from data_controller.settings import hot, restart

CANDLE_WIDTHS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
MAX_STREAMS = 200
"""Streams a connection carries: what the futures allow; spot would allow 1,024."""


class BinanceSettings(StreamingSettings):
    """What Binance spot is asked for. The lists are hot: a reload subscribes and unsubscribes."""

    symbol_form: ClassVar[re.Pattern[str]] = re.compile(r"[A-Z0-9]{4,40}")
    venue: ClassVar[str] = "binance"
    symbol_example: ClassVar[str] = "BTC/USDT or BTCUSDT"
    speeds: ClassVar[tuple[str, ...]] = ("100ms", "1000ms")
    snapshot_limits: ClassVar[tuple[int, ...]] = (5, 10, 20, 50, 100, 500, 1000, 5000)

    url: str = restart("wss://stream.binance.com:9443/stream", pattern=r"^wss?://")
    rest_url: str = restart("https://api.binance.com/api/v3", pattern=r"^https?://")
    snapshot_limit: int = hot(1000)  # levels a side of a fetched book
    books: bool = hot(True)
    book_speed: str = hot("100ms")  # how often changes come: 100ms, 1000ms; futures: 0ms, 100ms, 250ms, 500ms
    trades: bool = hot(True)
    aggregate_trades: bool = hot(False)  # trades of one order at one price as one
    quotes: bool = hot(False)  # every change of best bid and ask
    tickers: bool = hot(False)
    candles: tuple[str, ...] = hot(())  # widths: 1m, 5m, ...
    max_channels_per_connection: int = restart(MAX_STREAMS, ge=1, le=MAX_STREAMS)

    def most_channels(self, allowed: int) -> int:
        """As `StreamingSettings.most_channels`, and not more than the config says."""
        return min(allowed, self.max_channels_per_connection)

    @field_validator("instruments")
    @classmethod
    def _symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        return symbols_of(cls.venue, symbols, cls.symbol_form, cls.symbol_example)

    @field_validator("book_speed", "snapshot_limit")
    @classmethod
    def _offered(cls, value: str | int, info: ValidationInfo) -> str | int:
        allowed: tuple[str | int, ...] = cls.speeds if info.field_name == "book_speed" else cls.snapshot_limits
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(map(str, allowed))}, was {value}")
        return value

    @field_validator("candles")
    @classmethod
    def _widths(cls, widths: tuple[str, ...]) -> tuple[str, ...]:
        for width in widths:
            if width not in CANDLE_WIDTHS:
                raise ValueError(f"expected candle widths out of {', '.join(CANDLE_WIDTHS)}, was {width!r}")
        return widths


class BinanceUsdmSettings(BinanceSettings):
    """What Binance's USD-M futures are asked for."""

    symbol_form: ClassVar[re.Pattern[str]] = re.compile(r"[A-Z0-9]{4,40}(_[0-9]{6})?")
    venue: ClassVar[str] = "binance_usdm"
    symbol_example: ClassVar[str] = "BTC/USDT:USDT or BTCUSDT"
    speeds: ClassVar[tuple[str, ...]] = ("0ms", "100ms", "250ms", "500ms")
    snapshot_limits: ClassVar[tuple[int, ...]] = (5, 10, 20, 50, 100, 500, 1000)

    url: str = restart("wss://fstream.binance.com/public/stream", pattern=r"^wss?://")  # books, trades, quotes
    market_url: str = restart("", pattern=r"^(wss?://.*)?$", validate_default=True)  # all else; empty: /market of `url`
    rest_url: str = restart("https://fapi.binance.com/fapi/v1", pattern=r"^https?://")
    derivatives: bool = hot(True)  # mark and index price, funding rate
    liquidations: bool = hot(True)

    @field_validator("market_url")
    @classmethod
    def _beside_url(cls, market_url: str, info: ValidationInfo) -> str:
        return market_url or str(info.data.get("url", "")).replace("/public/", "/market/", 1)


class BinanceCoinmSettings(BinanceUsdmSettings):
    """What Binance's COIN-M futures are asked for; their sizes are contracts."""

    symbol_form: ClassVar[re.Pattern[str]] = re.compile(r"[A-Z0-9]+_(PERP|[0-9]{6})")
    venue: ClassVar[str] = "binance_coinm"
    symbol_example: ClassVar[str] = "BTC/USD:BTC or BTCUSD_PERP"

    url: str = restart("wss://dstream.binance.com/stream", pattern=r"^wss?://")
    rest_url: str = restart("https://dapi.binance.com/dapi/v1", pattern=r"^https?://")
