"""Kraken's checksums, ids and times, and what a moment of a book is."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import NamedTuple

from data_controller.simulator import view
from data_controller.simulator.dialect import SECOND

TOKEN = "simulated-token"
"""What GetWebSocketsToken gives and level3 wants."""
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Resting(NamedTuple):
    """An order as level3 shows it; one that moves to another price is a new one."""

    id: str
    k: int
    amount: int
    ns: int


Orders = tuple[list[Resting], list[Resting]]
"""Bids and asks, best first, queues oldest first."""


class Moment(NamedTuple):
    """A step's book."""

    stamp: int  # counts the steps at which this instrument's book changed
    book: view.Book
    orders: Orders | None  # None where nobody followed level3


def crc(texts: list[str]) -> int:
    """CRC-32, unsigned, of numbers' texts without point and leading zeros."""
    return zlib.crc32("".join(text.replace(".", "").lstrip("0") for text in texts).encode())


def top_orders(orders: list[Resting], levels: int) -> list[Resting]:
    """The orders of the best `levels` prices."""
    seen: set[int] = set()
    out = []
    for order in orders:
        seen.add(order.k)
        if len(seen) > levels:
            break
        out.append(order)
    return out


def order_name(number: int) -> str:
    """An order id as Kraken writes them."""
    text = ""
    mixed = (number * 0x9E3779B97F4A7C15) % 36**16
    for _ in range(16):
        mixed, digit = divmod(mixed, 36)
        text += _ALPHABET[digit]
    return f"O{text[:5]}-{text[5:10]}-{text[10:]}"


def iso(ns: int, digits: int = 6) -> str:
    """A time as Kraken writes it, with six or nine digits of a second."""
    whole = datetime.fromtimestamp(ns // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{ns % SECOND // 10 ** (9 - digits):0{digits}d}Z"
