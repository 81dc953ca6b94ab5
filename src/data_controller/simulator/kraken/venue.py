"""Kraken's reading of the market: the book as of each step, orders in their queue, checksums, candles, tickers."""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import Any

import numpy as np

from data_controller.simulator import state as layout
from data_controller.simulator import view
from data_controller.simulator.dialect import SECOND, Answer, Request, Sides, Venue, compact
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.kraken.session import KrakenSession
from data_controller.simulator.kraken.wire import TOKEN, Moment, Orders, Resting, crc, iso, order_name, top_orders

KEPT = 400
"""Steps whose books are remembered."""
CHECKSUM_LEVELS = 10
L3_PATH = "/l3/v2"


class KrakenVenue(Venue):
    """Kraken's WebSocket v2 and level3.

    `truth(symbol, stamp, depth)` is the book, `orders_at(symbol, stamp, depth)` the orders, as of a frame's `seq`.
    """

    name = "kraken"

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self.symbols = ["/".join(view.split(symbol)) for symbol in exchange.symbols]
        self.row_of = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.places = [view.decimals(exchange, i) for i in range(len(self.symbols))]
        n = len(self.symbols)
        self.moments: list[deque[Moment]] = [deque(maxlen=KEPT) for _ in range(n)]
        self._placed: list[dict[tuple[int, int], Resting]] = [{} for _ in range(n)]  # (id, price) -> as shown
        self._count = 0
        self._marks = [self._mark(i) for i in range(n)]
        self._trades = [int(exchange.state.market[i]["trades"]) for i in range(n)]
        for i in range(n):
            self.moments[i].append(Moment(1, view.book(exchange, i), None))

    def open(self, path: str) -> KrakenSession | None:
        """A connection to /v2, or to /l3/v2 for level3."""
        bare = path.partition("?")[0].rstrip("/")
        return KrakenSession(self, bare == L3_PATH) if bare in ("/v2", "/ws/v2", L3_PATH) else None

    # Time

    def _mark(self, i: int) -> tuple[bytes, bytes]:
        state = self.exchange.state
        bids, asks = (state.orders[i, side, : int(state.n_orders[i, side])].tobytes() for side in (0, 1))
        return bids, asks

    def _orders(self, i: int) -> Orders:
        """The orders of the last step, from its mark."""
        placed, now = self._placed[i], {}
        sides: list[list[Resting]] = []
        for which in (0, 1):
            rows = np.frombuffer(self._marks[i][which], layout.ORDER)
            keys = rows["key"] if which else -rows["key"]
            out = []
            for number, k, amount in zip(rows["id"].tolist(), keys.tolist(), rows["amount"].tolist(), strict=True):
                known = placed.get((number, k))
                if known is None:
                    self._count += 1
                    known = Resting(order_name(self._count), k, amount, self.exchange.now_ns + self._count)
                elif known.amount != amount:
                    known = known._replace(amount=amount)
                now[number, k] = known
                out.append(known)
            # A queue is by the time an order came to its price, which is what a client is told.
            out.sort(key=attrgetter("ns"))
            out.sort(key=attrgetter("k"), reverse=not which)
            sides.append(out)
        self._placed[i] = now
        return sides[0], sides[1]

    def with_orders(self, i: int) -> Moment:
        """An instrument's latest book with its orders, for whoever begins to follow them.

        They are kept up only while somebody does: it costs ten times what the books cost.
        """
        last = self.moments[i][-1]
        if last.orders is None:
            last = self.moments[i][-1] = last._replace(orders=self._orders(i))
        return last

    def step(self, now_ns: int) -> None:
        """Tell trades, then books and orders, then what goes by the second."""
        for i in range(len(self.symbols)):
            if int(self.exchange.state.market[i]["trades"]) > self._trades[i]:
                trades = view.trades_since(self.exchange, i, self._trades[i])
                self._trades[i] = trades[-1].number + 1
                for session in self._sessions():
                    session.traded(i, trades)
            mark = self._mark(i)
            if mark != self._marks[i]:
                self._marks[i] = mark
                sessions = self._sessions()
                orders = self._orders(i) if any(session.follows_orders(i) for session in sessions) else None
                self.moments[i].append(Moment(self.moments[i][-1].stamp + 1, view.book(self.exchange, i), orders))
                for session in sessions:
                    session.moved(i)
        if now_ns % SECOND == 0:
            for session in self._sessions():
                session.second(now_ns)

    def _sessions(self) -> list[KrakenSession]:
        return [session for session in self.sessions if isinstance(session, KrakenSession)]

    # Truth

    def moment(self, i: int, stamp: int | None = None) -> Moment:
        """An instrument's book as of a stamp (None: now); LookupError where it is no longer remembered."""
        moments = self.moments[i]
        at = len(moments) - 1 if stamp is None else stamp - moments[0].stamp
        if not 0 <= at < len(moments):
            raise LookupError(f"expected a stamp of {moments[0].stamp} to {moments[-1].stamp}, was {stamp}")
        return moments[at]

    def truth(self, symbol: str, stamp: int | None = None, depth: int = 10, **_: Any) -> Sides:
        """Bids and asks as texts (price, qty), best first, as of a frame's stamp (None: now)."""
        i = self.row_of[symbol]
        bids, asks = self.windows(self.moment(i, stamp).book, depth)
        return self.texts(i, bids), self.texts(i, asks)

    def orders_at(
        self, symbol: str, stamp: int | None = None, depth: int = 10
    ) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
        """Bids and asks as texts (order id, price, qty), best first, queues in order, as of a frame's stamp.

        LookupError for a moment at which nobody followed the orders.
        """
        i = self.row_of[symbol]
        moment = self.with_orders(i) if stamp is None else self.moment(i, stamp)
        if moment.orders is None:
            raise LookupError(f"expected a stamp at which level3 of {symbol} was followed, was {stamp}")
        bids, asks = (top_orders(side, depth) for side in moment.orders)
        return self.order_texts(i, bids), self.order_texts(i, asks)

    def order_texts(self, i: int, orders: list[Resting]) -> list[tuple[str, str, str]]:
        """Orders as texts (order id, price, qty)."""
        places = self.places[i]
        return [(o.id, view.fixed_price(o.k, places), view.fixed_amount(o.amount)) for o in orders]

    @staticmethod
    def windows(book: view.Book, depth: int) -> view.Book:
        """The best `depth` levels of each side."""
        bids, asks = (dict(list(side.items())[:depth]) for side in book)
        return bids, asks

    def texts(self, i: int, levels: dict[int, int]) -> list[tuple[str, str]]:
        """Levels as texts (price, qty)."""
        places = self.places[i]
        return [(view.fixed_price(k, places), view.fixed_amount(amount)) for k, amount in levels.items()]

    def checksum(self, i: int, book: view.Book) -> int:
        """CRC-32 over the best ten asks, then the best ten bids: price and qty without point and leading zeros."""
        bids, asks = self.windows(book, CHECKSUM_LEVELS)
        return crc([text for side in (asks, bids) for level in self.texts(i, side) for text in level])

    def orders_checksum(self, i: int, orders: Orders) -> int:
        """The same over every order of the best ten levels, queues in order."""
        bids, asks = (top_orders(side, CHECKSUM_LEVELS) for side in orders)
        return crc([text for side in (asks, bids) for entry in self.order_texts(i, side) for text in entry[1:]])

    # REST

    def too_many(self) -> Any:
        """Kraken's refusal."""
        return {"error": ["EAPI:Rate limit exceeded"]}

    def answer(self, request: Request) -> Answer:
        """Time, SystemStatus, Assets, AssetPairs; what an API-Key may do, and a token for level3 to whoever sends one.

        A key whose name begins with `trade` may trade.
        """
        path = request.path
        result: Any
        if path == "/0/public/Time":
            result = {"unixtime": self.told_ns // SECOND, "rfc1123": ""}
        elif path == "/0/public/SystemStatus":
            result = {"status": "online", "timestamp": iso(self.told_ns)}
        elif path == "/0/public/AssetPairs":
            result = {symbol.replace("/", ""): self._pair(i) for i, symbol in enumerate(self.symbols)}
        elif path == "/0/public/Assets":
            names = sorted({part for symbol in self.symbols for part in symbol.split("/")})
            fields = {"aclass": "currency", "decimals": 10, "display_decimals": 5, "status": "enabled"}
            result = {name: fields | {"altname": name} for name in names}
        elif path in ("/0/private/GetWebSocketsToken", "/0/private/GetApiKeyInfo"):
            key = request.headers.get("api-key", "")
            if request.method != "POST" or not key:
                return Answer(200, {}, compact({"error": ["EAPI:Invalid key"]}))
            rights = ["query-funds", *(["modify-trades"] if key.startswith("trade") else [])]
            asks_token = path.endswith("Token")
            result = {"token": TOKEN, "expires": 900} if asks_token else {"api_key_name": "k", "permissions": rights}
        else:
            return Answer(404, {}, compact({"error": ["EGeneral:Unknown method"]}))
        return Answer(200, {"Content-Type": "application/json"}, compact({"error": [], "result": result}))

    def _pair(self, i: int) -> dict[str, Any]:
        base, quote = self.symbols[i].split("/")
        fields = {"altname": base + quote, "wsname": self.symbols[i], "base": base, "quote": quote, "status": "online"}
        fields |= {"aclass_base": "currency", "aclass_quote": "currency", "ordermin": "0.00000001"}
        numbers = {"pair_decimals": self.places[i], "cost_decimals": 8, "lot_decimals": 8, "lot_multiplier": 1}
        fees = {"fees": [[0, 0.26]], "fees_maker": [[0, 0.16]], "fee_volume_currency": "ZUSD"}
        levers: dict[str, Any] = {"leverage_buy": [], "leverage_sell": [], "margin_call": 80, "margin_stop": 40}
        return fields | numbers | fees | levers | {"tick_size": view.fixed(1, self.places[i]), "costmin": "0.5"}
