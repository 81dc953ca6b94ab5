"""ccxt's bitfinex REST against the simulated exchange, from markets to orders; prints one JSON object: what it saw.

Runs in an environment of its own. Only addresses and keys are given to it.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import Any

import ccxt


def main(rest: str, key: str, secret: str) -> dict[str, Any]:
    client = ccxt.bitfinex({"apiKey": key, "secret": secret, "enableRateLimit": False})
    client.urls["api"].update({"public": rest, "private": rest})
    seen: dict[str, Any] = {"version": ccxt.__version__}
    markets = client.load_markets()
    seen["markets"] = sorted(markets)
    seen["minimum"] = markets["BTC/USD"]["limits"]["amount"]["min"]
    before = client.fetch_balance()
    seen["usd"] = before["USD"]["total"]
    ticker = client.fetch_ticker("BTC/USD")
    book = client.fetch_order_book("BTC/USD", 25)
    seen["book"] = [len(book["bids"]), len(book["asks"]), ticker["bid"] < ticker["ask"]]
    seen["tickers"] = sorted(client.fetch_tickers())
    hour = client.milliseconds() - 3_600_000
    candles = client.fetch_ohlcv("BTC/USD", "1m", since=hour, limit=50)
    seen["candles"] = [len(candles), all(b[0] - a[0] == 60_000 for a, b in itertools.pairwise(candles))]
    seen["public_trades"] = len(client.fetch_trades("BTC/USD", limit=20))
    bought = client.create_order("BTC/USD", "market", "buy", 0.05, params={"cid": 42})
    seen["bought"] = [bought["status"], bought["clientOrderId"], bought["remaining"]]
    rests = client.create_order("BTC/USD", "limit", "buy", 0.01, 20_000, {"postOnly": True})
    seen["rests"] = [rests["status"], rests["postOnly"]]
    seen["open"] = [order["id"] == rests["id"] for order in client.fetch_open_orders("BTC/USD")]
    seen["cancelled"] = client.cancel_order(rests["id"])["status"]
    seen["orders"] = [order["status"] for order in client.fetch_closed_orders("BTC/USD")]
    mine = client.fetch_my_trades("BTC/USD")
    seen["mine"] = [sum(trade["amount"] for trade in mine), mine[0]["takerOrMaker"], mine[0]["fee"]["currency"]]
    after = client.fetch_balance()
    seen["btc"] = after["BTC"]["total"] - before["BTC"]["total"]
    try:
        client.create_order("BTC/USD", "limit", "buy", 1000, 40_000)
    except ccxt.BaseError as error:
        seen["refused"] = type(error).__name__
    seen["seconds"] = time.process_time()
    return seen


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4])))
