"""ccxt.pro's binance and kraken against the simulated exchange; prints one JSON object: what it saw and complained of.

Runs in an environment of its own. Only addresses are given to it (and kraken's markets come from the simulated REST).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import ccxt.pro


def moved(urls: Any, base: str) -> Any:
    """The same tree of addresses with another scheme and host."""
    if isinstance(urls, dict):
        return {name: moved(url, base) for name, url in urls.items()}
    if isinstance(urls, str) and "://" in urls:
        _, slash, path = urls.split("://", 1)[1].partition("/")
        return base + slash + path
    return urls


def client_of(name: str, addresses: dict[str, str]) -> Any:
    """The client of a venue, its addresses replaced."""
    client = getattr(ccxt.pro, "kraken" if name == "kraken" else name)({"enableRateLimit": False, "timeout": 30_000})
    socket = "ws://" + addresses["rest"].split("://")[1]
    ws = moved(client.urls["api"]["ws"], socket)
    client.urls["api"] = moved(client.urls["api"], addresses["rest"]) | {"ws": ws}
    client.options["fetchCurrencies"] = False
    client.has["fetchCurrencies"] = False
    if name != "kraken":
        client.options["fetchMarkets"] = {"types": ["spot"] if name == "binance" else ["linear"]}
        client.options["watchOrderBook"] = {"checksum": True}
    return client


async def main(name: str, addresses: dict[str, str], seconds: float, symbol: str) -> dict[str, Any]:
    client = client_of(name, addresses)
    seen: Counter[str] = Counter()
    complaints: list[str] = []
    await client.load_markets()

    async def watch(method: str) -> None:
        while True:
            try:
                result = await getattr(client, method)(symbol)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                complaints.append(f"{method}: {type(error).__name__}: {error}"[:300])
                await asyncio.sleep(0.2)
                continue
            seen[method] += 1
            if method == "watch_order_book":
                seen["crossed"] += result["bids"][0][0] >= result["asks"][0][0]

    tasks = [asyncio.create_task(watch(method)) for method in ("watch_order_book", "watch_trades")]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    book = client.orderbooks.get(symbol)
    out = {"version": ccxt.__version__, "seen": seen, "complaints": complaints}
    out["levels"] = [len(book["bids"]), len(book["asks"])] if book else [0, 0]
    await client.close()
    return out


if __name__ == "__main__":
    name, addresses, seconds, symbol = sys.argv[1:5]
    print(json.dumps(asyncio.run(main(name, json.loads(addresses), float(seconds), symbol))))
