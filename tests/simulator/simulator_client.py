"""A client of the simulated exchange for the tests: it keeps books as dictionaries and numbers as their text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from data_controller.simulator.session import Session
from data_controller.simulator.truth import ClientBook, Number, parse

SECOND = 1_000_000_000
ALL_FLAGS = 32768 + 65536 + 131072


class Client:
    """Follows one connection: books by channel, every array frame's trailing sequence and time, checksum results."""

    def __init__(self, flags: int = ALL_FLAGS) -> None:
        self.flags = flags
        self.books: dict[int, ClientBook] = {}
        self.channels: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.arrays: list[list[Any]] = []
        self.sequences: list[int] = []
        self.times_ms: list[int] = []
        self.checksums: list[tuple[int, bool]] = []

    def feed(self, frames: Iterable[bytes]) -> None:
        for data in frames:
            assert b" " not in data or data.startswith(b"{")
            message = parse(data)
            if isinstance(message, dict):
                self.events.append(json.loads(data))
                if message["event"] == "subscribed":
                    fields = json.loads(data)
                    self.channels[fields["chanId"]] = fields
                    if fields["channel"] == "book":
                        self.books[fields["chanId"]] = ClientBook(raw=fields["prec"] == "R0")
                continue
            self._array(message)

    def _array(self, message: list[Any]) -> None:
        body = list(message)
        if self.flags & 32768:
            self.times_ms.append(int(body.pop()))
        if self.flags & 65536:
            self.sequences.append(int(body.pop()))
        self.arrays.append(body)
        chan_id = int(body[0])
        book = self.books.get(chan_id)
        if body[1] == "cs" and book is not None:
            self.checksums.append((chan_id, int(body[2]) == book.checksum()))
        elif book is not None and body[1] != "hb":
            book.apply(body[1])


def subscribe(session: Session, client: Client, channel: str, symbol: str = "tBTCUSD", **fields: Any) -> int:
    """Subscribe; returns the channel's id."""
    known = set(client.channels)
    client.feed(session.receive(json.dumps({"event": "subscribe", "channel": channel, "symbol": symbol} | fields)))
    return next(iter(set(client.channels) - known))


__all__ = ["ALL_FLAGS", "SECOND", "Client", "Number", "subscribe"]
