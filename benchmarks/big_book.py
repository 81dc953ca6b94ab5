"""How long a change of a 12,500-level book takes, from bytes to the book, one frame at a time.

A Binance book of 12,500 levels a side, spliced to a fetched snapshot; each frame changes one to eight levels, most of
them near the top, and every tenth puts a level on the touch or takes one off: the case in which an array moves most.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

import numpy as np

from benchmarks.decode_book import apply_rows, arena
from data_controller.exchanges.binance.decoder import BinanceDecoder
from data_controller.exchanges.protocols import Rows
from data_controller.market.books import Books
from data_controller.market.layout import Proof
from data_controller.market.tables import Tables

LEVELS = 12_500
FRAMES = 60_000
MIDDLE = 6_000_000  # hundredths


def price(units: int) -> str:
    """`units` hundredths as Binance writes them."""
    return f"{units // 100}.{units % 100:02d}000000"


def frames() -> tuple[bytes, list[bytes]]:
    """The snapshot and the changes behind it."""
    draw = random.Random(3)
    bids = [[price(MIDDLE - 1 - k), "1.00000000"] for k in range(LEVELS)]
    asks = [[price(MIDDLE + 1 + k), "1.00000000"] for k in range(LEVELS)]
    out = []
    for k in range(FRAMES):
        changes: dict[str, list[list[str]]] = {"b": [], "a": []}
        for _ in range(draw.randint(1, 8)):
            side = draw.choice("ba")
            deep = 0 if k % 10 == 0 else min(LEVELS - 1, int(draw.expovariate(1 / 200)))
            units = MIDDLE - 1 - deep if side == "b" else MIDDLE + 1 + deep
            size = draw.choice(("0.00000000", f"{draw.random() * 5:.8f}", f"{draw.random():.8f}"))
            changes[side].append([price(units), size])
        data = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": k + 2, "u": k + 2, **changes}
        out.append(json.dumps({"stream": "btcusdt@depth@100ms", "data": data}, separators=(",", ":")).encode())
    return json.dumps({"lastUpdateId": 1, "bids": bids, "asks": asks}).encode(), out


def measure() -> dict[str, Any]:
    """Quantiles of the microseconds that a frame takes from bytes to the book."""
    snapshot, changes = frames()
    tables = Tables()
    decoder, books, rows = BinanceDecoder(tables), Books(tables), Rows()
    last_recv_ns = np.zeros(4, np.int64)
    decoder.opened(0, 0, 0, rows)

    def apply() -> None:
        books.ensure(tables)
        at = 0
        while at < rows.stop:
            at = apply_from(rows, at, books)
        rows.stop = 0

    url = "/depth?symbol=BTCUSDT"
    whole = arena(changes)
    decoder.decode(whole, 0, 1, rows, last_recv_ns)
    for _ in decoder.fetched(0, url, 200, snapshot, 1, 1, rows):
        apply()
    apply()
    took = np.zeros(len(changes), np.int64)
    clock = time.perf_counter_ns
    for k in range(1, len(changes)):
        before = clock()
        decoder.decode(whole, k, k + 1, rows, last_recv_ns)
        apply_rows(rows.array, rows.stop, books.books, books.levels, books.index, books.scratch)
        took[k] = clock() - before
        rows.stop = 0
    book = books.books[0]
    if book["proof"] != Proof.PROVED or min(book["n_bid"], book["n_ask"]) < LEVELS // 2:
        raise AssertionError(f"expected a deep proved book, was {book}")
    us = np.sort(took[1000:]) / 1000
    p999 = float(us[int(0.999 * len(us))])
    return {
        "levels_a_side": LEVELS,
        "frames": len(us),
        "levels_at_the_end": [int(book["n_bid"]), int(book["n_ask"])],
        "us": {name: round(float(us[int(q * (len(us) - 1))]), 2) for name, q in QUANTILES.items()},
        "targets": [
            {
                "what": f"a {LEVELS:,}-level book: p99.9 of a change, bytes to book",
                "target": 1000.0,
                "stretch": 100.0,
                "measured": round(p999, 2),
                "unit": "us",
                "better": "less",
            }
        ],
    }


QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def apply_from(rows: Rows, at: int, books: Books) -> int:
    """Apply waiting rows from `at` on, widening a full book; returns the row behind the last one applied."""
    from data_controller.market import core

    for r in range(at, rows.stop):
        code = core.apply_row(rows.array, r, books.books, books.levels, books.index, books.scratch)
        if code == core.FULL:
            books.widen(int(rows.array[r]["channel"]))
            return r
    return rows.stop


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
