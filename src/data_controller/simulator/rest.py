"""The few public REST answers that clients ask for before they open a websocket: lists of pairs and currencies."""

from __future__ import annotations

import json
from typing import Any

from data_controller.simulator.exchange import Exchange


def split(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol such as tBTCUSD or tDOGE:USD."""
    pair = symbol.removeprefix("t")
    base, colon, quote = pair.partition(":")
    return (base, quote) if colon else (pair[:-3], pair[-3:])


def answer(path: str, exchange: Exchange) -> bytes | None:
    """The JSON body for a path, None where there is nothing."""
    path = path.partition("?")[0]
    pairs = [symbol.removeprefix("t") for symbol in exchange.symbols]
    currencies = sorted({part for symbol in exchange.symbols for part in split(symbol)})
    lists: dict[str, Any] = {
        "pub:list:pair:exchange": pairs,
        "pub:list:pair:margin": [],
        "pub:list:pair:futures": [],
        "pub:list:currency": currencies,
    }
    if path == "/v2/platform/status":
        return b"[0]" if exchange.maintenance else b"[1]"
    prefix = "/v2/conf/"
    if not path.startswith(prefix):
        return None
    wanted = path.removeprefix(prefix).split(",")
    if not all(name in lists for name in wanted):
        return None
    return json.dumps([lists[name] for name in wanted], separators=(",", ":")).encode()
