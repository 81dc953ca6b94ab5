"""A signed client of the simulated Bitfinex's authenticated REST."""

from __future__ import annotations

import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

from data_controller.simulator.bitfinex.account import Account
from data_controller.simulator.bitfinex.venue import BitfinexVenue
from data_controller.simulator.exchange import Exchange

SECOND = 1_000_000_000
START = {"USD": Decimal(1_000_000), "BTC": Decimal(10), "DOGE": Decimal(100_000)}


class Trader:
    """Asks a venue in its account's name."""

    def __init__(self, venue: BitfinexVenue, key: str = "k", secret: str = "s") -> None:
        self.venue, self.key, self.secret = venue, key, secret
        self.nonce = 0

    def ask(self, path: str, nonce: int | None = None, secret: str = "", **body: Any) -> tuple[int, Any]:
        self.nonce = self.nonce + 1 if nonce is None else nonce
        return self.send(path, json.dumps(body).encode(), {"bfx-nonce": str(self.nonce)}, secret)

    def send(self, path: str, body: bytes, headers: dict[str, str] | None = None, secret: str = "") -> tuple[int, Any]:
        """Any body, signed; `headers` in place of the true ones."""
        target = f"/v2/auth/{path}"
        headers = {"bfx-apikey": self.key, "bfx-nonce": str(self.nonce + 1)} | (headers or {})
        signed = f"/api{target}{headers['bfx-nonce']}".encode() + body
        signature = hmac.new((secret or self.secret).encode(), signed, hashlib.sha384).hexdigest()
        answer = self.venue.rest(target, "POST", {"bfx-signature": signature} | headers, body)
        return answer.status, json.loads(answer.body, parse_float=Decimal)

    def do(self, path: str, **body: Any) -> Any:
        status, answer = self.ask(path, **body)
        assert status == 200, answer
        return answer

    def order(self, amount: str, price: str | None = None, kind: str = "EXCHANGE LIMIT", **more: Any) -> list[Any]:
        fields = {"type": kind, "symbol": "tBTCUSD", "amount": amount} | more
        if price is not None:
            fields["price"] = price
        return self.do("w/order/submit", **fields)[4][0]

    def wallets(self) -> dict[str, tuple[Decimal, Decimal]]:
        return {row[1]: (Decimal(row[2]), Decimal(row[4])) for row in self.do("r/wallets")}


def venue(seed: int = 5, balances: dict[str, Decimal] | None = None, **options: Any) -> BitfinexVenue:
    accounts = [Account("k", "s", 1, True, dict(balances or START)), Account("r", "s", 2, False, dict(START))]
    exchange = Exchange(seed, ["tBTCUSD", "tDOGE:USD"], ticks_per_second=200)
    return BitfinexVenue(exchange, accounts, **options)


def run(v: BitfinexVenue, seconds: float) -> None:
    v.exchange.advance(v.exchange.now_ns + int(seconds * SECOND))
