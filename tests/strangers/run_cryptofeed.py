"""cryptofeed's Bitfinex against the simulated exchange; prints one JSON object: what it saw, what it complained of.

Runs in an environment of its own. Only addresses are changed; whatever it logs from WARNING up is a complaint.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import Counter
from typing import Any

import cryptofeed
from cryptofeed import connection
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK, L3_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Bitfinex

complaints: list[str] = []
seen: Counter[str] = Counter()


class Complaints(logging.Handler):
    """Keeps what the client logs."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        complaints.append(f"{record.levelname} {text}"[:500])


async def on_book(book: Any, _: float) -> None:
    seen["book"] += 1
    bids, asks = book.book.bids, book.book.asks
    if len(bids) and len(asks):
        seen["crossed"] += bids.index(0)[0] >= asks.index(0)[0]


async def on_trade(_: Any, __: float) -> None:
    seen["trades"] += 1


async def on_ticker(_: Any, __: float) -> None:
    seen["ticker"] += 1


def main(port: int, seconds: float, depth: int) -> dict[str, Any]:
    logging.getLogger().addHandler(Complaints(logging.WARNING))
    feed_log = logging.getLogger("feedhandler")
    feed_log.addHandler(Complaints(logging.WARNING))
    feed_log.propagate = False
    conf = "/v2/conf/pub:list:"
    Bitfinex.rest_endpoints = [
        RestEndpoint(
            f"http://127.0.0.1:{port}",
            routes=Routes([conf + "pair:exchange", conf + "currency", conf + "pair:futures"]),
        )
    ]
    Bitfinex.websocket_endpoints = [WebsocketEndpoint(f"wss://127.0.0.1:{port}/ws/2", limit=20)]
    # It takes no address but wss://; the simulator on loopback has no certificate.
    real = connection.connect
    connection.connect = lambda address, **options: real(address.replace("wss://", "ws://", 1), **options)
    symbols = [str(name) for name in Bitfinex.symbols() if "-" in str(name)]
    callbacks = {L2_BOOK: on_book, L3_BOOK: on_book, TRADES: on_trade, TICKER: on_ticker}
    feeds = [
        Bitfinex(
            symbols=symbols,
            channels=[L2_BOOK, TRADES, TICKER],
            callbacks=callbacks,
            number_of_price_points=depth,
            log_message_on_error=True,
        ),
        Bitfinex(symbols=symbols[:2], channels=[L3_BOOK], callbacks=callbacks, number_of_price_points=depth),
    ]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for feed in feeds:
        feed.start(loop)
    loop.call_later(seconds, loop.stop)
    loop.run_forever()
    for feed in feeds:
        feed.stop()
    return {"version": cryptofeed.__version__ if hasattr(cryptofeed, "__version__") else "2.4.1", "seen": seen} | {
        "complaints": list(complaints)
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
    sys.stdout.flush()
    # Its tasks are still pending; what happens to them at the interpreter's end is no finding.
    import os

    os._exit(0)
