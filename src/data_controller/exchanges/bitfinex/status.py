"""Bitfinex's status channels as plain values: marks, indices and funding of perpetuals, and liquidations."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from data_controller.exchanges.streaming.decoder import decimal_of, read_json
from data_controller.market.rows import Kind

MAX_LIQUIDATIONS = 64
"""Liquidations that one message may tell of."""
_MS = 1_000_000
_SYMBOL = re.compile(r"t[A-Z0-9]+(:[A-Z0-9]+)?")
_FIELDS = {
    "last": 2,
    "index": 3,
    "insurance_fund": 5,
    "funding_accrued": 8,
    "funding_step": 9,
    "funding": 11,
    "mark": 14,
    "open_interest": 17,
    "clamp_min": 21,
    "clamp_max": 22,
}
"""Numbers of a derivative's status, by their place; null where the venue has none."""


class Event(NamedTuple):
    """An event row to be written; numbers as their own text."""

    kind: Kind
    price: str
    size: str = "0"
    side: int = 0
    ref: int = 0
    exch_ns: int = 0
    symbol: str = ""  # liquidations: of which instrument


def derivative(frame: bytes) -> tuple[list[Event], dict[str, Any]]:
    """(MARK, INDEX and FUNDING rows, values of the side table) of a status; ValueError where it is none.

    FUNDING has the rate of this period as price and the time of the next payment (ns) as `ref`.
    """
    status = read_json(frame)[1]
    exch_ns = _ns(status[0])
    due_ns = _ns(status[7]) if status[7] is not None else 0
    texts = {name: str(status[k]) for name, k in _FIELDS.items() if k < len(status) and status[k] is not None}
    events = []
    for kind, name in ((Kind.MARK, "mark"), (Kind.INDEX, "index"), (Kind.FUNDING, "funding")):
        if name in texts:
            decimal_of(texts[name])
            ref = due_ns if kind is Kind.FUNDING else 0
            events.append(Event(kind, texts[name], ref=ref, exch_ns=exch_ns))
    values = {name: float(texts[name]) if name in texts else None for name in _FIELDS}
    return events, {"mts": status[0], "next_funding_mts": status[7], **values}


def liquidations(frame: bytes) -> list[Event]:
    """LIQUIDATION rows of a message; ValueError where it is none.

    A position is told of when its liquidation begins and again as it is matched: only the beginning is an event. A
    long one is sold, so its side is -1. `ref` is the position's id.
    """
    told = read_json(frame)[1]
    entries = told if told and isinstance(told[0], list) else [told]
    if len(entries) > MAX_LIQUIDATIONS:
        raise ValueError(f"at most {MAX_LIQUIDATIONS} liquidations a message, was {len(entries)}")
    events = []
    for entry in entries:
        if entry[0] != "pos" or not isinstance(entry[4], str) or not _SYMBOL.fullmatch(entry[4]) or len(entry[4]) > 64:
            raise ValueError("a position of a symbol")
        if entry[8] != 0:
            continue
        price = str(entry[11] if len(entry) > 11 and entry[11] is not None else entry[6])
        size = str(entry[5])
        decimal_of(price)
        _, _, short = decimal_of(size)
        if type(entry[1]) is not int or not 0 < entry[1] < 1 << 62:
            raise ValueError("a position's id")
        events.append(
            Event(Kind.LIQUIDATION, price, size, 1 if short else -1, entry[1], _ns(entry[2]), symbol=entry[4])
        )
    return events


def _ns(mts: Any) -> int:
    if type(mts) is not int or not 0 < mts < 9_000_000_000_000:
        raise ValueError("a time in milliseconds")
    return mts * _MS
