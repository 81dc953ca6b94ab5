"""Clients of the simulated Binance and Kraken for the tests: books by the venues' published rules, numbers as text."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Any

from data_controller.simulator.binance.venue import BinanceVenue
from data_controller.simulator.exchange import Frame

Levels = dict[str, str]


class GapError(Exception):
    """A diff does not follow the one before it."""


def sides(bids: Levels, asks: Levels, depth: int | None = None) -> tuple[list[Any], list[Any]]:
    """Both sides best first."""
    by = [sorted(s.items(), key=lambda e: float(e[0]), reverse=not which) for which, s in enumerate((bids, asks))]
    return by[0][:depth], by[1][:depth]


class Splicer:
    """One symbol's book from Binance's diffs and a REST snapshot."""

    def __init__(self, venue: BinanceVenue, symbol: str) -> None:
        self.venue, self.symbol = venue, symbol
        self.buffer: deque[dict[str, Any]] = deque()
        self.bids: Levels = {}
        self.asks: Levels = {}
        self.last = 0  # 0: not spliced

    def fetch(self) -> None:
        path = "/fapi/v1/depth" if self.venue.futures else "/api/v3/depth"
        answer = self.venue.rest(f"{path}?symbol={self.symbol}&limit=1000")
        assert answer.status == 200, answer
        body = json.loads(answer.body)
        self.snapshot_id = body["lastUpdateId"]
        while self.buffer and self.buffer[0]["u"] <= self.snapshot_id - self.venue.futures:
            self.buffer.popleft()
        if not self.buffer:
            return
        first = self.buffer[0]
        edge = self.snapshot_id + (not self.venue.futures)
        if not (first["U"] <= edge <= first["u"] or first.get("pu") == self.snapshot_id):
            raise GapError(f"{first['U']}..{first['u']} does not cover {edge}")
        self.bids, self.asks = dict(body["bids"]), dict(body["asks"])
        while self.buffer:
            self._apply(self.buffer.popleft())

    def take(self, message: dict[str, Any]) -> None:
        if not self.last:
            self.buffer.append(message)
            return
        follows = message["pu"] == self.last if self.venue.futures else message["U"] == self.last + 1
        if not follows:
            raise GapError(str(message))
        self._apply(message)

    def _apply(self, message: dict[str, Any]) -> None:
        for levels, changes in ((self.bids, message["b"]), (self.asks, message["a"])):
            for price, amount in changes:
                if float(amount) == 0.0:
                    levels.pop(price, None)
                else:
                    levels[price] = amount
        self.last = message["u"]


class Text(str):
    """A JSON number that kept its text."""


def parse(data: bytes) -> Any:
    return json.loads(data, parse_float=Text, parse_int=Text)


def crc(texts: Iterable[str]) -> int:
    return zlib.crc32("".join(t.replace(".", "").lstrip("0") for t in texts).encode())


class KrakenBooks:
    """Books of one connection, by (channel, symbol); `bad` counts checksums that do not fit."""

    def __init__(self, depth: int = 10) -> None:
        self.depth = depth
        self.books: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        self.checked = self.bad = 0
        self.other: list[Any] = []

    def take(self, frame: Frame) -> None:
        message = parse(frame.data)
        if message.get("channel") not in ("book", "level3"):
            self.other.append(message)
            return
        (data,) = message["data"]
        key = message["channel"], data["symbol"]
        if message["type"] == "snapshot":
            self.books[key] = ({}, {})
        if key not in self.books:
            return
        for side, entries in zip(self.books[key], (data["bids"], data["asks"]), strict=True):
            for entry in entries:
                if key[0] == "book":
                    self._level(side, entry)
                else:
                    self._order(side, entry)
        self._cut(key)
        self.checked += 1
        self.bad += self._checksum(key) != int(data["checksum"])

    def _level(self, side: dict[str, Any], entry: dict[str, Any]) -> None:
        if float(entry["qty"]) == 0.0:
            side.pop(entry["price"], None)
        else:
            side[entry["price"]] = entry["qty"]

    def _order(self, side: dict[str, Any], entry: dict[str, Any]) -> None:
        if entry.get("event") == "delete":
            side.pop(entry["order_id"], None)
        else:
            side[entry["order_id"]] = (entry["limit_price"], entry["order_qty"], entry["timestamp"])

    def _cut(self, key: tuple[str, str]) -> None:
        for which, side in enumerate(self.books[key]):
            price = (lambda e: float(e[0])) if key[0] == "book" else (lambda e: float(e[1][0]))
            levels = sorted({price(e) for e in side.items()}, reverse=not which)[: self.depth]
            for name in [name for name, v in side.items() if price((name, v)) not in levels]:
                del side[name]

    def sides(self, key: tuple[str, str]) -> tuple[list[Any], list[Any]]:
        bids, asks = self.books[key]
        if key[0] == "book":
            return sides(bids, asks)
        out = []
        for which, side in enumerate((bids, asks)):
            sign = 1 if which else -1
            rows = sorted(side.items(), key=lambda e, sign=sign: (sign * float(e[1][0]), e[1][2]))
            out.append([(name, price, qty) for name, (price, qty, _) in rows])
        return out[0], out[1]

    def _checksum(self, key: tuple[str, str]) -> int:
        bids, asks = self.sides(key)
        texts: list[str] = []
        for side in (asks, bids):
            seen: set[str] = set()
            for entry in side:
                seen.add(entry[-2])
                if len(seen) > 10:
                    break
                texts += [str(field) for field in entry[-2:]]
        return crc(texts)
