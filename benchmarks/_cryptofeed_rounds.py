"""cryptofeed's side of peer_cryptofeed: one timed pass over a file's frames for each line on stdin.

Runs in an environment of its own. Each pass is a new feed with callbacks that do nothing; the answer is one JSON line.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptofeed.defines import L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Bitfinex
from cryptofeed.symbols import Symbols

seen: Counter[str] = Counter()


async def on_book(book: Any, _: float) -> None:
    """Nothing but a count."""
    seen["book"] += 1


async def on_other(_: Any, __: float) -> None:
    """Nothing but a count."""
    seen["other"] += 1


async def passed(frames: list[str]) -> int:
    """CPU nanoseconds of this thread for one pass of all frames through `message_handler`."""
    feed = Bitfinex(callbacks={L2_BOOK: on_book, TRADES: on_other, TICKER: on_other})
    conn = SimpleNamespace(uuid="benchmark")
    handler, now = feed.message_handler, time.time()
    started = time.thread_time_ns()
    for frame in frames:
        await handler(frame, conn, now)
    return time.thread_time_ns() - started


def main(path: str) -> None:
    """Answer each line of stdin with a pass."""
    frames = Path(path).read_text().splitlines()
    said = [json.loads(frame) for frame in frames if frame.startswith("{")]
    pairs = sorted({envelope["symbol"][1:] for envelope in said if "symbol" in envelope})
    Symbols.set(Bitfinex.id, *Bitfinex._parse_symbol_data([[pairs], [[]], [[]]]))
    print(json.dumps({"version": importlib.metadata.version("cryptofeed")}), flush=True)
    for _ in sys.stdin:
        seen.clear()
        cpu_ns = asyncio.run(passed(frames))
        print(json.dumps({"cpu_ns": cpu_ns, **seen}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
