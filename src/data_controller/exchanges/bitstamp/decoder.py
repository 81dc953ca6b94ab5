"""Bitstamp's frames to event rows: what the compiled scan leaves to Python, and the splice to a fetched book."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.bitstamp import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN
from data_controller.exchanges.streaming.snapshots import MAX_TOKENS, Snapshot
from data_controller.exchanges.streaming.splice import Held, SplicedDecoder
from data_controller.exchanges.streaming.tape import TOKEN, name
from data_controller.market.rows import EVENT, Control, Kind, Promise
from data_controller.market.tables import Channel

VENUE = "bitstamp"
STREAMS = {"diff_order_book": "", "live_trades": "", "live_orders": "R0"}
_REQUEST = re.compile(r"/order_book/([a-z0-9-]{2,40})/?(?:\?(.*))?$")
_NAME = re.compile(r"(diff_order_book|live_trades|live_orders)_([a-z0-9-]{2,40})")
_DATA_EVENTS = ("data", "trade", "order_created", "order_changed", "order_deleted")


def channel_of(name_: str) -> Channel | None:
    """The channel of a stream as Bitstamp names it (`diff_order_book_btcusd`), None where it is none of ours."""
    match = _NAME.fullmatch(name_)
    if match is None:
        return None
    if match[1] == "live_trades":
        return Channel(VENUE, match[2], "trades")
    return Channel(VENUE, match[2], "book", STREAMS[match[1]])


def name_of(channel: Channel) -> str:
    """The stream's name at Bitstamp, the inverse of `channel_of`."""
    if channel.stream == "trades":
        return f"live_trades_{channel.symbol}"
    return f"live_orders_{channel.symbol}" if channel.precision == "R0" else f"diff_order_book_{channel.symbol}"


class BitstampDecoder(SplicedDecoder):
    """Decoder of Bitstamp's WebSocket v2; see `streaming.decoder`.

    A fetched book says its time and may be older than that by up to `LAG_US`, so what its stream said from so long
    before is put behind it: both give whole sizes or whole orders, the later word counts. A fetched book that the
    stream does not reach back to is refused, and the next one may fit. Where a book that goes on is fetched anew, the
    first answer only begins to keep what the stream says; the next one is spliced.
    """

    venue: ClassVar[str] = VENUE
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict) or not isinstance(message.get("event"), str):
            return "expected an object with an `event`, was without"
        event, stream = message["event"], message.get("channel")
        if event in _DATA_EVENTS:
            channel = channel_of(stream) if isinstance(stream, str) else None
            if channel is None or not isinstance(stream, str) or self._cell(conn, name(stream)) is not None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            return AGAIN if self._join(conn, channel, seq, recv_ns, rows) else None
        self._counts[state.C_ENVELOPES] += 1
        if event == "bts:heartbeat":
            self._counts[state.C_HEARTBEATS] += 1
        elif event == "bts:request_reconnect":
            self._control(rows, seq, recv_ns, conn, Control.RESTART)
        elif event in ("bts:subscription_succeeded", "bts:unsubscription_succeeded"):
            channel = channel_of(stream) if isinstance(stream, str) else None
            if channel is None:
                self._unknown(conn, seq, recv_ns, rows)
            elif event == "bts:unsubscription_succeeded":
                self._part(conn, name(name_of(channel)), seq, recv_ns, rows)
            elif self._cell(conn, name(name_of(channel))) is None:
                self._join(conn, channel, seq, recv_ns, rows)
        elif event == "bts:error":
            data = message.get("data")
            code = data.get("code") if isinstance(data, dict) else None
            channel = channel_of(stream) if isinstance(stream, str) else None
            row = self.tables.channel(channel) if channel in self.tables.channels and channel is not None else -1
            number = code if type(code) is int and abs(code) < 1 << 31 else 0
            self._control(rows, seq, recv_ns, conn, Control.ERROR, channel=row, price=number)
        else:
            self._counts[state.C_UNKNOWN_EVENTS] += 1
        return None

    def _join(self, conn: int, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        promise = Promise.CHAINED if channel.precision == "R0" else Promise(0)
        return self._meet(conn, name(name_of(channel)), channel, seq, recv_ns, rows, promise=promise)

    # the splice

    def _asked(self, request: str) -> Channel | None:
        match = _REQUEST.search(request)
        if match is None:
            return None
        orders = "group=2" in (match[2] or "").split("&")
        return Channel(VENUE, match[1], "book", "R0" if orders else "")

    def _read_snapshot(self, body: bytes) -> Snapshot | None:
        data = np.frombuffer(body, np.uint8).copy()
        entries = body.count(b"[") + 2
        tokens = body.count(b",") + entries + 64
        if not len(data) or tokens > MAX_TOKENS:
            return None
        rows, tape = np.zeros(entries, EVENT), np.zeros(2 * tokens, TOKEN)
        for orders in (True, False):
            count, micro = scanner.read_book(data, tape, rows, orders)
            if count > 0:
                return Snapshot(int(micro), rows[: int(count)])
        return None

    def _joins(self, last: int, first: int, until: int, prev: int) -> int:
        return -1 if prev == 0 and first <= last - scanner.LAG_US else 0

    def _follows(self, before: Held, behind: Held) -> bool:
        return behind.prev == before.last if behind.prev else behind.first > before.first

    def _meet(
        self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows, **how: Any
    ) -> bool:
        early = self._early.get(channel)
        if early is not None and (channel.precision == "R0" or _has_orders(early[0])):
            # Orders fetched before their stream was heard of: nothing says what happened in between.
            del self._early[channel]
        return super()._meet(conn, key, channel, seq, recv_ns, rows, **how)

    def _outdated(self, cell: np.void, snapshot: Snapshot) -> bool:
        return False  # numbers of answers are times, which lag

    def _fitting(self, cell: np.void, snapshot: Snapshot) -> list[Held] | None:
        orders = cell["stream"] == state.ORDERS
        waiting = self._held.get(int(cell["row"]))
        if len(snapshot.rows) > 1 and _has_orders(snapshot) != orders:
            return None
        if waiting is None and cell["phase"] == state.CHAINED:
            cell["option"] = scanner.RECORDING
        if not waiting and (orders or cell["phase"] == state.CHAINED):
            return None
        if waiting and waiting[0].first > snapshot.last - scanner.LAG_US:
            return None
        return super()._fitting(cell, snapshot)

    def _splice(
        self, cell: np.void, snapshot: Snapshot, fitting: list[Held], seq: int, recv_ns: int, rows: Rows
    ) -> Iterator[None]:
        cell["option"] = 0
        yield from super()._splice(cell, snapshot, fitting, seq, recv_ns, rows)

    def _hold(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        slot = self._conns[conn]
        cell = self._cells[int(slot["held_cell"])]
        row, stop = int(cell["row"]), int(slot["held_stop"])
        waiting = self._held.get(row)
        first, last, prev = int(slot["held_first"]), int(slot["held_last"]), int(slot["held_prev"])
        if waiting and waiting[-1].last == last:
            self._counts[state.C_DUPLICATES] += 1
            rows.stop = int(slot["held_start"])
            return
        if waiting and not self._follows(waiting[-1], Held(first, last, prev, waiting[-1].rows)):
            # What came before a loss is of no use to a book that is fetched behind it.
            waiting.clear()
            self._held_rows.pop(row, None)
        super()._hold(conn, seq, recv_ns, rows)
        if cell["option"] == scanner.RECORDING:
            rows.stop = stop


def _has_orders(snapshot: Snapshot) -> bool:
    return len(snapshot.rows) > 1 and bool(snapshot.rows[1]["kind"] == Kind.ADD)
