"""What a client that lost nothing would hold: plain dictionaries fed with the frames the exchange meant to send."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from data_controller.errors import SimulatorError
from data_controller.simulator.checksum import checksum
from data_controller.simulator.exchange import Frame
from data_controller.simulator.state import EVENT, SNAPSHOT, UPDATE


class Number(str):
    """A number that kept its text."""

    __slots__ = ()


def parse(data: bytes | str) -> Any:
    """A frame as Python values, numbers as their text."""
    return json.loads(data, parse_int=Number, parse_float=Number, parse_constant=Number)


class ClientBook:
    """One book channel as a client keeps it: entries by price (or order id), numbers as the text that came."""

    def __init__(self, raw: bool) -> None:
        self.raw = raw
        self.entries: dict[tuple[bool, str], tuple[str, str, str]] = {}  # (is ask, price or id) -> entry
        self.ready = False

    def apply(self, payload: list[Any]) -> None:
        """Take a snapshot (a list of entries) or one entry."""
        if not payload or isinstance(payload[0], list):
            self.entries.clear()
            self.ready = True
            for entry in payload:
                self._put(entry)
        else:
            self._put(payload)

    def _put(self, entry: list[Any]) -> None:
        first, second, amount = (str(field) for field in entry[:3])
        key = (amount.startswith("-"), first)
        if second == "0":
            del self.entries[key]
        else:
            self.entries[key] = (first, second, amount)

    def sides(self) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
        """Bids and asks, best first."""
        at = 1 if self.raw else 0

        def order(entry: tuple[str, str, str], sign: int) -> tuple[float, int]:
            return sign * float(entry[at]), int(entry[0]) if self.raw else 0

        bids = [entry for (ask, _), entry in self.entries.items() if not ask]
        asks = [entry for (ask, _), entry in self.entries.items() if ask]
        return sorted(bids, key=lambda e: order(e, -1)), sorted(asks, key=lambda e: order(e, 1))

    def checksum(self) -> int:
        """The book's checksum, signed."""
        bids, asks = self.sides()
        return checksum([(e[0], e[2]) for e in bids], [(e[0], e[2]) for e in asks])


class Log:
    """The frames the exchange meant to send on one connection, the newest `limit_bytes` of them."""

    def __init__(self, limit_bytes: int = 32 << 20) -> None:
        self.limit_bytes = limit_bytes
        self.size = 0
        self.lost = 0  # frames no longer held
        self.frames: deque[Frame] = deque()

    def extend(self, frames: list[Frame]) -> None:
        """Keep frames."""
        self.frames.extend(frames)
        self.size += sum(len(frame.data) for frame in frames)
        while self.size > self.limit_bytes:
            self.size -= len(self.frames.popleft().data)
            self.lost += 1

    def book(self, chan_id: int, seq: int | None = None) -> ClientBook:
        """The book of a channel after the frame numbered `seq` (None: after all).

        Raises SimulatorError where the channel's beginning is not in the log.
        """
        book: ClientBook | None = None
        mark = b'"chanId":%d,' % chan_id
        for frame in self.frames:
            if seq is not None and frame.seq > seq:
                break
            if frame.kind == EVENT and mark in frame.data:
                ack = json.loads(frame.data)
                if ack["event"] == "subscribed" and ack["channel"] == "book":
                    book = ClientBook(raw=ack["prec"] == "R0")
            elif book is not None and frame.chan_id == chan_id and frame.kind in (SNAPSHOT, UPDATE):
                book.apply(parse(frame.data)[1])
        if book is None or not book.ready:
            raise SimulatorError(f"expected the snapshot of book channel {chan_id} in the log, found none")
        return book
