"""A small second reading of Bitfinex's, Binance's and Kraken's public REST interfaces, over made-up history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tests.ingest.web import Web, answer

T0_MS = 1_700_000_000_000 // 86_400_000 * 86_400_000  # a midnight
MINUTE_MS = 60_000


class Trade(NamedTuple):
    id: int
    ms: int
    price: str
    size: str
    buy: bool


def trades(n: int, every_ms: int = 7_000, together: int = 3) -> list[Trade]:
    """`n` trades from midnight on, each moment having `together` of them."""
    made = []
    for i in range(n):
        ms = T0_MS + i // together * every_ms
        made.append(Trade(1000 + i, ms, f"{30000 + i % 97}.{i % 10}", f"0.{i % 9 + 1:08d}", i % 2 == 0))
    return made


def candles(minutes: int) -> list[tuple[int, str, str, str, str, str]]:
    """Open time, open, high, low, close, volume of a minute each; every seventh minute nothing was traded."""
    return [
        (T0_MS + i * MINUTE_MS, f"{100 + i}.5", f"{103 + i}.25", f"{99 + i}", f"{101 + i}", f"{i}.00000001")
        for i in range(minutes)
        if i % 7 != 3
    ]


class Raw(float):
    """A number that is written as the text it came from."""

    def __new__(cls, text: str) -> Raw:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text

    text: str


class FakeVenue:
    """All dialects on one port; `pages` is how many rows a page holds at most; `before(path)` may answer instead."""

    def __init__(self, minutes: int = 0, n_trades: int = 0, page: int = 50) -> None:
        self.candles = candles(minutes)
        self.trades = trades(n_trades)
        self.page = page
        self.before: Callable[[str], bytes | None] = lambda path: None
        self.web = Web(self._answer)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return self.web.url

    async def __aenter__(self) -> FakeVenue:
        await self.web.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.web.__aexit__(*error)

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        self.asked.append(target)
        said = self.before(target)
        if said is None:
            parts = urlsplit(target)
            said = answer(_encode(self.reply(parts.path, dict(parse_qsl(parts.query)))))
        writer.write(said)
        await writer.drain()

    def reply(self, path: str, query: dict[str, str]) -> Any:
        if path.startswith("/v2/candles/"):
            rows = [[ms, Raw(o), Raw(c), Raw(h), Raw(lo), Raw(v)] for ms, o, h, lo, c, v in self.candles]
            return self._window(rows, 0, int(query["start"]), int(query["end"]))
        if path.startswith("/v2/trades/"):
            rows = [[t.id, t.ms, Raw(t.size if t.buy else "-" + t.size), Raw(t.price)] for t in self.trades]
            return self._window(rows, 1, int(query["start"]), int(query["end"]))
        if path == "/v2/tickers/hist":
            rows = [[query["symbols"], Raw(t.price), None, Raw(t.price), *[None] * 8, t.ms] for t in self.trades[::3]]
            return self._window(rows[::-1], 12, int(query["start"]), int(query["end"]))
        if path.endswith("/klines"):
            rows = [[ms, o, h, lo, c, v, ms + MINUTE_MS - 1] for ms, o, h, lo, c, v in self.candles]
            return self._window(rows, 0, int(query["startTime"]), int(query.get("endTime", 10**15)))
        if path.endswith("/aggTrades"):
            first = int(query.get("fromId", 0))
            start = int(query.get("startTime", 0))
            found = [t for t in self.trades if t.id >= first and t.ms >= start][: self.page]
            return [{"a": t.id, "T": t.ms, "p": t.price, "q": t.size, "m": not t.buy} for t in found]
        if path == "/0/public/Trades":
            since = int(query["since"])
            found = [t for t in self.trades if t.ms * 1_000_000 > since][: self.page]
            rows = [[t.price, t.size, Raw(f"{t.ms / 1000:.3f}"), "b" if t.buy else "s", "m", "", t.id] for t in found]
            last = found[-1].ms * 1_000_000 if found else since
            return {"error": [], "result": {"XXBTZUSD": rows, "last": str(last)}}
        if path == "/0/public/OHLC":
            since = int(query["since"])
            rows = [[ms // 1000, o, h, lo, c, o, v, 1] for ms, o, h, lo, c, v in self.candles if ms // 1000 > since]
            return {"error": [], "result": {"XXBTZUSD": rows, "last": 0}}
        raise AssertionError(f"nobody serves {path}")

    def _window(self, rows: list[list[Any]], time: int, start: int, end: int) -> list[list[Any]]:
        return [row for row in rows if start <= row[time] <= end][: self.page]


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
