"""History as Bitfinex, Binance and Kraken serve it themselves: exact ids and numbers, page by page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

from data_controller.errors import ConfigError, RestRefused
from data_controller.exchanges.naming import to_venue
from data_controller.ingest.rest import RestClient
from data_controller.reference.history import MS, Page, Row, What, candle, decimal, read_json, trade, whole, width_ns

BASES = {
    "bitfinex": "https://api-pub.bitfinex.com",
    "binance": "https://api.binance.com",
    "binance_usdm": "https://fapi.binance.com",
    "binance_coinm": "https://dapi.binance.com",
    "kraken": "https://api.kraken.com",
}
_BINANCE = {"binance": "/api/v3", "binance_usdm": "/fapi/v1", "binance_coinm": "/dapi/v1"}
_S = 10**9


class _Native:
    """A venue asked by our own REST client; `what` of `symbol`, candles of `width`."""

    name = "rest"

    def __init__(self, client: RestClient, venue: str, symbol: str, what: What, width: str, base: str = "") -> None:
        self.venue = venue
        self.symbol = symbol
        self.what = what
        self.width = width
        self.base = (base or BASES[venue]).rstrip("/")
        self._client = client

    async def _get(self, path: str, **params: str | int) -> Any:
        reply = await self._client.get(self.venue, self.base + path, params)
        return read_json(reply.body, f"{self.venue}{path}")

    def _list(self, value: Any, fields: int) -> list[list[Any]]:
        """A list of lists of at least `fields` values; RestRefused else, with what the venue said."""
        good = isinstance(value, list) and all(isinstance(row, list) and len(row) >= fields for row in value)
        if not good:
            raise RestRefused(f"expected {self.what} of {self.symbol} from {self.venue}, was {str(value)[:200]}")
        return value  # type: ignore[no-any-return]


class Bitfinex(_Native):
    """v2 `candles/.../hist`, `trades/.../hist` and `tickers/hist` (the last one hourly, for a year)."""

    LIMIT = 10_000
    TICKERS = 250

    async def pages(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """As `history.Source`."""
        limit = self.TICKERS if self.what == "tickers" else self.LIMIT
        at = from_ns
        while at < to_ns:
            rows = await self._page(at, to_ns, limit)
            page = _page_by_time(rows, "open_ns" if self.what == "candles" else "exch_ns", at, to_ns, limit)
            yield page
            at = page.complete_to_ns

    async def _page(self, from_ns: int, to_ns: int, limit: int) -> list[Row]:
        window: dict[str, int] = {"start": from_ns // MS, "end": -(-to_ns // MS) - 1, "limit": limit, "sort": 1}
        if self.what == "candles":
            width = _BITFINEX_WIDTHS.get(self.width, self.width)
            path = f"/v2/candles/trade:{width}:{self.symbol}/hist"
            answer = self._list(await self._get(path, **window), 6)
            names = ("open", "close", "high", "low", "volume")
            return [candle(whole(r[0], "time") * MS, self.width, dict(zip(names, r[1:6], strict=True))) for r in answer]
        if self.what == "trades":
            answer = self._list(await self._get(f"/v2/trades/{self.symbol}/hist", **window), 4)
            return [_bitfinex_trade(r) for r in answer]
        # Newest first, whatever is asked: the window is walked from its end.
        found: list[Row] = []
        end = window["end"]
        while True:
            asked: dict[str, str | int] = {"symbols": self.symbol, "start": window["start"], "end": end, "limit": limit}
            answer = self._list(await self._get("/v2/tickers/hist", **asked), 13)
            rows: list[Row] = [
                {"exch_ns": whole(r[12], "time") * MS, "bid": decimal(r[1]), "ask": decimal(r[3])} for r in answer
            ]
            found += rows
            oldest = min((row["exch_ns"] for row in rows), default=0) // MS
            if len(rows) < limit or oldest <= window["start"] or oldest > end:
                return found
            end = oldest - 1


def _bitfinex_trade(row: Sequence[Any]) -> Row:
    side = 1 if decimal(row[2]) > 0 else -1
    return trade(whole(row[1], "time") * MS, whole(row[0], "id"), side, row[3], row[2])


_BITFINEX_WIDTHS = {"1d": "1D", "1w": "1W", "7d": "1W", "14d": "14D"}


class Binance(_Native):
    """`klines` by time, `aggTrades` by id from the first one of the span on; spot, USD-M and COIN-M."""

    LIMIT = 1000

    async def pages(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """As `history.Source`."""
        if self.what == "tickers":
            raise ConfigError("expected candles or trades of binance, was tickers: it has no history of them")
        walk = self._klines if self.what == "candles" else self._trades
        async for page in walk(from_ns, to_ns):
            yield page

    async def _klines(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        at = from_ns
        path = f"{_BINANCE[self.venue]}/klines"
        names = ("open", "high", "low", "close", "volume")
        while at < to_ns:
            answer = self._list(
                await self._get(
                    path,
                    symbol=self.symbol,
                    interval=self.width,
                    startTime=at // MS,
                    endTime=-(-to_ns // MS) - 1,
                    limit=self.LIMIT,
                ),
                6,
            )
            rows = [candle(whole(r[0], "time") * MS, self.width, dict(zip(names, r[1:6], strict=True))) for r in answer]
            page = _page_by_time(rows, "open_ns", at, to_ns, self.LIMIT)
            yield page
            at = page.complete_to_ns

    async def _trades(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        path = f"{_BINANCE[self.venue]}/aggTrades"
        where: dict[str, str | int] = {"startTime": from_ns // MS}
        next_id: int | None = None
        while True:
            answer = await self._get(path, symbol=self.symbol, limit=self.LIMIT, **where)
            if not isinstance(answer, list) or not all(isinstance(t, dict) for t in answer):
                raise RestRefused(f"expected trades of {self.symbol} from {self.venue}, was {str(answer)[:200]}")
            try:
                rows = [
                    trade(whole(t["T"], "time") * MS, whole(t["a"], "id"), -1 if t["m"] else 1, t["p"], t["q"])
                    for t in answer
                ]
            except KeyError as error:
                raise RestRefused(f"expected a trade of {self.venue} with {error}, was {answer[0]!r}") from None
            self._follow(rows, next_id)
            if len(rows) < self.LIMIT or rows[-1]["exch_ns"] >= to_ns:
                yield Page(rows, to_ns)
                return
            # The next trade may be of the same millisecond.
            yield Page(rows, max(from_ns, rows[-1]["exch_ns"]))
            next_id = int(rows[-1]["id"]) + 1
            where = {"fromId": next_id}

    def _follow(self, rows: Sequence[Row], next_id: int | None) -> None:
        """RestRefused where the rows do not begin with the id that was asked for, or where one is missing between."""
        for row in rows:
            if next_id is not None and int(row["id"]) != next_id:
                text = f"expected trade {next_id} of {self.symbol} from {self.venue} next, was {row['id']}"
                raise RestRefused(f"{text} of {row['exch_ns']}: trades are missing, or it does not serve `fromId`")
            next_id = int(row["id"]) + 1


class Kraken(_Native):
    """`Trades` since a nanosecond; `OHLC`, of which the venue keeps the last 720 only."""

    LIMIT = 1000
    KEPT = 720

    @property
    def _pair(self) -> str:
        """The pair as the REST interface names it: XBTUSD."""
        return to_venue("kraken_v1", self.symbol).replace("/", "")

    async def pages(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """As `history.Source`; RestRefused where candles begin before what the venue keeps."""
        if self.what == "tickers":
            raise ConfigError("expected candles or trades of kraken, was tickers: it has no history of them")
        if self.what == "candles":
            yield Page(await self._candles(from_ns, to_ns), to_ns)
            return
        since = from_ns - 1
        while True:
            answer, _ = await self._result("Trades", since=since, count=self.LIMIT)
            rows = [_kraken_trade(row) for row in self._list(answer, 7)]
            if len(rows) < self.LIMIT or rows[-1]["exch_ns"] >= to_ns:
                yield Page(rows, to_ns)
                return
            # The moment that the page ends in may go on: it is asked for again, and known ids are dropped.
            yield Page(rows, max(from_ns, rows[-1]["exch_ns"]))
            if rows[-1]["exch_ns"] - 1 <= since:
                text = f"expected fewer than {self.LIMIT} trades at one moment, was a page of them at {since + 1}"
                raise RestRefused(f"{text} ({self.venue} {self.symbol})")
            since = rows[-1]["exch_ns"] - 1

    async def _candles(self, from_ns: int, to_ns: int) -> list[Row]:
        minutes = width_ns(self.width) // (60 * _S)
        answer, _ = await self._result("OHLC", interval=minutes, since=max(0, from_ns // _S - 1))
        names = ("open", "high", "low", "close")
        rows = [
            candle(
                whole(r[0], "time") * _S,
                self.width,
                {**dict(zip(names, r[1:5], strict=True)), "volume": r[6]},
            )
            for r in self._list(answer, 8)
        ]
        first = rows[0]["open_ns"] if rows else to_ns
        if len(rows) >= self.KEPT and first > from_ns + width_ns(self.width):
            raise RestRefused(
                f"expected candles from {from_ns} on, was none before {first}: Kraken keeps the last {self.KEPT} of a"
                " width; begin later, take a larger --width, or backfill trades"
            )
        return rows

    async def _result(self, endpoint: str, **params: str | int) -> tuple[Any, str]:
        """The list of the one pair that was asked for, and `last`."""
        answer = await self._get(f"/0/public/{endpoint}", pair=self._pair, **params)
        if not isinstance(answer, dict) or answer.get("error") or not isinstance(answer.get("result"), dict):
            raise RestRefused(f"expected {self.what} of {self.symbol} from kraken, was {str(answer)[:200]}")
        result = answer["result"]
        rows = [value for key, value in result.items() if key != "last"]
        if len(rows) != 1 or not re.fullmatch(r"\d+", str(result.get("last", ""))):
            raise RestRefused(f"expected one pair of kraken and a `last`, was {str(result)[:200]}")
        return rows[0], str(result["last"])


def _kraken_trade(row: Sequence[Any]) -> Row:
    ns = int(Decimal(str(row[2])) * _S)
    return trade(ns, row[6], {"b": 1, "s": -1}.get(str(row[3]), 0), row[0], row[1])


def _page_by_time(rows: list[Row], time: str, at: int, to_ns: int, limit: int) -> Page:
    """A page of up to `limit` rows by time: a full one may have cut the last moment, so that one is asked for again."""
    if len(rows) < limit:
        return Page(rows, to_ns)
    last = max(row[time] for row in rows)
    if last <= at:
        raise RestRefused(f"expected fewer than {limit} rows at one moment, was a page of them at {at}")
    return Page(rows, min(last, to_ns))


NATIVE: dict[str, type[Bitfinex] | type[Binance] | type[Kraken]] = {
    "bitfinex": Bitfinex,
    "binance": Binance,
    "binance_usdm": Binance,
    "binance_coinm": Binance,
    "kraken": Kraken,
}
