"""BitMEX's frames to event rows: what the compiled scan leaves to Python, and the memory of prices by level id."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.bitmex import _scanner as scanner
from data_controller.exchanges.protocols import RecordBatch, Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, StreamDecoder
from data_controller.market.layout import BrokenBy
from data_controller.market.rows import Control, Kind
from data_controller.market.tables import Channel, Stream, Tables

VENUE = "bitmex"
MAX_ENTRIES = 1 << 21
"""Levels remembered, twice over; where more are needed all books are broken and the memory starts anew."""
_SYMBOL = re.compile(r"[A-Za-z0-9._-]{2,40}")
_STREAMS: dict[str, Stream] = {
    "orderBookL2": "book",
    "orderBookL2_25": "book",
    "trade": "trades",
    "quote": "quotes",
    "instrument": "derivative",
    "funding": "derivative",
    "liquidation": "liquidations",
}
_SIDES = {"Buy": 1, "Sell": -1}


def _iso_ns(text: Any) -> int:
    """`2021-04-05T20:00:00.000Z` as ns; 0 for nothing."""
    if not text:
        return 0
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError("a time with its zone")
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


class BitmexDecoder(StreamDecoder):
    """Decoder of BitMEX's realtime tables; see `streaming.decoder`. Nothing proves its books, but ids tell of losses.

    `funding` and `instrument` are two channels of stream derivative, told apart by their precision.
    """

    venue: ClassVar[str] = VENUE
    scan: ClassVar[Any] = scanner.scan

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._entries = np.zeros(1 << 12, scanner.ENTRY)
        self._also = (self._entries,)

    def _unusual(self, status: int, batch: RecordBatch, i: int, rows: Rows) -> bool:
        if status != scanner.GROW:
            return super()._unusual(status, batch, i, rows)
        # The least that a level takes is its symbol.
        frame_entries = (batch.offsets.item(i + 1) - batch.offsets.item(i)) // len('{"symbol":"XX"}')
        size = 1 << (4 * (int(self._entries[0]["price"]) + frame_entries)).bit_length()
        entries = np.zeros(min(max(size, 1 << 12), MAX_ENTRIES), scanner.ENTRY)
        scanner.enter_entries(self._entries, self._cells, entries)
        fits = 2 * (int(entries[0]["price"]) + frame_entries) <= len(entries)
        self._entries = entries
        self._also = (entries,)
        if fits:
            return False
        self._entries[:] = np.zeros((), scanner.ENTRY)
        seq, recv_ns = batch.first_seq + i, batch.recv_ns.item(i)
        for conn in np.flatnonzero(self._conns["open"]).tolist():
            self._gaps(rows, seq, recv_ns, conn, BrokenBy.OVERFLOW)
        self._counts[state.C_FRAMES] += 1
        return True

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        table, data = message.get("table"), message.get("data")
        if table is None:
            return self._answer(message, conn, seq, recv_ns, rows)
        if not isinstance(table, str) or not isinstance(data, list) or not isinstance(message.get("action"), str):
            return "expected a table's name, an action and data, was otherwise"
        stream = _STREAMS.get(table)
        if stream is None:
            self._counts[state.C_UNKNOWN_EVENTS] += 1
            return None
        items = data or [message.get("filter")]
        symbols: list[str] = []
        for item in items if stream in ("derivative", "liquidations") else items[:1]:
            symbol = item.get("symbol") if isinstance(item, dict) else None
            if not isinstance(symbol, str) or not _SYMBOL.fullmatch(symbol):
                return "expected a symbol, was otherwise"
            symbols.append(symbol)
        fresh = [symbol for symbol in dict.fromkeys(symbols) if self._cell(conn, state.key_of(table, symbol)) is None]
        length = 25 if table == "orderBookL2_25" else 0
        precision = table if stream == "derivative" else ""
        for symbol in fresh:
            channel = Channel(VENUE, symbol, stream, precision, "", length)
            if rows.room < 16 or not self._meet(conn, state.key_of(table, symbol), channel, seq, recv_ns, rows):
                return None
        if stream not in ("derivative", "liquidations"):
            return AGAIN if fresh else "expected levels, trades or best prices, was otherwise"
        try:
            for symbol, item in zip(symbols, data, strict=False):
                cell = self._cell(conn, state.key_of(table, symbol))
                if cell is not None:
                    cell["heard_ns"] = recv_ns
                    self._item(table, message["action"], item, int(cell["row"]), seq, recv_ns, rows)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            return f"expected rows of {table}, was otherwise: {error!r}"
        return None

    def _item(self, table: str, action: str, item: Any, row: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """A row of a table off the hot path: marks, indices, funding, liquidations."""
        if rows.room < 8:
            raise ValueError("more rows than the buffer holds")
        exch_ns = _iso_ns(item.get("timestamp"))
        if table == "liquidation":
            if action == "insert":
                side = _SIDES[item["side"]]
                self._event(
                    rows,
                    seq,
                    recv_ns,
                    Kind.LIQUIDATION,
                    row,
                    price=item["price"],
                    size=item["leavesQty"],
                    side=side,
                    exch_ns=exch_ns,
                )
                self._counts[state.C_LIQUIDATIONS] += 1
            return
        if item.get("markPrice") is not None:
            self._event(rows, seq, recv_ns, Kind.MARK, row, price=item["markPrice"], exch_ns=exch_ns)
        if item.get("indicativeSettlePrice") is not None:
            self._event(rows, seq, recv_ns, Kind.INDEX, row, price=item["indicativeSettlePrice"], exch_ns=exch_ns)
        if item.get("fundingRate") is not None:
            due_ns = _iso_ns(item.get("fundingTimestamp"))
            self._event(rows, seq, recv_ns, Kind.FUNDING, row, price=item["fundingRate"], ref=due_ns, exch_ns=exch_ns)
        self._counts[state.C_DERIVATIVES] += 1

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """A greeting, the answer to a subscription, an error."""
        self._counts[state.C_ENVELOPES] += 1
        if "error" in message:
            status = message.get("status")
            code = status if type(status) is int and abs(status) < 1 << 31 else 0
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=code)
        elif "info" in message:
            self._control(rows, seq, recv_ns, conn, Control.INFO)
        elif "subscribe" not in message and "unsubscribe" not in message:
            return "expected a table, a greeting or an answer, was other JSON"
        return None
