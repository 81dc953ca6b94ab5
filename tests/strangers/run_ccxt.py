"""ccxt.pro's bitfinex against the simulated exchange; prints one JSON object: what it saw, what it complained of.

Runs in an environment of its own. Only addresses and the list of markets are given to it; counting wraps its handlers
and calls them unchanged.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import ccxt.pro


class Counted(ccxt.pro.bitfinex):
    """The client, counting the messages it handles."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.seen: Counter[str] = Counter()

    def handle_order_book(self, client: Any, message: Any, subscription: Any) -> Any:
        self.seen["book"] += 1
        return super().handle_order_book(client, message, subscription)

    def handle_checksum(self, client: Any, message: Any, subscription: Any) -> Any:
        self.seen["checksum"] += 1
        return super().handle_checksum(client, message, subscription)

    def handle_trades(self, client: Any, message: Any, subscription: Any) -> Any:
        self.seen["trades"] += 1
        return super().handle_trades(client, message, subscription)

    def handle_ticker(self, client: Any, message: Any, subscription: Any) -> Any:
        self.seen["ticker"] += 1
        return super().handle_ticker(client, message, subscription)

    def handle_ohlcv(self, client: Any, message: Any, subscription: Any) -> Any:
        self.seen["ohlcv"] += 1
        return super().handle_ohlcv(client, message, subscription)


def market(symbol_id: str) -> dict[str, Any]:
    """A market as the client's own REST parsing would have made it."""
    pair = symbol_id[1:]
    base, colon, quote = pair.partition(":")
    if not colon:
        base, quote = pair[:-3], pair[-3:]
    return {
        "id": symbol_id,
        "symbol": f"{base}/{quote}",
        "base": base,
        "quote": quote,
        "baseId": base,
        "quoteId": quote,
        "type": "spot",
        "spot": True,
        "active": True,
        "precision": {"price": 5, "amount": 8},
        "limits": {},
        "info": {},
    }


async def main(port: int, seconds: float, symbols: list[str]) -> dict[str, Any]:
    client = Counted({"enableRateLimit": False})
    client.urls["api"]["ws"]["public"] = f"ws://127.0.0.1:{port}/ws/2"
    client.options["watchOrderBook"] = {"prec": "P0", "freq": "F0", "checksum": True}
    client.set_markets([market(symbol) for symbol in symbols])
    complaints: list[str] = []
    crossed = 0

    async def watch(method: str, *arguments: Any) -> None:
        nonlocal crossed
        while True:
            try:
                result = await getattr(client, method)(*arguments)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                complaints.append(f"{method} {arguments}: {type(error).__name__}: {error}")
                await asyncio.sleep(0.5)
                continue
            if method == "watch_order_book":
                crossed += result["bids"][0][0] >= result["asks"][0][0]

    tasks = []
    for symbol in symbols:
        name = market(symbol)["symbol"]
        for method, *rest in (("watch_order_book",), ("watch_trades",), ("watch_ticker",), ("watch_ohlcv", "1m")):
            tasks.append(asyncio.create_task(watch(method, name, *rest)))
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()
    return {"version": ccxt.__version__, "seen": client.seen, "crossed": crossed, "complaints": complaints}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split(",")))))
