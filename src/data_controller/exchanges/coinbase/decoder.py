"""Coinbase Exchange's frames to event rows: what the compiled scan leaves to Python, and the splice of L3 books."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.coinbase import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN
from data_controller.exchanges.streaming.keys import unsent
from data_controller.exchanges.streaming.snapshots import MAX_TOKENS, Snapshot
from data_controller.exchanges.streaming.splice import SplicedDecoder
from data_controller.exchanges.streaming.tape import TOKEN
from data_controller.market.rows import EVENT, Control, Promise
from data_controller.market.tables import Channel, Stream

_PRODUCT = re.compile(r"[A-Z0-9]{1,16}(?:-[A-Z0-9]{1,16}){1,3}")
_REQUEST = re.compile(r"/products/([A-Za-z0-9-]+)/book\?(?:.*&)?level=3(?:&|$)")
_STREAMS: dict[str, tuple[str, Stream]] = {
    "level2": ("level2", "book"),
    "level2_50": ("level2", "book"),
    "level2_batch": ("level2", "book"),
    "full": ("full", "book"),
    "matches": ("matches", "trades"),
    "ticker": ("ticker", "ticker"),
    "ticker_batch": ("ticker", "ticker"),
}
_KINDS = {
    "snapshot": "level2",
    "l2update": "level2",
    "match": "matches",
    "last_match": "matches",
    "ticker": "ticker",
    "received": "full",
    "open": "full",
    "done": "full",
    "change": "full",
    "activate": "full",
}
_TICKER = {"bid": "best_bid", "bid_size": "best_bid_size", "ask": "best_ask", "ask_size": "best_ask_size"}
_TICKER_ALSO = {"last": "price", "volume": "volume_24h", "high": "high_24h", "low": "low_24h"}


def channel_of(venue: str, name: str, product: str) -> tuple[np.uint64, Channel] | None:
    """Key and channel of a product's stream, None where it is none of ours. An L3 book has precision R0."""
    found = _STREAMS.get(name)
    if found is None or not _PRODUCT.fullmatch(product):
        return None
    return state.key_of(found[0], product), Channel(venue, product, found[1], "R0" if name == "full" else "")


class CoinbaseDecoder(SplicedDecoder):
    """Decoder of the Exchange feed, today's and that of 2021; see `streaming.decoder`."""

    venue: ClassVar[str] = "coinbase"
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str):
            return "expected an object with a type, was other JSON"
        if kind == "subscriptions":
            return self._subscriptions(message, conn, seq, recv_ns, rows)
        if kind == "error":
            self._counts[state.C_ENVELOPES] += 1
            self._control(rows, seq, recv_ns, conn, Control.ERROR)
            return None
        product = message.get("product_id")
        if kind not in _KINDS or not isinstance(product, str):
            self._counts[state.C_UNKNOWN_EVENTS] += 1
            return None
        found = channel_of(self.venue, _KINDS[kind], product)
        if found is None:
            return "expected the id of a product, was otherwise"
        cell = self._cell(conn, found[0])
        if cell is None:
            return AGAIN if self._join(conn, *found, seq, recv_ns, rows) else None
        if kind != "ticker":
            return f"expected a {kind} message in the protocol's own spelling, was otherwise"
        cell["heard_ns"] = recv_ns
        try:
            values = {own: float(message.get(key) or 0) for own, key in (_TICKER | _TICKER_ALSO).items()}
            values["change"] = values["last"] - float(message.get("open_24h") or 0)
        except (TypeError, ValueError, OverflowError) as error:
            return f"expected a ticker message, was otherwise: {error!r}"
        self._tell("ticker", state.C_TICKERS, seq, recv_ns, int(cell["row"]), values)
        return None

    def _join(self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        # Nothing is promised of price levels: the channel has neither numbers nor checksums.
        promise = Promise.SEQUENCED | Promise.QUEUED if channel.precision == "R0" else Promise(0)
        return self._meet(conn, key, channel, seq, recv_ns, rows, promise=promise)

    def _subscriptions(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """What the connection is subscribed to now: all of it, each time."""
        self._counts[state.C_ENVELOPES] += 1
        channels = message.get("channels")
        if not isinstance(channels, list):
            return "expected a list of channels, was otherwise"
        wanted = {int(key): channel for key, channel in self._named(channels)}
        if 2 * (len(wanted) + self._used) > rows.room:
            return "expected at most as many subscriptions as the row buffer holds, was more"
        live = self._cells[(self._cells["conn"] == conn) & (self._cells["state"] == state.LIVE)]["key"].tolist()
        for key in live:
            if key not in wanted:
                self._part(conn, np.uint64(key), seq, recv_ns, rows)
        for key, channel in wanted.items():
            if self._cell(conn, np.uint64(key)) is None:
                self._join(conn, np.uint64(key), channel, seq, recv_ns, rows)
        return None

    def _named(self, channels: Any) -> Iterator[tuple[np.uint64, Channel]]:
        """Key and channel of each stream of ours in a message's list of channels."""
        for entry in channels if isinstance(channels, list) else ():
            name = entry.get("name") if isinstance(entry, dict) else None
            products = entry.get("product_ids") if isinstance(entry, dict) else None
            for product in products if isinstance(products, list) else ():
                found = channel_of(self.venue, str(name), product) if isinstance(product, str) else None
                if found is not None:
                    yield found

    # the splice

    def fetched(
        self, conn: int, request: str, status: int, body: bytes, seq: int, recv_ns: int, rows: Rows, asked_ns: int = 0
    ) -> Iterator[None]:
        """A snapshot; or an ERROR row for each channel of a request that was never sent, for want of a key."""
        message = unsent(request, status)
        if message is None:
            yield from super().fetched(conn, request, status, body, seq, recv_ns, rows, asked_ns)
            return
        for _, channel in self._named(message.get("channels")):
            if channel in self.tables.channels:
                if not rows.room:
                    yield
                self._control(rows, seq, recv_ns, conn, Control.ERROR, channel=self.tables.channel(channel))

    def _asked(self, request: str) -> Channel | None:
        match = _REQUEST.search(request)
        found = None if match is None else channel_of(self.venue, "full", match[1].upper())
        return None if found is None else found[1]

    def _read_snapshot(self, body: bytes) -> Snapshot | None:
        entries = body.count(b"[") + 2
        tokens = body.count(b",") + entries + 64
        if not body or tokens > MAX_TOKENS:
            return None
        rows = np.zeros(entries, EVENT)
        data = np.frombuffer(body, np.uint8).copy()
        count, number = scanner.snapshot_of_orders(data, np.zeros(2 * tokens, TOKEN), rows)
        return Snapshot(int(number), rows[:count]) if count > 0 else None

    def _joins(self, last: int, first: int, until: int, prev: int) -> int:
        if until <= last:
            return -1
        return 0 if first == last + 1 else 1
