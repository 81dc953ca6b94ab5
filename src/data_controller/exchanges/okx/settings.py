"""Config section of OKX: what to subscribe, and where."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from data_controller.exchanges.okx.dialect import venue_symbol
from data_controller.exchanges.streaming.settings import StreamingSettings
from data_controller.settings import hot, restart

CANDLE_WIDTHS = (
    "1s", "1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6H", "12H", "1D", "2D", "3D", "5D", "1W", "1M", "3M",
    "6Hutc", "12Hutc", "1Dutc", "2Dutc", "3Dutc", "5Dutc", "1Wutc", "1Mutc", "3Mutc",
)  # fmt: skip
_SYMBOL = re.compile(
    r"[A-Z0-9]+-[A-Z0-9]+(-[A-Z0-9]+){0,3}|[A-Z0-9]+/[A-Z0-9]+(:[A-Z0-9]+(-[0-9]{6}(-[0-9]+-[CP])?)?)?"
)


class OkxSettings(StreamingSettings):
    """What OKX is asked for. The lists are hot: a reload subscribes and unsubscribes."""

    url: str = restart("wss://ws.okx.com:8443/ws/v5/public", pattern=r"^wss?://")
    business_url: str = restart("wss://ws.okx.com:8443/ws/v5/business", pattern=r"^wss?://")  # candles are served there
    rest_url: str = restart("https://www.okx.com/api/v5", pattern=r"^https?://")
    books: bool = hot(True)
    book_channel: Literal["books", "books5"] = hot("books")  # 400 levels every 100 ms; 5 levels, which nothing proves
    snapshots: Literal["stream", "rest"] = hot("stream")  # where a book begins: OKX may stop sending its own snapshot
    snapshot_levels: int = hot(400, ge=1, le=400)  # levels a side of a fetched book
    trades: bool = hot(True)
    quotes: bool = hot(False)  # every change of best bid and ask
    tickers: bool = hot(False)
    candles: tuple[str, ...] = hot(())  # widths: 1m, 5m, 1H, ...
    derivatives: bool = hot(True)  # of swaps and futures: mark and index price, funding rate
    liquidations: bool = hot(False)  # of those instruments that are subscribed

    @field_validator("instruments")
    @classmethod
    def _symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in symbols:
            if not _SYMBOL.fullmatch(symbol):
                raise ValueError(f"expected instruments such as BTC/USDT, BTC/USDT:USDT or BTC-USDT, was {symbol!r}")
        if len({venue_symbol(symbol) for symbol in symbols}) != len(symbols):
            raise ValueError("expected each instrument once")
        return symbols

    @field_validator("candles")
    @classmethod
    def _widths(cls, widths: tuple[str, ...]) -> tuple[str, ...]:
        for width in widths:
            if width not in CANDLE_WIDTHS:
                raise ValueError(f"expected candle widths out of {', '.join(CANDLE_WIDTHS)}, was {width!r}")
        return widths
