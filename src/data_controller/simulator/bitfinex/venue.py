"""Bitfinex over REST as a venue: the public paths, and with accounts the authenticated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_controller.simulator.bitfinex.account import Account
from data_controller.simulator.bitfinex.auth import PREFIX, AuthRest
from data_controller.simulator.bitfinex.rest import RATE_LIMIT, PublicRest, error
from data_controller.simulator.dialect import Answer, Request, Sides, Venue, VenueSession
from data_controller.simulator.exchange import Exchange


class BitfinexVenue(Venue):
    """REST on a port of its own; the WebSocket is the server's first port."""

    name = "bitfinex"

    def __init__(
        self, exchange: Exchange, accounts: list[Account] | None = None, log: Path | None = None, limited: bool = True
    ) -> None:
        super().__init__(exchange)
        self.public = PublicRest(exchange, self.history, limited)
        self.auth = AuthRest(exchange, accounts or [], log)

    def open(self, path: str) -> VenueSession | None:
        """No WebSocket here."""
        return None

    def step(self, now_ns: int) -> None:
        """Bring fills to their accounts."""
        self.auth.desk.step()

    def truth(self, symbol: str, precision: str = "P0", length: int = 25, **_: Any) -> Sides:
        """Price and signed amount of the book as it is now."""
        book = self.exchange.true_book(symbol, precision, length)
        bids, asks = ([(entry[0], entry[2]) for entry in side] for side in book)
        return bids, asks

    def too_many(self) -> Any:
        """Bitfinex's refusal."""
        return ["error", RATE_LIMIT, "ratelimit: error"]

    def answer(self, request: Request) -> Answer:
        """Public with GET, signed with POST."""
        if not request.path.startswith(PREFIX):
            return self.public.answer(request)
        if request.method != "POST":
            return error(10000, "method: invalid", 405)
        return self.auth.answer(request)
