"""Binance's reading of the market: update ids, the book as of each of them, and what its streams say when."""

from __future__ import annotations

from collections import deque
from typing import Any

from data_controller.simulator import view
from data_controller.simulator.binance.rest import PublicRest
from data_controller.simulator.binance.session import BinanceSession
from data_controller.simulator.binance.steps import Step, Told, applied, changed, trade_id
from data_controller.simulator.dialect import SECOND, Answer, Request, Sides, Venue
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.state import OTHER, TE, UPDATE

KEPT = 400
"""Depth steps whose books are remembered: 20 s."""
SPEEDS_MS = {"spot": (100, 1000), "usdm": (100, 250, 500)}
_FORCED_EVERY = 53  # of so many trades one counts as a forced order
_FUNDING_NS = 8 * 3600 * SECOND


class BinanceVenue(Venue):
    """Spot ("spot") or USD-M futures ("usdm").

    `truth(symbol, id)` is the whole book as of an update id: what a client that spliced rightly holds after the
    `depthUpdate` whose `u` is that id.
    """

    ping_every_ns = 20 * SECOND
    lifetime_ns = 24 * 3600 * SECOND

    def __init__(self, exchange: Exchange, flavour: str = "spot") -> None:
        super().__init__(exchange)
        self.flavour = flavour
        self.futures = flavour == "usdm"
        self.name = "binance_usdm" if self.futures else "binance"
        self.symbols = ["".join(_pair(symbol)) for symbol in exchange.symbols]
        self.row_of = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.places = [view.decimals(exchange, i) for i in range(len(self.symbols))]
        self.lag_steps = 0  # by how many steps a depth answer is older than what the streams have told
        self.rest_side = PublicRest(self)
        n = len(self.symbols)
        self.steps: list[deque[Step]] = [deque(maxlen=KEPT) for _ in range(n)]
        self._marks = [b""] * n  # the levels as bytes, to see whether anything changed
        self._told: list[dict[int, Told]] = []
        self._trades = [int(exchange.state.market[i]["trades"]) for i in range(n)]
        self._tops: list[tuple[Any, ...]] = [()] * n
        for i in range(n):
            now = view.book(exchange, i)
            first = 9_000_000_000 + 1_000_003 * i + exchange.seed % 1000
            self.steps[i].append(Step(first, first, first - 1, exchange.now_ns, [], now))
            self._marks[i] = self._mark(i)
            self._told.append({speed: Told(first, now) for speed in SPEEDS_MS[flavour]})

    def open(self, path: str) -> BinanceSession | None:
        """A connection to /ws, /ws/NAME/NAME or /stream?streams=NAME/NAME, on the futures side behind a route too."""
        for route in ("/public", "/market") if self.futures else ():
            path = path.removeprefix(route)
        return BinanceSession(self, path) if path.startswith(("/ws", "/stream")) else None

    def answer(self, request: Request) -> Answer:
        """Public REST."""
        return self.rest_side.answer(request)

    def too_many(self) -> Any:
        """Binance's refusal."""
        return {"code": -1003, "msg": "Too many requests; please use the websocket for live updates."}

    # Truth

    def book_at(self, i: int, update_id: int) -> view.Book | None:
        """The whole book as of an update id; None where it is no longer remembered."""
        previous: Step | None = None
        for step in self.steps[i]:
            if step.last >= update_id:
                if update_id == step.last:
                    return step.book
                if update_id < step.first:
                    return previous.book if previous is not None and previous.last <= update_id else None
                if previous is None:
                    return None
                return applied(previous.book, step.changes[: update_id - step.first + 1])
            previous = step
        return None

    def truth(self, symbol: str, update_id: int | None = None, **_: Any) -> Sides:
        """Bids and asks as texts (price, amount), best first, as of an update id (None: the last).

        Raises LookupError where that moment is no longer remembered.
        """
        i = self.row_of[symbol.upper()]
        book = self.steps[i][-1].book if update_id is None else self.book_at(i, update_id)
        if book is None:
            raise LookupError(f"expected an update id of the last {KEPT} steps of {symbol}, was {update_id}")
        bids, asks = self.texts(i, book)
        return bids, asks

    def told_id(self, i: int) -> int:
        """The last update id that the fastest depth stream has told."""
        return self._told[i][SPEEDS_MS[self.flavour][0]].last

    def texts(self, i: int, book: view.Book, limit: int = 1 << 30) -> list[list[tuple[str, str]]]:
        """A book's sides as texts, best first."""
        places = self.places[i]
        out = []
        for which, levels in enumerate(book):
            ordered = sorted(levels.items(), reverse=which == 0)[:limit]
            out.append([(view.fixed_price(k, places), view.fixed_amount(a)) for k, a in ordered])
        return out

    # Time

    def _mark(self, i: int) -> bytes:
        state = self.exchange.state
        return b"|".join(bytes(state.levels[i, s, : int(state.n_levels[i, s])].tobytes()) for s in (0, 1))

    def step(self, now_ns: int) -> None:
        """Number what changed, then tell depth, trades, tops and marks."""
        for i in range(len(self.symbols)):
            mark = self._mark(i)
            if mark != self._marks[i]:
                self._marks[i] = mark
                self._number(i, now_ns)
                self._say_top(i)
            if int(self.exchange.state.market[i]["trades"]) > self._trades[i]:
                self._say_trades(i)
        for speed in SPEEDS_MS[self.flavour]:
            if now_ns % (speed * 1_000_000) == 0:
                for i in range(len(self.symbols)):
                    self._say_depth(i, speed)
        if self.futures and now_ns % SECOND == 0:
            for i in range(len(self.symbols)):
                self._say_mark(i, now_ns)

    def _number(self, i: int, now_ns: int) -> None:
        last = self.steps[i][-1]
        book = view.book(self.exchange, i)
        changes = changed(last.book, book)
        if not changes:
            return
        # On the futures side ids are shared with what this symbol does not show, so they leave gaps.
        first = last.last + 1 + ((last.last * 7919) % 23 if self.futures else 0)
        self.steps[i].append(Step(first, first + len(changes) - 1, last.last, now_ns, changes, book))

    def _listeners(self, stream: str) -> list[tuple[BinanceSession, int]]:
        found = []
        for session in self.sessions:
            assert isinstance(session, BinanceSession)
            chan_id = session.listening(stream)
            if chan_id:
                found.append((session, chan_id))
        return found

    def _tell(self, stream: str, data: dict[str, Any], kind: int, stamp: int = 0) -> None:
        for session, chan_id in self._listeners(stream):
            session.stream(stream, data, kind, chan_id, stamp)

    def _say_depth(self, i: int, speed: int) -> None:
        newest = self.steps[i][-1]
        told = self._told[i][speed]
        if newest.last == told.last:
            return
        self._told[i][speed] = Told(newest.last, newest.book)
        symbol = self.symbols[i].lower()
        default = 250 if self.futures else 1000
        names = [f"@{speed}ms"] + ([""] if speed == default else [])
        for name in names:
            stream = f"{symbol}@depth{name}"
            if self._listeners(stream):
                self._tell(stream, self._depth_update(i, told, newest), UPDATE, newest.last)
            for levels in (5, 10, 20):
                partial = f"{symbol}@depth{levels}{name}"
                if self._listeners(partial):
                    self._tell(partial, self._partial(i, told, newest, levels), UPDATE, newest.last)

    def _depth_update(self, i: int, told: Told, newest: Step) -> dict[str, Any]:
        since = [step for step in self.steps[i] if step.last > told.last]
        first = since[0].first
        # Every level that was touched, also one that is as it was: a snapshot between has it as it was meanwhile.
        levels = dict.fromkeys((which, k) for step in since for which, k, _ in step.changes)
        amounts = [(which, k, newest.book[which].get(k, 0)) for which, k in levels]
        sides: list[list[list[str]]] = [[], []]
        for which, k, amount in sorted(amounts, key=lambda change: change[2] > 0):
            sides[which].append([view.fixed_price(k, self.places[i]), view.fixed_amount(amount)])
        return self._depth_fields(i, first if self.futures else told.last + 1, newest, told.last) | {
            "b": sides[0],
            "a": sides[1],
        }

    def _depth_fields(self, i: int, first: int, newest: Step, before: int) -> dict[str, Any]:
        fields: dict[str, Any] = {"e": "depthUpdate", "E": self.told_ms}
        if self.futures:
            fields["T"] = (newest.ns + self.clock_offset_ns) // 1_000_000
        fields |= {"s": self.symbols[i], "U": first, "u": newest.last}
        if self.futures:
            fields["pu"] = before
        return fields

    def _partial(self, i: int, told: Told, newest: Step, levels: int) -> dict[str, Any]:
        bids, asks = self.texts(i, newest.book, levels)
        if self.futures:
            return self._depth_fields(i, told.last + 1, newest, told.last) | {"b": bids, "a": asks}
        return {"lastUpdateId": newest.last, "bids": bids, "asks": asks}

    def _say_top(self, i: int) -> None:
        newest = self.steps[i][-1]
        bids, asks = self.texts(i, (_best(newest.book[0], max), _best(newest.book[1], min)))
        top = (*bids, *asks)
        if top == self._tops[i]:
            return
        self._tops[i] = top
        fields: dict[str, Any] = {"e": "bookTicker"} if self.futures else {}
        fields |= {"u": newest.last, "s": self.symbols[i]}
        fields |= {"b": bids[0][0], "B": bids[0][1], "a": asks[0][0], "A": asks[0][1]}
        if self.futures:
            fields |= {"T": self.told_ms, "E": self.told_ms}
        self._tell(f"{self.symbols[i].lower()}@bookTicker", fields, OTHER)

    def _say_trades(self, i: int) -> None:
        trades = view.trades_since(self.exchange, i, self._trades[i])
        self._trades[i] = trades[-1].number + 1
        symbol = self.symbols[i].lower()
        for trade in trades:
            fields = {"e": "trade", "E": self.told_ms} | self.trade_fields(i, trade)
            fields |= {"X": "MARKET"} if self.futures else {"M": True}
            self._tell(f"{symbol}@trade", fields, TE)
            one: dict[str, Any] = {"e": "aggTrade", "E": self.told_ms, "s": self.symbols[i]}
            one |= self.aggregate_fields(i, trade) | ({} if self.futures else {"M": True})
            self._tell(f"{symbol}@aggTrade", one, TE)
            if self.futures and trade.number % _FORCED_EVERY == 0:
                self._say_forced(i, trade)

    def trade_fields(self, i: int, trade: view.Trade) -> dict[str, Any]:
        """A trade as its stream has it."""
        return {
            "s": self.symbols[i],
            "t": trade_id(trade),
            "p": view.fixed_price(trade.k, self.places[i]),
            "q": view.fixed_amount(abs(trade.amount)),
            "T": trade.mts + self.clock_offset_ns // 1_000_000,
            "m": trade.amount < 0,
        }

    def aggregate_fields(self, i: int, trade: view.Trade) -> dict[str, Any]:
        """A trade as an aggregate of its own: so its ids, too, are consecutive."""
        fields = self.trade_fields(i, trade)
        out = {"a": fields["t"], "p": fields["p"], "q": fields["q"], "f": fields["t"], "l": fields["t"]}
        return out | {"T": fields["T"], "m": fields["m"]}

    def _say_forced(self, i: int, trade: view.Trade) -> None:
        price, quantity = view.fixed_price(trade.k, self.places[i]), view.fixed_amount(abs(trade.amount))
        order = {"s": self.symbols[i], "S": "BUY" if trade.amount > 0 else "SELL", "o": "LIMIT", "f": "IOC"}
        order |= {"q": quantity, "p": price, "ap": price, "X": "FILLED", "l": quantity, "z": quantity}
        message = {"e": "forceOrder", "E": self.told_ms, "o": order | {"T": trade.mts}}
        self._tell(f"{self.symbols[i].lower()}@forceOrder", message, OTHER)
        self._tell("!forceOrder@arr", message, OTHER)

    def mark_fields(self, i: int) -> dict[str, Any]:
        """Mark price, index price, funding rate and when funding is due next, in ms."""
        places = self.places[i]
        mark = view.mid(self.exchange, i)
        index = float(self.exchange.state.market[i]["fair"])
        rate = max(-0.0075, min(0.0075, 0.0001 + (mark / index - 1.0) * 0.1))
        due = (self.told_ns // _FUNDING_NS + 1) * _FUNDING_NS // 1_000_000
        texts = (f"{mark:.{places + 1}f}", f"{index:.{places + 1}f}", f"{rate:.8f}")
        return dict(zip(("p", "i", "r", "T"), (*texts, due), strict=True))

    def _say_mark(self, i: int, now_ns: int) -> None:
        fields = self.mark_fields(i)
        message = {"e": "markPriceUpdate", "E": self.told_ms, "s": self.symbols[i]}
        message |= {"p": fields["p"], "ap": fields["p"], "P": fields["p"], "i": fields["i"], "r": fields["r"]}
        symbol = self.symbols[i].lower()
        self._tell(f"{symbol}@markPrice@1s", message | {"T": fields["T"]}, OTHER)
        if now_ns % (3 * SECOND) == 0:
            self._tell(f"{symbol}@markPrice", message | {"T": fields["T"]}, OTHER)


def _pair(symbol: str) -> tuple[str, str]:
    base, quote = view.split(symbol)
    return base, "USDT" if quote == "USD" else quote


def _best(levels: dict[int, int], choose: Any) -> dict[int, int]:
    k = choose(levels)
    return {k: levels[k]}
