"""One connection to Binance's market streams: subscriptions by request or by address, the combined wrapper."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from data_controller.simulator import state as layout
from data_controller.simulator.dialect import SECOND, Subscription, VenueSession, compact

if TYPE_CHECKING:
    from data_controller.simulator.binance.venue import BinanceVenue

STREAMS_MAX = {"spot": 1024, "usdm": 200}
REQUESTS_PER_S = {"spot": 5, "usdm": 10}
"""Messages of the client in a second; one more and the connection ends."""
INVALID_REQUEST, INVALID_JSON = 2, 3
_KINDS = {"depth": "book", "trade": "trades", "aggTrade": "trades", "bookTicker": "ticker", "markPrice": "mark"}


class BinanceSession(VenueSession):
    """Speaks for Binance on one connection."""

    acks = (b'{"result"', b'{"id"', b'{"error"')

    def __init__(self, venue: BinanceVenue, path: str) -> None:
        super().__init__(venue)
        parts = urlsplit(path)
        self.limits = STREAMS_MAX[venue.flavour], REQUESTS_PER_S[venue.flavour]
        self.combined = parts.path.startswith("/stream")
        self._chan_of: dict[str, int] = {}
        self._asked_ns: list[int] = []
        asked = parse_qs(parts.query).get("streams", [""])[0] if self.combined else parts.path[len("/ws") :]
        for name in filter(None, asked.split("/")):
            self._listen(name)

    def listening(self, stream: str) -> int:
        """The id of a stream that is listened to, else 0."""
        return self._chan_of.get(stream, 0)

    def stream(self, name: str, data: dict[str, Any], kind: int, chan_id: int, stamp: int) -> None:
        """Say what happened on a stream."""
        self.say(compact({"stream": name, "data": data} if self.combined else data), kind, chan_id, stamp)

    def handle(self, text: str | bytes) -> None:
        """Take a request: SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY."""
        now = self.exchange.now_ns
        self._asked_ns = [ns for ns in self._asked_ns if now - ns < SECOND] + [now]
        if len(self._asked_ns) > self.limits[1]:
            self.hung_up = "too many requests"
            return
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            self._fail(INVALID_JSON, "Invalid JSON: expected value at line 1 column 1", None)
            return
        if not isinstance(message, dict):
            self._fail(INVALID_REQUEST, "Invalid request: expected an object", None)
            return
        number, params = message.get("id"), message.get("params", [])
        if not isinstance(number, int | str) or isinstance(number, bool):
            self._fail(INVALID_REQUEST, "Invalid request: request ID must be an unsigned integer", None)
        elif not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            self._fail(INVALID_REQUEST, "Invalid request: params must be strings", number)
        else:
            self._carry_out(message.get("method"), params, number)

    def _carry_out(self, method: Any, params: list[str], number: int | str) -> None:
        match method:
            case "SUBSCRIBE":
                if self.unserved:
                    self._fail(INVALID_REQUEST, self.unserved, number)
                    return
                if len(set(self._chan_of) | set(params)) > self.limits[0]:
                    self.hung_up = "too many streams"
                    return
                self._say({"result": None, "id": number})
                for name in params:
                    self._listen(name)
            case "UNSUBSCRIBE":
                for name in params:
                    chan_id = self._chan_of.pop(name, None)
                    if chan_id is not None:
                        self.remove(chan_id)
                self._say({"result": None, "id": number})
            case "LIST_SUBSCRIPTIONS":
                self._say({"result": list(self._chan_of), "id": number})
            case "SET_PROPERTY" if params[:1] == ["combined"]:
                self._say({"result": None, "id": number})
            case "GET_PROPERTY" if params[:1] == ["combined"]:
                self._say({"result": self.combined, "id": number})
            case _:
                self._fail(INVALID_REQUEST, f"Invalid request: unknown variant `{method}`", number)

    def _listen(self, name: str) -> None:
        # As on the exchange, a stream that does not exist is accepted and stays silent.
        if name in self._chan_of:
            return
        symbol, _, rest = name.partition("@")
        kind = rest.partition("@")[0].rstrip("0123456789")
        self._chan_of[name] = self.add(Subscription(_KINDS.get(kind, kind), symbol.upper(), name))

    def _fail(self, code: int, text: str, number: int | str | None) -> None:
        self._say({"error": {"code": code, "msg": text}, "id": number})

    def _say(self, message: dict[str, Any]) -> None:
        self.say(compact(message), layout.EVENT)
