"""cryptofeed's side of peer_venues: one timed pass over a capture's frames for each line on stdin.

Runs in an environment of its own. The file named on the command line is a JSON object: exchange (cryptofeed's id),
symbols (the venue's own), frames (text, or base64 where `binary`), fetched ([address, body] in order). Each pass is a
new feed with callbacks that do nothing; REST calls are answered from `fetched`. The answer is one JSON line.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import json
import logging
import sys
import time
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Any

from cryptofeed.connection import HTTPAsyncConn
from cryptofeed.defines import KRAKEN_FUTURES, KUCOIN, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import EXCHANGE_MAP
from cryptofeed.symbols import Symbols

logging.disable(logging.CRITICAL)
seen: Counter[str] = Counter()


class Info(dict[str, Any]):
    """What cryptofeed knows of its symbols: whatever it asks, they are spot."""

    def __missing__(self, key: str) -> Any:
        return defaultdict(lambda: "spot")


class Token:
    """The sync client that KuCoin's feed asks for an address and a token when it is made."""

    @staticmethod
    def write(*_: Any, **__: Any) -> dict[str, Any]:
        """An address that nobody will open."""
        return {"data": {"token": "none", "instanceServers": [{"endpoint": "wss://localhost", "pingInterval": 18000}]}}


class Conn:
    """A connection that only hears."""

    uuid = "benchmark"
    conn_type = "wss"
    address = ""

    def __init__(self, subscription: Any) -> None:
        self.subscription = subscription

    async def write(self, *_: Any, **__: Any) -> None:
        """Into the void."""


async def on_book(*_: Any) -> None:
    """Nothing but a count."""
    seen["book"] += 1


async def on_other(*_: Any) -> None:
    """Nothing but a count."""
    seen["other"] += 1


async def passed(task: dict[str, Any], frames: list[Any]) -> tuple[int, str]:
    """CPU nanoseconds of this thread for one pass through `message_handler`, and what went wrong first."""
    kind = EXCHANGE_MAP[task["exchange"]]
    symbols = task["symbols"]
    # Kraken Futures writes its symbols in small letters in REST, and cryptofeed takes those.
    lower = kind.id == KRAKEN_FUTURES
    Symbols.set(kind.id, {symbol: symbol.lower() if lower else symbol for symbol in symbols}, Info())
    if kind.id == KUCOIN:
        kind.http_sync = Token()
    keys = {"key_id": "none", "key_secret": "none", "key_passphrase": "none"}  # nobody looks at them
    answers: dict[str, deque[str]] = defaultdict(deque)
    for url, body in task["fetched"]:
        answers[url.split("symbol=")[-1].split("&")[0].rsplit("/", 1)[-1]].append(body)

    async def read(self: Any, url: str, **_: Any) -> str:
        waiting = answers[url.split("symbol=")[-1].split("&")[0].rsplit("/", 1)[-1]]
        return waiting[0] if len(waiting) == 1 else waiting.popleft()

    HTTPAsyncConn.read = read
    wanted = {channel: symbols for channel in (L2_BOOK, TRADES, TICKER) if channel in kind.websocket_channels}
    try:
        feed = kind(
            config={"log": {"disabled": True}, kind.id.lower(): keys},
            subscription=wanted,
            callbacks={channel: on_book if channel == L2_BOOK else on_other for channel in wanted},
            checksum_validation=True,
        )
        await feed.subscribe(Conn({kind.std_channel_to_exchange(channel): symbols for channel in wanted}))
    except Exception as error:
        return 0, f"cannot be set up: {error!r}"
    conn = Conn({kind.std_channel_to_exchange(channel): symbols for channel in wanted})
    handler, now, failed = feed.message_handler, time.time(), ""
    started = time.thread_time_ns()
    for frame in frames:
        try:
            await handler(frame, conn, now)
        except Exception as error:
            seen["failed"] += 1
            failed = failed or repr(error)
    return time.thread_time_ns() - started, failed


def main(path: str) -> None:
    """Answer each line of stdin with a pass."""
    task = json.loads(Path(path).read_text())
    frames = [base64.b64decode(frame) for frame in task["frames"]] if task["binary"] else task["frames"]
    print(json.dumps({"version": importlib.metadata.version("cryptofeed")}), flush=True)
    for _ in sys.stdin:
        seen.clear()
        cpu_ns, failed = asyncio.run(passed(task, frames))
        print(json.dumps({"cpu_ns": cpu_ns, "first_failure": failed, **seen}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
