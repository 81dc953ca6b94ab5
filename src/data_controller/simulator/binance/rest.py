"""Binance's public REST: depth, exchangeInfo, klines, trades, premiumIndex, and limits by weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data_controller.simulator import view
from data_controller.simulator.binance.steps import number_of
from data_controller.simulator.dialect import SECOND, Answer, Request, compact
from data_controller.simulator.history import MINUTE_MS, Candle, worth

if TYPE_CHECKING:
    from data_controller.simulator.binance.venue import BinanceVenue

WEIGHT_PER_MINUTE = {"spot": 6000, "usdm": 2400}
BANNED_AFTER = 10
"""Requests refused with 429 in a minute, after which the address is banned (418) for `BAN_S`."""
BAN_S = 120
STALE_STEPS = 200
_INTERVALS_MIN = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "1d": 1440}
_NO_SYMBOL = {"code": -1121, "msg": "Invalid symbol."}
_Handler = Callable[[Request, int], Answer]


class PublicRest:
    """Answers for one venue; weights are counted by the market's clock."""

    def __init__(self, venue: BinanceVenue) -> None:
        self.venue = venue
        self.used = 0
        self.refused = 0
        self.banned_until_ns = 0
        self._minute = -1
        base = "/fapi/v1" if venue.futures else "/api/v3"
        self._routes: dict[str, _Handler] = {
            f"{base}/depth": self._depth,
            f"{base}/klines": self._klines,
            f"{base}/trades": self._trades,
            f"{base}/aggTrades": self._aggregates,
        }
        self._plain: dict[str, Callable[[Request], Any]] = {
            f"{base}/ping": lambda request: {},
            f"{base}/time": lambda request: {"serverTime": venue.told_ms},
            f"{base}/exchangeInfo": self._info,
        }
        if venue.futures:
            self._plain[f"{base}/premiumIndex"] = self._premium
        else:
            # Who lists what Binance trades asks all its markets at one address; nothing is traded on the others.
            for other in ("/fapi/v1", "/dapi/v1"):
                self._plain[f"{other}/exchangeInfo"] = lambda request: self._info(request) | {"symbols": []}

    def answer(self, request: Request) -> Answer:
        """The answer, or a refusal where its weight is too much."""
        weight = self._weight(request)
        refusal = self._charge(weight)
        if refusal is not None:
            return refusal
        plain, routed = self._plain.get(request.path), self._routes.get(request.path)
        if plain is not None:
            return self._with_weight(Answer(200, {}, compact(plain(request))))
        if routed is None:
            return Answer(404, {}, compact({"code": -1000, "msg": "Path not found."}))
        i = self.venue.row_of.get(request.query.get("symbol", ""))
        if i is None:
            missing = "symbol" not in request.query
            text = {"code": -1102, "msg": "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}
            return self._with_weight(Answer(400, {}, compact(text if missing else _NO_SYMBOL)))
        return self._with_weight(routed(request, i))

    # Limits

    def _weight(self, request: Request) -> int:
        limit = _whole(request.query.get("limit"), 100)
        futures = self.venue.futures
        if request.path.endswith("/depth"):
            steps = ((50, 2), (100, 5), (500, 10), (1000, 20)) if futures else ((100, 5), (500, 25), (1000, 50))
            return next((weight for most, weight in steps if limit <= most), 20 if futures else 250)
        if request.path.endswith("/exchangeInfo"):
            return 1 if futures else 20
        if request.path.endswith(("/trades", "/aggTrades")):
            return 5 if futures else 25 if request.path.endswith("/trades") else 4
        return 2

    def _charge(self, weight: int) -> Answer | None:
        now = self.venue.exchange.now_ns
        minute = now // (60 * SECOND)
        if minute != self._minute:
            self._minute, self.used, self.refused = minute, 0, 0
        if now < self.banned_until_ns:
            return self._refusal(418, self.banned_until_ns)
        self.used += weight
        if self.used <= WEIGHT_PER_MINUTE[self.venue.flavour]:
            return None
        self.refused += 1
        if self.refused > BANNED_AFTER:
            self.banned_until_ns = now + BAN_S * SECOND
            return self._refusal(418, self.banned_until_ns)
        return self._refusal(429, (minute + 1) * 60 * SECOND)

    def _refusal(self, status: int, until_ns: int) -> Answer:
        wait_s = -(-(until_ns - self.venue.exchange.now_ns) // SECOND)
        return self._with_weight(Answer(status, {"Retry-After": str(wait_s)}, compact(self.venue.too_many())))

    def _with_weight(self, answer: Answer) -> Answer:
        name = "X-MBX-USED-WEIGHT-1M"
        return answer._replace(headers=answer.headers | {name: str(self.used), "Content-Type": "application/json"})

    # Answers

    def _depth(self, request: Request, i: int) -> Answer:
        allowed = (5, 10, 20, 50, 100, 500, 1000) if self.venue.futures else None
        limit = _whole(request.query.get("limit"), 500 if self.venue.futures else 100)
        if limit < 1 or (allowed and limit not in allowed):
            return _bad("limit")
        limit = min(limit, 5000)
        steps = self.venue.steps[i]
        back = STALE_STEPS if self.venue.strikes("rest_stale") else self.venue.lag_steps
        step = steps[max(0, len(steps) - 1 - back)]
        update_id, book = step.last, step.book
        middle = step.first + len(step.changes) // 2
        if len(step.changes) > 1 and (back or middle > self.venue.told_id(i)):
            # The snapshot is taken in the middle of a step: a diff then covers its id from both sides.
            within = self.venue.book_at(i, middle)
            if within is not None:
                update_id, book = middle, within
        bids, asks = self.venue.texts(i, book, limit)
        fields: dict[str, Any] = {"lastUpdateId": update_id}
        if self.venue.futures:
            fields |= {"E": self.venue.told_ms, "T": (step.ns + self.venue.clock_offset_ns) // 1_000_000}
        return Answer(200, {}, compact(fields | {"bids": bids, "asks": asks}))

    def _klines(self, request: Request, i: int) -> Answer:
        minutes = _INTERVALS_MIN.get(request.query.get("interval", ""))
        if minutes is None:
            return Answer(400, {}, compact({"code": -1120, "msg": "Invalid interval."}))
        limit = _whole(request.query.get("limit"), 500)
        start, end = (_whole(request.query.get(name), -1) for name in ("startTime", "endTime"))
        history = self.venue.history
        most = 1500 if self.venue.futures else 1000
        rows = history.candles(i, minutes, None if start < 0 else start, None if end < 0 else end, min(limit, most))
        return Answer(200, {}, compact([self._kline(i, row, minutes) for row in rows]))

    def _kline(self, i: int, candle: Candle, minutes: int) -> list[Any]:
        places = self.venue.places[i]
        prices = [view.fixed_price(k, places) for k in (candle.open, candle.high, candle.low, candle.close)]
        quote = view.fixed_amount(candle.quote)
        end = candle.mts + minutes * MINUTE_MS - 1
        half = view.fixed_amount(candle.volume // 2), view.fixed_amount(candle.quote // 2)
        return [candle.mts, *prices, view.fixed_amount(candle.volume), end, quote, candle.trades, *half, "0"]

    def _trades(self, request: Request, i: int) -> Answer:
        limit = min(_whole(request.query.get("limit"), 500), 1000)
        out = []
        for trade in self.venue.history.trades(i, None, None, limit):
            fields = self.venue.trade_fields(i, trade)
            quote = view.fixed_amount(worth(trade.k, abs(trade.amount)))
            row = {"id": fields["t"], "price": fields["p"], "qty": fields["q"], "quoteQty": quote, "time": fields["T"]}
            out.append(row | {"isBuyerMaker": fields["m"]} | ({} if self.venue.futures else {"isBestMatch": True}))
        return Answer(200, {}, compact(out))

    def _aggregates(self, request: Request, i: int) -> Answer:
        limit = min(_whole(request.query.get("limit"), 500), 1000)
        first, start, end = (_whole(request.query.get(name), -1) for name in ("fromId", "startTime", "endTime"))
        if first >= 0 and (start >= 0 or end >= 0):
            return Answer(400, {}, compact({"code": -1128, "msg": "Combination of optional parameters invalid."}))
        forward = start >= 0
        if first >= 0:
            trades = self.venue.history.trades_from(i, number_of(first), limit)
        else:
            trades = self.venue.history.trades(
                i, start if forward else None, end if end >= 0 else None, limit, oldest_first=forward
            )
        extra = {} if self.venue.futures else {"M": True}
        return Answer(200, {}, compact([self.venue.aggregate_fields(i, trade) | extra for trade in trades]))

    def _premium(self, request: Request) -> Any:
        rows = []
        for i, symbol in enumerate(self.venue.symbols):
            if request.query.get("symbol", symbol) != symbol:
                continue
            marks = self.venue.mark_fields(i)
            row = {"symbol": symbol, "markPrice": marks["p"], "indexPrice": marks["i"]}
            row |= {"estimatedSettlePrice": marks["i"], "lastFundingRate": marks["r"], "interestRate": "0.00010000"}
            rows.append(row | {"nextFundingTime": marks["T"], "time": self.venue.told_ms})
        return rows[0] if "symbol" in request.query and rows else rows

    def _info(self, request: Request) -> Any:
        limit = WEIGHT_PER_MINUTE[self.venue.flavour]
        weights = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}
        rows = [self._symbol(i) for i in range(len(self.venue.symbols))]
        fields = {"timezone": "UTC", "serverTime": self.venue.told_ms, "rateLimits": [weights], "exchangeFilters": []}
        return fields | {"symbols": rows}

    def _symbol(self, i: int) -> dict[str, Any]:
        symbol, places = self.venue.symbols[i], self.venue.places[i]
        base = symbol.removesuffix("USDT")
        tick, lot = view.fixed(1, places), view.fixed_amount(1)
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000000.00", "stepSize": lot},
        ]
        row: dict[str, Any] = {
            "symbol": symbol,
            "status": "TRADING",
            "baseAsset": base,
            "quoteAsset": "USDT",
            "filters": filters,
        }
        row |= {"baseAssetPrecision": 8, "quotePrecision": 8, "orderTypes": ["LIMIT", "MARKET"]}
        if not self.venue.futures:
            return row | {"quoteAssetPrecision": 8, "isSpotTradingAllowed": True, "permissionSets": [["SPOT"]]}
        row |= {"pair": symbol, "contractType": "PERPETUAL", "marginAsset": "USDT", "underlyingType": "COIN"}
        return row | {"pricePrecision": places, "quantityPrecision": 8, "deliveryDate": 4133404800000}


def _whole(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        return -1


def _bad(name: str) -> Answer:
    return Answer(400, {}, compact({"code": -1130, "msg": f"Data sent for parameter '{name}' is not valid."}))
