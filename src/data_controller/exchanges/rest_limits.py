"""What each venue's public REST interface allows, as published: plain values for whoever asks it."""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """Paths that begin with `path`: what a request costs, and out of which budget."""

    path: str
    weight: int = 1
    by_limit: tuple[tuple[int, int], ...] = ()  # (up to this `limit` in the query, weight), ascending
    budget: int = 0  # units of its own in each window of `per_s`; 0: it draws from the venue's
    per_s: float = 0.0


class RestLimits(NamedTuple):
    """One venue: `budget` units in any `per_s` seconds, endpoints that differ (the longest path wins), its habits."""

    budget: int
    per_s: float
    endpoints: tuple[Endpoint, ...] = ()
    used_header: str = ""  # header that says how many units of the window are used
    limited: tuple[bytes, ...] = ()  # an answer of any status whose body holds one: too many requests
    refused: tuple[bytes, ...] = ()  # likewise: the request is wrong, whatever the status blames


UNKNOWN_VENUE = RestLimits(60, 60.0)
"""For a venue that is not in the table: one request a second harms nobody."""

_FUTURES_DEPTH = ((50, 2), (100, 5), (500, 10), (1000, 20))
_FUTURES_KLINES = ((99, 1), (499, 2), (1000, 5), (1500, 10))


def _binance_futures(prefix: str) -> RestLimits:
    return RestLimits(
        2400,
        60.0,
        (
            Endpoint(f"{prefix}/depth", 10, _FUTURES_DEPTH),
            Endpoint(f"{prefix}/klines", 5, _FUTURES_KLINES),
            Endpoint(f"{prefix}/aggTrades", 20),
            Endpoint(f"{prefix}/historicalTrades", 20),
            Endpoint(f"{prefix}/trades", 5),
            Endpoint(f"{prefix}/ticker/24hr", 40),
        ),
        used_header="X-MBX-USED-WEIGHT-1M",
    )


REST_LIMITS: dict[str, RestLimits] = {
    "bitfinex": RestLimits(
        30,
        60.0,
        (
            Endpoint("/v2/conf", budget=90, per_s=60.0),
            Endpoint("/v2/book", budget=240, per_s=60.0),
            Endpoint("/v2/candles", budget=30, per_s=60.0),
            Endpoint("/v2/trades", budget=15, per_s=60.0),
            Endpoint("/v2/tickers", budget=30, per_s=60.0),
            Endpoint("/v2/ticker", budget=30, per_s=60.0),
            Endpoint("/v2/status", budget=90, per_s=60.0),
        ),
        limited=(b"ERR_RATE_LIMIT", b'["error",11010'),
        refused=(b'["error",10020', b'["error",10001', b'["error",10300'),
    ),
    "binance": RestLimits(
        6000,
        60.0,
        (
            Endpoint("/api/v3/depth", 5, ((100, 5), (500, 25), (1000, 50), (5000, 250))),
            Endpoint("/api/v3/klines", 2),
            Endpoint("/api/v3/aggTrades", 4),
            Endpoint("/api/v3/historicalTrades", 25),
            Endpoint("/api/v3/trades", 25),
            Endpoint("/api/v3/exchangeInfo", 20),
            Endpoint("/api/v3/ticker/24hr", 80),
        ),
        used_header="X-MBX-USED-WEIGHT-1M",
    ),
    "binance_usdm": _binance_futures("/fapi/v1"),
    "binance_coinm": _binance_futures("/dapi/v1"),
    "bybit": RestLimits(600, 5.0, limited=(b'"retCode":10006', b'"retCode":10018')),
    "okx": RestLimits(
        20,
        2.0,
        (
            Endpoint("/api/v5/market/books", budget=40, per_s=2.0),
            Endpoint("/api/v5/market/books-full", budget=10, per_s=2.0),
            Endpoint("/api/v5/market/candles", budget=40, per_s=2.0),
            Endpoint("/api/v5/market/history-candles", budget=20, per_s=2.0),
            Endpoint("/api/v5/market/history-trades", budget=20, per_s=2.0),
        ),
        limited=(b'"code":"50011"',),
    ),
    "kraken": RestLimits(1, 1.0, limited=(b"Rate limit exceeded", b"Too many requests")),
    "coinbase": RestLimits(10, 1.0),
    "bitstamp": RestLimits(10_000, 600.0, (Endpoint("/api/v2/order_book", budget=400, per_s=1.0),)),
    "bitflyer": RestLimits(500, 300.0),
}
"""By venue, as each one's documentation says in 2026; whoever asks keeps a share of it (`ingest.rest.budget_share`)."""
