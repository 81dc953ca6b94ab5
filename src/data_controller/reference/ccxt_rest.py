"""Any exchange that ccxt knows, asked through ccxt: made with friendly errors, its failures in our error tree."""

from __future__ import annotations

import asyncio
import difflib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

from data_controller.errors import ConfigError, RestError, RestLimited, RestRefused, RestUnavailable, is_retryable
from data_controller.ingest.backoff import full_jitter_s
from data_controller.ingest.rest import redacted
from data_controller.ingest.settings import RestSettings
from data_controller.reference.history import MS, Page, Row, What, candle, trade, width_ns

OURS = {"binance_usdm": "binanceusdm", "binance_coinm": "binancecoinm", "coinbase": "coinbaseexchange"}
"""Our venues whose name in ccxt is another."""


def version() -> str:
    """ccxt's version."""
    import ccxt

    return str(ccxt.__version__)


def make(exchange: str, base: str = "", timeout_s: float = 20.0) -> Any:
    """An asynchronous ccxt exchange, keyless, with ccxt's own rate limit on; `base` replaces its address.

    Importing ccxt takes a second or two: only jobs that need it come here. ConfigError where ccxt knows no such one.
    """
    import ccxt.async_support as ccxt

    name = OURS.get(exchange, exchange)
    if name not in ccxt.exchanges:
        near = difflib.get_close_matches(name, ccxt.exchanges, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"ccxt {ccxt.__version__} knows {len(ccxt.exchanges)}"
        raise ConfigError(f"expected an exchange that ccxt knows, was {exchange!r}: {hint}")
    made = getattr(ccxt, name)({"enableRateLimit": True, "timeout": int(timeout_s * 1000)})
    # ccxt would read proxies of the environment otherwise.
    made.aiohttp_trust_env = False
    if base:
        point_at(made, base)
    return made


async def close(exchange: Any) -> None:
    """Close an exchange of `make` for good."""
    # What a failed call has left under way would open another session, which nobody closes.
    exchange.open = lambda: None
    await exchange.close()


def point_at(exchange: Any, base: str) -> None:
    """Replace the scheme and host of every address of `exchange`'s REST interface by those of `base`."""
    exchange.urls["api"] = _moved(exchange.urls["api"], base.rstrip("/"))


def _moved(urls: Any, base: str) -> Any:
    if isinstance(urls, dict):
        return {key: _moved(value, base) for key, value in urls.items()}
    if isinstance(urls, str) and urls.startswith("http"):
        return base + urlsplit(urls.replace("{hostname}", "host")).path
    return urls


def rest_error(error: Exception, what: str) -> RestError:
    """What ccxt raised, in our tree; its text without secrets and of one line."""
    import ccxt

    text = f"expected {what}, was {type(error).__name__}: {redacted(' '.join(str(error).split()))[:300]}"
    if isinstance(error, (ccxt.RateLimitExceeded, ccxt.DDoSProtection)):
        return RestLimited(text)
    if isinstance(error, (ccxt.NetworkError, ccxt.OperationFailed, OSError, TimeoutError)):
        return RestUnavailable(text)
    return RestRefused(text)


async def ask(call: Callable[[], Any], what: str, settings: RestSettings, rng: random.Random) -> Any:
    """What the coroutine of `call` gives, tried again as `ingest.rest` does; RestError where it fails for good."""
    attempt = 0
    while True:
        try:
            return await call()
        except Exception as raised:
            error = rest_error(raised, what)
            attempt += 1
            if not is_retryable(error) or attempt >= settings.attempts:
                raise error from None
        # How long a limit lasts, ccxt does not say: it is given eight times the pause of a failure.
        first_s = settings.backoff_first_s * (8 if isinstance(error, RestLimited) else 1)
        await asyncio.sleep(full_jitter_s(rng, attempt - 1, first_s, settings.backoff_max_s))


class CcxtHistory:
    """History through ccxt's fetch_ohlcv and fetch_trades. Numbers are what ccxt parsed: their shortest decimal text.

    Candles are walked to the end of the span, also over pages without any: many exchanges answer one page's time from
    `since` on and no more. That nothing is missing within a page rests on the exchange's promise to serve from `since`
    on; an empty stretch cannot be told from one that the exchange no longer keeps, nor from the end of its trades.
    """

    LIMIT = 1000
    SURE = 100
    """Rows that a page can hold where ccxt does not say how many; no exchange that it says it of has fewer."""

    def __init__(self, exchange: Any, symbol: str, what: What, width: str, settings: RestSettings) -> None:
        self.name = f"ccxt {version()}"
        self.symbol = symbol
        self.what = what
        self.width = width
        self._exchange = exchange
        self._settings = settings
        self._rng = random.Random()

    async def pages(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """As `history.Source`."""
        exchange, at = self._exchange, from_ns
        method = {"candles": "fetchOHLCV", "trades": "fetchTrades"}.get(self.what, "")
        if not method or not exchange.has.get(method):
            raise ConfigError(f"expected history that {exchange.id} serves through ccxt, was {self.what}: it has none")
        if self.what == "candles" and exchange.timeframes and self.width not in exchange.timeframes:
            widths = ", ".join(exchange.timeframes)
            raise ConfigError(f"expected a width that {exchange.id} has ({widths}), was {self.width!r} (`--width`)")
        what = f"{self.what} of {self.symbol} from {exchange.id}"
        said = await self._said_limit(method, what)
        limit = min(said or self.LIMIT, self.LIMIT)
        largest = 0  # of the pages with several moments: none of those was cut within its first one
        while at < to_ns:
            rows = await self._page(at // MS, limit, what)
            times = [row["open_ns" if self.what == "candles" else "exch_ns"] for row in rows]
            last = max(times, default=at)
            if last >= to_ns:
                yield Page(rows, to_ns)
                return
            if last > at:
                if min(times) < last:
                    largest = max(largest, len(rows))
                yield Page(rows, last)
                at = last
                continue
            if times.count(at) >= (largest or said or self.SURE):
                raise RestRefused(
                    f"expected {what}, was a page of {len(rows)} at the one moment {at}: it cannot be walked"
                    " past; begin behind it"
                )
            # Candles may go on behind what a page spans. It ends short of `at` + its rows where `at` is no opening.
            span = max((said and limit) or self.SURE, largest) - 1
            at = min(at + span * width_ns(self.width), to_ns) if self.what == "candles" else to_ns
            yield Page(rows, at)

    async def _said_limit(self, method: str, what: str) -> int:
        """How many rows a page of the exchange holds as ccxt has it, 0 where it does not say."""
        exchange = self._exchange

        async def call() -> Any:
            await exchange.load_markets()
            return exchange.feature_value(self.symbol, method, "limit")

        return int(await ask(call, what, self._settings, self._rng) or 0)

    async def _page(self, since_ms: int, limit: int, what: str) -> list[Row]:
        exchange = self._exchange

        async def call() -> Any:
            if self.what == "candles":
                return await exchange.fetch_ohlcv(self.symbol, self.width, since_ms, limit)
            return await exchange.fetch_trades(self.symbol, since_ms, limit)

        raw = await ask(call, what, self._settings, self._rng)
        if self.what == "candles":
            names = ("open", "high", "low", "close", "volume")
            return [candle(int(r[0]) * MS, self.width, dict(zip(names, r[1:6], strict=True))) for r in raw]
        sides = {"buy": 1, "sell": -1}
        return [trade(int(t["timestamp"]) * MS, _id(t), sides.get(t["side"], 0), t["price"], t["amount"]) for t in raw]


def _id(trade: dict[str, Any]) -> str:
    """The trade's id, or where the exchange gives none, a text of what tells it from others."""
    return str(trade.get("id") or f"{trade['timestamp']}:{trade['side']}:{trade['price']}:{trade['amount']}")
