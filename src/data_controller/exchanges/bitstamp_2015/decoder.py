"""Bitstamp's 2015 log to event rows: one pair, three streams, and what the compiled scan leaves to Python."""

from __future__ import annotations

from typing import Any, ClassVar

from data_controller.exchanges.bitstamp_2015 import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import StreamDecoder
from data_controller.exchanges.streaming.scanning import PYTHON
from data_controller.market.tables import Channel

VENUE = "bitstamp_2015"
SYMBOL = "btcusd"
_TOP = 20
"""Levels a side of the venue's own book messages."""
_STREAMS = {
    scanner.ORDERS: Channel(VENUE, SYMBOL, "book", "R0"),
    scanner.TRADES: Channel(VENUE, SYMBOL, "trades"),
    scanner.TOP: Channel(VENUE, SYMBOL, "book", "", "", _TOP),
}


class Bitstamp2015Decoder(StreamDecoder):
    """Decoder of frames `EVENT JSON` of 2015; see `streaming.decoder`.

    Nothing proves the book of orders, and what rested before the log began is not in it.
    """

    venue: ClassVar[str] = VENUE
    scan: ClassVar[Any] = scanner.scan

    def _unusual(self, status: int, batch: Any, i: int, rows: Rows) -> bool:
        frame = batch.data[batch.offsets.item(i) : batch.offsets.item(i + 1)].tobytes()
        conn, recv_ns, seq = batch.conn.item(i), batch.recv_ns.item(i), batch.first_seq + i
        event = frame.partition(b" ")[0]
        if status != PYTHON:
            return super()._unusual(status, batch, i, rows)
        fresh = [key for key in _STREAMS if self._cell(conn, key) is None]
        if event in (b"order_created", b"order_changed", b"order_deleted", b"trade", b"order_book") and fresh:
            known = [self._meet(conn, key, _STREAMS[key], seq, recv_ns, rows) for key in fresh]
            if all(known):
                return False
        self._counts[state.C_FRAMES] += 1
        self._counts[state.C_UNKNOWN_EVENTS] += 1
        return True
