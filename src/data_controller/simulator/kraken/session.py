"""One connection to Kraken's WebSocket v2: subscriptions, and what each channel says of the market."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from data_controller.simulator import state as layout
from data_controller.simulator import view
from data_controller.simulator.dialect import SECOND, Subscription, VenueSession, compact
from data_controller.simulator.history import MINUTE_MS
from data_controller.simulator.kraken.wire import TOKEN, Moment, Orders, Resting, iso, top_orders

if TYPE_CHECKING:
    from data_controller.simulator.kraken.venue import KrakenVenue

DEPTHS = {"book": (10, 25, 100, 500, 1000), "level3": (10, 100, 1000)}
INTERVALS_MIN = (1, 5, 15, 30, 60, 240, 1440)
TRADES_SENT = 50
CANDLES_SENT = 60
_NAMES = {"book": "book", "level3": "book", "trade": "trades", "ticker": "ticker", "ohlc": "candles"}
_PER_SYMBOL = tuple(_NAMES)


class Asked(NamedTuple):
    """What tells one subscription from another."""

    channel: str
    symbol: str  # "" for instrument


class KrakenSession(VenueSession):
    """Speaks for Kraken on one connection; `l3` is the endpoint of level3."""

    acks = (b'{"method":"subscribe"', b'{"method":"unsubscribe"')

    def __init__(self, venue: KrakenVenue, l3: bool) -> None:
        super().__init__(venue)
        self.kraken = venue
        self.l3 = l3
        self._chan_of: dict[Asked, int] = {}
        self._params: dict[int, dict[str, Any]] = {}
        self._rows: dict[int, int] = {}  # chan id -> instrument
        self._windows: dict[int, Any] = {}  # what a book's or level3's client was last told
        self._spoke_ns = self.exchange.now_ns
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 10**19 + self.conn}
        self._channel("status", "update", [status], layout.EVENT)

    # Requests

    def handle(self, text: str | bytes) -> None:
        """Take a request: subscribe, unsubscribe, ping."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._respond({"error": "Malformed request", "success": False}, None)
            return
        method, number = message.get("method"), message.get("req_id")
        params = message.get("params") or {}
        if method == "ping":
            self._respond({"method": "pong"}, number)
        elif method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            self._fail("Unsupported method", method, None, number)
        else:
            self._each(str(method), params, number)

    def _each(self, method: str, params: dict[str, Any], number: Any) -> None:
        channel = params.get("channel")
        if channel == "instrument" and not self.l3:
            self._one(method, "instrument", "", params, number)
            return
        symbols = params.get("symbol")
        if channel not in _PER_SYMBOL or (channel == "level3") != self.l3:
            self._fail("Unsupported channel", method, None, number)
        elif not isinstance(symbols, list) or not symbols:
            self._fail("Symbol(s) not found", method, None, number)
        elif channel == "level3" and params.get("token") != TOKEN:
            self._fail("EAccount:Invalid permissions: invalid token", method, None, number)
        else:
            for symbol in symbols:
                self._one(method, str(channel), str(symbol), params, number)

    def _one(self, method: str, channel: str, symbol: str, params: dict[str, Any], number: Any) -> None:
        asked = Asked(channel, symbol)
        known = self._chan_of.get(asked)
        if symbol and symbol not in self.kraken.row_of:
            self._fail(f"Currency pair not supported {symbol}", method, symbol, number)
        elif method == "unsubscribe":
            if known is None:
                self._fail("Subscription Not Found", method, symbol, number)
                return
            result = self._result(asked, self._params[known])
            del self._chan_of[asked]
            self.remove(known)
            self._respond({"method": method, "result": result, "success": True}, number)
        elif self.unserved:
            self._fail(self.unserved, method, symbol, number)
        elif known is not None:
            self._fail("Already subscribed", method, symbol, number)
        elif params.get("depth", 10) not in DEPTHS.get(channel, (params.get("depth", 10),)):
            self._fail("Book depth is invalid", method, symbol, number)
        elif params.get("interval", 1) not in INTERVALS_MIN:
            self._fail("Invalid interval", method, symbol, number)
        else:
            chan_id = self.add(Subscription(_NAMES.get(channel, channel), symbol, channel))
            self._chan_of[asked] = chan_id
            self._params[chan_id] = params
            result = self._result(asked, params)
            self._respond({"method": method, "result": result, "success": True}, number)
            if symbol:
                self._rows[chan_id] = self.kraken.row_of[symbol]
            self._open(chan_id, channel, params.get("snapshot", channel != "trade") is True)

    @staticmethod
    def _result(asked: Asked, params: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {"channel": asked.channel}
        if asked.symbol:
            result["symbol"] = asked.symbol
        if asked.channel in DEPTHS:
            result["depth"] = params.get("depth", 10)
        if asked.channel == "ohlc":
            result["interval"] = params.get("interval", 1)
        if asked.channel == "ticker":
            result["event_trigger"] = params.get("event_trigger", "trades")
        return result | {"snapshot": params.get("snapshot", asked.channel != "trade") is True}

    def _fail(self, text: str, method: Any, symbol: str | None, number: Any) -> None:
        fields = {"error": text, "method": method, "success": False}
        self._respond(fields | ({"symbol": symbol} if symbol else {}), number)

    def _respond(self, fields: dict[str, Any], number: Any) -> None:
        now = self.kraken.told_ns
        fields |= {"time_in": iso(now), "time_out": iso(now + 30_000)}
        self._say(compact(fields | ({} if number is None else {"req_id": number})), layout.EVENT)

    # Channels

    def _open(self, chan_id: int, channel: str, snapshot: bool) -> None:
        if channel == "instrument":
            if snapshot:
                self._channel("instrument", "snapshot", self._instruments(), layout.SNAPSHOT, chan_id)
            return
        i = self._rows[chan_id]
        moment = self.kraken.moment(i)
        if channel == "book":
            self._windows[chan_id] = self.kraken.windows(moment.book, self._depth(chan_id))
            if snapshot:
                bids, asks = (self._levels(i, side) for side in self._windows[chan_id])
                self._book(i, chan_id, "snapshot", bids, asks, moment)
        elif channel == "level3":
            moment = self.kraken.with_orders(i)
            self._windows[chan_id] = self._orders_window(chan_id, moment)
            if snapshot:
                bids, asks = ([self._order(i, o) for o in side] for side in self._windows[chan_id])
                self._book(i, chan_id, "snapshot", bids, asks, moment)
        elif snapshot and channel == "trade":
            trades = self.kraken.history.trades(i, None, None, TRADES_SENT)
            self._trades(i, chan_id, "snapshot", trades)
        elif snapshot and channel == "ticker":
            self._ticker(i, chan_id, "snapshot")
        elif snapshot:
            self._candles(i, chan_id, "snapshot", CANDLES_SENT)

    def _depth(self, chan_id: int) -> int:
        return int(self._params[chan_id].get("depth", 10))

    def traded(self, i: int, trades: list[view.Trade]) -> None:
        """Tell of trades."""
        for chan_id, channel in self._of(i):
            if channel == "trade":
                self._trades(i, chan_id, "update", trades)
            elif channel == "ticker":
                self._ticker(i, chan_id, "update")
            elif channel == "ohlc":
                self._candles(i, chan_id, "update", 1)

    def moved(self, i: int) -> None:
        """Tell of what changed in a book."""
        moment = self.kraken.moments[i][-1]
        for chan_id, channel in self._of(i):
            if channel == "book":
                self._update_book(i, chan_id, moment)
            elif channel == "level3":
                self._update_orders(i, chan_id, moment)
            elif channel == "ticker" and self._params[chan_id].get("event_trigger") == "bbo":
                self._ticker(i, chan_id, "update")

    def second(self, now_ns: int) -> None:
        """A heartbeat where nothing else was said for a second."""
        if self.channels and now_ns - self._spoke_ns >= SECOND:
            self._say(b'{"channel":"heartbeat"}', layout.HEARTBEAT)

    def follows_orders(self, i: int) -> bool:
        """Whether the client follows an instrument's level3."""
        return self.l3 and any(channel == "level3" for _, channel in self._of(i))

    def _of(self, i: int) -> list[tuple[int, str]]:
        return [(c, self.channels[c].name) for c, row in self._rows.items() if row == i and c in self.channels]

    def _update_book(self, i: int, chan_id: int, moment: Moment) -> None:
        """Levels that are gone are told with qty 0; those pushed out of the depth are the client's to cut."""
        was, now = self._windows[chan_id], self.kraken.windows(moment.book, self._depth(chan_id))
        sides = []
        for which in (0, 1):
            gone = {k: 0 for k in was[which] if k not in moment.book[which]}
            rest = {k: amount for k, amount in now[which].items() if was[which].get(k) != amount}
            sides.append(self._levels(i, gone | rest))
        self._windows[chan_id] = now
        if sides[0] or sides[1]:
            self._book(i, chan_id, "update", sides[0], sides[1], moment)

    def _orders_window(self, chan_id: int, moment: Moment) -> Orders:
        bids, asks = (top_orders(side, self._depth(chan_id)) for side in self._orders_of(moment))
        return bids, asks

    @staticmethod
    def _orders_of(moment: Moment) -> Orders:
        assert moment.orders is not None, "expected orders at every step while level3 is followed"
        return moment.orders

    def _update_orders(self, i: int, chan_id: int, moment: Moment) -> None:
        was, now = self._windows[chan_id], self._orders_window(chan_id, moment)
        orders = self._orders_of(moment)
        sides = []
        for which in (0, 1):
            alive = {order.id for order in orders[which]}
            before = {order.id: order for order in was[which]}
            events = [("delete", order) for order in was[which] if order.id not in alive]
            for order in sorted(now[which], key=lambda order: order.ns):
                known = before.get(order.id)
                if known is None:
                    events.append(("add", order))
                elif known.amount != order.amount:
                    events.append(("modify", order))
            sides.append([b'{"event":"%s",' % event.encode() + self._order(i, order)[1:] for event, order in events])
        self._windows[chan_id] = now
        if sides[0] or sides[1]:
            self._book(i, chan_id, "update", sides[0], sides[1], moment)

    def _levels(self, i: int, levels: dict[int, int]) -> list[bytes]:
        return [f'{{"price":{price},"qty":{qty}}}'.encode() for price, qty in self.kraken.texts(i, levels)]

    def _order(self, i: int, order: Resting) -> bytes:
        ((name, price, qty),) = self.kraken.order_texts(i, [order])
        when = iso(order.ns + self.kraken.clock_offset_ns, 9)
        return f'{{"order_id":"{name}","limit_price":{price},"order_qty":{qty},"timestamp":"{when}"}}'.encode()

    def _book(self, i: int, chan_id: int, what: str, bids: list[bytes], asks: list[bytes], moment: Moment) -> None:
        """Send a book's or level3's message; its checksum is that of the window told with it."""
        kraken, channel = self.kraken, self.channels[chan_id].name
        l3 = channel == "level3"
        check = kraken.orders_checksum(i, self._orders_of(moment)) if l3 else kraken.checksum(i, moment.book)
        data = b'{"channel":"%s","type":"%s","data":[{"symbol":"%s","bids":[%s],"asks":[%s],"checksum":%d' % (
            channel.encode(),
            what.encode(),
            kraken.symbols[i].encode(),
            b",".join(bids),
            b",".join(asks),
            check,
        )
        if what == "update" or l3:
            data += b',"timestamp":"%s"' % iso(kraken.told_ns).encode()
        kind = layout.SNAPSHOT if what == "snapshot" else layout.UPDATE
        self._say(data + b"}]}", kind, chan_id, moment.stamp)

    def _trades(self, i: int, chan_id: int, what: str, trades: list[view.Trade]) -> None:
        rows = []
        for trade in trades:
            side = "buy" if trade.amount > 0 else "sell"
            price = view.fixed_price(trade.k, self.kraken.places[i])
            when = iso(trade.mts * 1_000_000 + self.kraken.clock_offset_ns)
            rows.append(
                f'{{"symbol":"{self.kraken.symbols[i]}","side":"{side}","price":{price},'
                f'"qty":{view.fixed_amount(abs(trade.amount))},"ord_type":"market",'
                f'"trade_id":{10_000_000 + trade.number},"timestamp":"{when}"}}'
            )
        data = f'{{"channel":"trade","type":"{what}","data":[{",".join(rows)}]}}'
        self._say(data.encode(), layout.SNAPSHOT if what == "snapshot" else layout.TE, chan_id)

    def _ticker(self, i: int, chan_id: int, what: str) -> None:
        kraken = self.kraken
        bids, asks = (kraken.texts(i, side)[0] for side in kraken.windows(kraken.moments[i][-1].book, 1))
        market = self.exchange.state.market[i]
        places = kraken.places[i]
        opened, last, high, low = (
            view.fixed_price(int(market[name]), places) for name in ("open_k", "last_k", "high_k", "low_k")
        )
        change = float(last) - float(opened)
        data = (
            f'{{"channel":"ticker","type":"{what}","data":[{{"symbol":"{kraken.symbols[i]}",'
            f'"bid":{bids[0]},"bid_qty":{bids[1]},"ask":{asks[0]},"ask_qty":{asks[1]},"last":{last},'
            f'"volume":{view.fixed_amount(int(market["volume"]))},"vwap":{last},"low":{low},"high":{high},'
            f'"change":{change:.{places}f},"change_pct":{100.0 * change / float(opened):.2f},'
            f'"timestamp":"{iso(kraken.told_ns)}"}}]}}'
        )
        self._say(data.encode(), layout.SNAPSHOT if what == "snapshot" else layout.OTHER, chan_id)

    def _candles(self, i: int, chan_id: int, what: str, count: int) -> None:
        minutes = int(self._params[chan_id].get("interval", 1))
        places = self.kraken.places[i]
        rows = []
        for candle in self.kraken.history.candles(i, minutes, None, None, count):
            names = ("open", "high", "low", "close")
            prices = ",".join(f'"{name}":{view.fixed_price(getattr(candle, name), places)}' for name in names)
            begin = candle.mts * 1_000_000 + self.kraken.clock_offset_ns
            end = begin + minutes * MINUTE_MS * 1_000_000
            vwap = candle.quote / max(candle.volume, 1)
            rows.append(
                f'{{"symbol":"{self.kraken.symbols[i]}",{prices},"trades":{candle.trades},'
                f'"volume":{view.fixed_amount(candle.volume)},"vwap":{vwap:.{places}f},'
                f'"interval_begin":"{iso(begin, 9)}","interval":{minutes},"timestamp":"{iso(end)}"}}'
            )
        now = iso(self.kraken.told_ns)
        data = f'{{"channel":"ohlc","type":"{what}","timestamp":"{now}","data":[{",".join(rows)}]}}'
        self._say(data.encode(), layout.SNAPSHOT if what == "snapshot" else layout.OTHER, chan_id)

    def _instruments(self) -> dict[str, Any]:
        kraken = self.kraken
        names = sorted({part for symbol in kraken.symbols for part in symbol.split("/")})
        assets = [{"id": name, "status": "enabled", "precision": 10, "precision_display": 8} for name in names]
        pairs = []
        for i, symbol in enumerate(kraken.symbols):
            base, quote = symbol.split("/")
            pair = {"symbol": symbol, "base": base, "quote": quote, "status": "online", "marginable": False}
            pair |= {"qty_precision": 8, "qty_increment": 1e-8, "qty_min": 1e-8, "cost_min": 0.5, "cost_precision": 8}
            places = kraken.places[i]
            pairs.append(pair | {"price_precision": places, "price_increment": float(view.fixed(1, places))})
        return {"assets": assets, "pairs": pairs}

    def _channel(self, channel: str, what: str, data: Any, kind: int, chan_id: int = 0) -> None:
        self._say(compact({"channel": channel, "type": what, "data": data}), kind, chan_id)

    def _say(self, data: bytes, kind: int, chan_id: int = 0, stamp: int = 0) -> None:
        if chan_id not in self._muted and chan_id not in self._dead:
            self._spoke_ns = self.exchange.now_ns
        self.say(data, kind, chan_id, stamp)
