"""Texts that are made in Python at whole seconds: tickers and candles."""

from __future__ import annotations

import numpy as np

from data_controller.simulator.numbers import amount_text, float_text, price_text, value
from data_controller.simulator.state import CANDLES, State

CANDLES_SENT = 120
"""Candles in a snapshot at most."""


def ticker_text(state: State, i: int) -> str:
    """An instrument's ticker: bid, bid size, ask, ask size, change, relative change, last, volume, high, low."""
    market = state.market[i]
    bid, ask = (state.levels[i, side, : min(25, int(state.n_levels[i, side]))] for side in (0, 1))
    opened, last = float(value(market["open_k"])), float(value(market["last_k"]))
    digits = max(0, 5 - len(str(int(max(opened, last)))) if last >= 1 else 8)
    change = round(last - opened, digits)
    parts = (
        price_text(-int(bid[0]["key"])),
        amount_text(int(bid["amount"].sum())),
        price_text(int(ask[0]["key"])),
        amount_text(int(ask["amount"].sum())),
        float_text(change),
        float_text(round(change / opened, 8)),
        price_text(int(market["last_k"])),
        float_text(round(float(market["volume"]) * 1e-8, 8)),
        price_text(int(market["high_k"])),
        price_text(int(market["low_k"])),
    )
    return f"[{','.join(parts)}]"


def candle_texts(state: State, i: int, minutes: int) -> list[str]:
    """An instrument's candles of so many minutes as arrays, newest first: start ms, open, close, high, low, volume."""
    total = int(state.market[i]["minutes"])
    count = min(total, CANDLES)
    rows = state.candles[i, np.arange(total - count, total) % CANDLES]
    width = minutes * 60_000
    out: list[str] = []
    for start in sorted({int(m) - int(m) % width for m in rows["mts"]}, reverse=True):
        part = rows[(rows["mts"] >= start) & (rows["mts"] < start + width)]
        prices = (part[0]["open"], part[-1]["close"], part["high"].max(), part["low"].min())
        texts = ",".join(price_text(int(k)) for k in prices)
        out.append(f"[{start},{texts},{float_text(round(float(part['volume'].sum()) * 1e-8, 8))}]")
    return out
