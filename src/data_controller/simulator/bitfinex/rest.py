"""Bitfinex's public REST: pairs, books, tickers, candles and trades with their past, limits and error codes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from data_controller.simulator.bitfinex.account import MAX_SIZE, MIN_SIZE
from data_controller.simulator.dialect import SECOND, Answer, Request, compact
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.history import Candle, History
from data_controller.simulator.numbers import amount_text, price_text
from data_controller.simulator.slow import ticker_text
from data_controller.simulator.view import split

BAD_PARAMS, RATE_LIMIT = 10020, 11010
PER_MINUTE = {"candles": 30, "trades": 15, "book": 240, "ticker": 90, "tickers": 90, "conf": 90, "status": 90}
"""Requests a minute by the first part of the path."""
CANDLES_MAX = TRADES_MAX = 10_000
TIME_FRAMES_MIN = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "3h": 180, "6h": 360, "12h": 720, "1D": 1440}
_PRECISIONS = ("P0", "P1", "P2", "P3", "P4", "R0")
_LENGTHS = ("1", "25", "100", "250")
_NAMES = {"BTC": "Bitcoin", "ETH": "Ethereum", "USD": "US Dollar"}


def error(code: int, text: str, status: int = 500) -> Answer:
    """A refusal as Bitfinex words it."""
    return Answer(status, {}, compact(["error", code, text]))


class PublicRest:
    """Answers the public paths; without a `history` only those that need none."""

    def __init__(self, exchange: Exchange, history: History | None = None, limited: bool = True) -> None:
        self.exchange = exchange
        self.history = history
        self.limited = limited
        self._asked: dict[str, deque[int]] = {}
        self._routes: dict[str, Callable[[Request, list[str]], Answer]] = {
            "conf": self._conf,
            "platform": lambda request, parts: Answer(200, {}, b"[0]" if exchange.maintenance else b"[1]"),
            "book": self._book,
            "ticker": self._ticker,
            "tickers": self._tickers,
            "status": self._status,
        }
        if history is not None:
            self._routes |= {"candles": self._candles, "trades": self._trades}

    def answer(self, request: Request) -> Answer:
        """The answer to a path below /v2/."""
        parts = request.path.strip("/").split("/")
        if parts[0] != "v2" or len(parts) < 2 or parts[1] not in self._routes:
            return Answer(404, {}, compact(["error", None, "Not found."]))
        if self.limited and not self._allowed(parts[1]):
            return error(RATE_LIMIT, "ratelimit: error", 429)
        return self._routes[parts[1]](request, parts[2:])

    def _allowed(self, what: str) -> bool:
        now = self.exchange.now_ns
        asked = self._asked.setdefault(what, deque())
        while asked and now - asked[0] >= 60 * SECOND:
            asked.popleft()
        if len(asked) >= PER_MINUTE.get(what, 90):
            return False
        asked.append(now)
        return True

    # Routes

    def _conf(self, request: Request, parts: list[str]) -> Answer:
        pairs = [symbol.removeprefix("t") for symbol in self.exchange.symbols]
        currencies = sorted({part for symbol in self.exchange.symbols for part in split(symbol)})
        limits = [None, None, None, str(MIN_SIZE), str(MAX_SIZE), *[None] * 7]
        lists: dict[str, Any] = {
            "pub:list:pair:exchange": pairs,
            "pub:list:currency": currencies,
            "pub:info:pair": [[pair, limits] for pair in pairs],
            "pub:map:currency:label": [[name, _NAMES.get(name, name)] for name in currencies],
        }
        wanted = parts[0].split(",") if len(parts) == 1 else [""]
        if not all(name.startswith(("pub:list:", "pub:map:", "pub:info:", "pub:fees")) for name in wanted):
            return error(BAD_PARAMS, "conf: invalid")
        # What a spot market does not have is empty, as the exchange has it for what it has none of.
        return Answer(200, {}, compact([lists.get(name, []) for name in wanted]))

    def _book(self, request: Request, parts: list[str]) -> Answer:
        length = request.query.get("len", "25")
        if len(parts) != 2 or self.exchange.instrument(parts[0]) is None:
            return error(BAD_PARAMS, "symbol: invalid")
        if parts[1] not in _PRECISIONS:
            return error(BAD_PARAMS, "prec: invalid")
        if length not in _LENGTHS:
            return error(BAD_PARAMS, "len: invalid")
        book = self.exchange.true_book(parts[0], parts[1], int(length))
        return _array([f"[{','.join(entry)}]" for side in book for entry in side])

    def _ticker(self, request: Request, parts: list[str]) -> Answer:
        i = self.exchange.instrument(parts[0]) if len(parts) == 1 else None
        if i is None:
            return error(BAD_PARAMS, "symbol: invalid")
        return Answer(200, {}, ticker_text(self.exchange.state, i).encode())

    def _tickers(self, request: Request, parts: list[str]) -> Answer:
        asked = request.query.get("symbols", "")
        if not asked:
            return error(BAD_PARAMS, "symbols: invalid")
        symbols = self.exchange.symbols if asked == "ALL" else asked.split(",")
        rows = []
        for symbol in symbols:
            i = self.exchange.instrument(symbol)
            if i is not None:
                rows.append(f'["{symbol}",{ticker_text(self.exchange.state, i)[1:]}')
        return _array(rows)

    def _status(self, request: Request, parts: list[str]) -> Answer:
        # There are no derivatives here.
        return Answer(200, {}, b"[]") if parts == ["deriv"] else error(BAD_PARAMS, "status: invalid")

    def _candles(self, request: Request, parts: list[str]) -> Answer:
        key = parts[0].split(":", 2) if len(parts) == 2 else []
        i = self.exchange.instrument(key[2]) if len(key) == 3 else None
        if i is None or key[0] != "trade" or parts[1] not in ("hist", "last"):
            return error(BAD_PARAMS, "key: invalid")
        minutes = TIME_FRAMES_MIN.get(key[1])
        span = _span(request, 1 if parts[1] == "last" else 100, CANDLES_MAX)
        if minutes is None or span is None:
            return error(BAD_PARAMS, "timeframe: invalid" if minutes is None else "time_interval: invalid")
        assert self.history is not None
        start, end, limit, ascending = span
        rows = self.history.candles(i, minutes, start, end, limit, newest=not ascending)
        texts = [_candle(candle) for candle in (rows if ascending else reversed(rows))]
        if parts[1] == "last":
            return Answer(200, {}, texts[0].encode() if texts else b"[]")
        return _array(texts)

    def _trades(self, request: Request, parts: list[str]) -> Answer:
        i = self.exchange.instrument(parts[0]) if len(parts) == 2 and parts[1] == "hist" else None
        span = _span(request, 125, TRADES_MAX)
        if i is None or span is None:
            return error(BAD_PARAMS, "symbol: invalid" if i is None else "time_interval: invalid")
        assert self.history is not None
        start, end, limit, ascending = span
        rows = self.history.trades(i, start, end, limit, oldest_first=ascending)
        texts = [f"[{t.id},{t.mts},{amount_text(t.amount)},{price_text(t.k)}]" for t in rows]
        return _array(texts if ascending else texts[::-1])


def _span(request: Request, limit: int, most: int) -> tuple[int | None, int | None, int, bool] | None:
    """Start, end, limit and whether oldest first; None where one of them is no number or out of range."""
    query = request.query
    try:
        start, end = (int(query[name]) if query.get(name) else None for name in ("start", "end"))
        limit, sort = int(query.get("limit", limit)), int(query.get("sort", -1))
    except ValueError:
        return None
    if not 1 <= limit <= most or sort not in (-1, 1) or (start is not None and end is not None and start > end):
        return None
    return start, end, limit, sort == 1


def _candle(candle: Candle) -> str:
    prices = ",".join(price_text(k) for k in (candle.open, candle.close, candle.high, candle.low))
    return f"[{candle.mts},{prices},{amount_text(candle.volume)}]"


def _array(texts: list[str]) -> Answer:
    return Answer(200, {}, f"[{','.join(texts)}]".encode())


def answer(target: str, exchange: Exchange) -> bytes | None:
    """What the WebSocket's own port answers to a GET: lists, books and tickers; None where there is nothing."""
    told = PublicRest(exchange, limited=False).answer(Request.of(target))
    return told.body if told.status == 200 else None
