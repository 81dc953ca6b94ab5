"""The bridge's messages into rows: whole merged books, trades, and what is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.ccxt.settings import channel_of
from data_controller.exchanges.naming import described
from data_controller.exchanges.protocols import RecordBatch, Rows
from data_controller.market.layout import BrokenBy
from data_controller.market.numbers import MAX_DIGITS, MAX_SCALE, PRICE_LIMIT
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Tables

_FRAME = 4  # records.Kind.FRAME; exchanges do not know records
MAX_CHANNELS = 4096
MAX_SIDE_ROWS = 1 << 16
MAX_LEVELS = 1000
MAX_TRADES = 5000
"""Of one message; more is no message of the bridge's."""
_COUNTERS = ("frames", "heartbeats", "book_snapshots", "trades", "lost", "quarantined", "unknown_channel")
_MS = 1_000_000
MAX_MS = 1 << 42
_SIDES = {"buy": 1, "sell": -1, "": 0}

_decode = msgspec.json.Decoder().decode


class _Malformed(Exception):  # noqa: N818 - the state is the name
    """Not a message of the bridge's protocol."""


class CcxtDecoder:
    """Decoder (see exchanges.protocols) of the bridge's protocol (`bridge.server`); a function of bytes in order."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)
        self.side_rows: dict[str, list[dict[str, Any]]] = {"quarantine": []}
        self.wire_seq: NDArray[np.int64] = np.zeros(4096, np.int64)
        self._live: dict[int, dict[int, int]] = {}  # connection -> channel row -> arrival of its last frame

    @property
    def heard_ns(self) -> NDArray[np.int64]:
        """[channels] Arrival of each live channel's last frame; 0 where nothing serves it."""
        heard_ns = np.zeros(len(self.tables.channels), np.int64)
        for channels in self._live.values():
            for row, at_ns in channels.items():
                heard_ns[row] = at_ns
        return heard_ns

    def opened(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Take slot `conn` as a fresh connection; appends CONTROL OPENED."""
        self._live[conn] = {}
        self._put(rows, seq, recv_ns, Kind.CONTROL, ref=Control.OPENED, part=conn)

    def closed(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Append GAP rows (cause CLOSED) for the channels of slot `conn`, then CONTROL CLOSED."""
        if conn in self._live:
            for row in self._live.pop(conn):
                self._put(rows, seq, recv_ns, Kind.GAP, channel=row, size=BrokenBy.CLOSED)
            self._put(rows, seq, recv_ns, Kind.CONTROL, ref=Control.CLOSED, part=conn)

    def fetched(
        self, conn: int, request: str, status: int, body: bytes, seq: int, recv_ns: int, rows: Rows, asked_ns: int = 0
    ) -> Iterator[None]:
        """Nothing: the bridge asks for what it needs itself."""
        return iter(())

    def decode(self, batch: RecordBatch, lo: int, hi: int, rows: Rows, last_recv_ns: NDArray[np.int64]) -> int:
        """As exchanges.protocols.Decoder.decode."""
        if len(self.wire_seq) < hi:
            self.wire_seq = np.zeros(max(hi, 2 * len(self.wire_seq)), np.int64)
        i = lo
        while i < hi:
            conn = batch.conn.item(i)
            # Room for the largest message, and for a GAP of every channel where it cannot be read.
            needed = max(2 * MAX_LEVELS, MAX_TRADES, MAX_CHANNELS) + 8
            if batch.kind.item(i) != _FRAME or conn not in self._live or (rows.room < needed and rows.stop > 0):
                break
            recv_ns, seq = batch.recv_ns.item(i), batch.first_seq + i
            frame = batch.data[batch.offsets.item(i) : batch.offsets.item(i + 1)].tobytes()
            last_recv_ns[conn] = recv_ns
            self.counters["frames"] += 1
            first = rows.stop
            try:
                self._message(_decode(frame), conn, seq, recv_ns, rows)
            except (_Malformed, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                rows.stop = first  # half a message is none
                self._quarantine(str(error), frame, conn, seq, recv_ns, rows)
            i += 1
        return i

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "heartbeat":
            self.counters["heartbeats"] += 1
            return
        if kind == "hello":
            version = message.get("version")
            if type(version) is not int or not 0 < version < 1 << 31:
                raise _Malformed(f"expected a version, was {version!r}")
            self._put(rows, seq, recv_ns, Kind.CONTROL, ref=Control.INFO, price=version, part=conn)
            return
        key = message.get("channel") if kind is not None else None
        if key == "" and kind == "error":
            self._put(rows, seq, recv_ns, Kind.CONTROL, ref=Control.ERROR, part=conn)
            return
        channel = channel_of(key) if isinstance(key, str) else None
        if channel is None:
            raise _Malformed(f"expected a message of the bridge's protocol, was {str(message)[:100]}")
        if len(self.tables.channels) >= MAX_CHANNELS and channel not in self.tables.channels:
            raise _Malformed(f"expected at most {MAX_CHANNELS} channels, was more")
        live = self._live[conn]
        if kind == "subscribed":
            self.tables.instrument(described(channel.venue, channel.symbol))
            row = self.tables.channel(channel)
            live[row] = recv_ns
            self._put(rows, seq, recv_ns, Kind.CONTROL, ref=Control.SUBSCRIBED, channel=row, part=conn)
            return
        row = self.tables.channel(channel) if channel in self.tables.channels else -1
        if row not in live:
            self.counters["unknown_channel"] += 1
            self._put(rows, seq, recv_ns, Kind.CONTROL, ref=Control.UNKNOWN_CHANNEL, part=conn)
            return
        live[row] = recv_ns
        if kind == "book" and channel.stream == "book":
            self._book(message, row, seq, recv_ns, rows)
        elif kind == "trades" and channel.stream == "trades":
            self._trades(message, row, seq, recv_ns, rows)
        elif kind == "lost":
            self.counters["lost"] += 1
            self._put(rows, seq, recv_ns, Kind.GAP, channel=row)
        elif kind in ("unsubscribed", "error"):
            del live[row]
            self._put(rows, seq, recv_ns, Kind.GAP, channel=row, size=BrokenBy.CLOSED)
            code = Control.ERROR if kind == "error" else Control.UNSUBSCRIBED
            self._put(rows, seq, recv_ns, Kind.CONTROL, ref=code, channel=row, part=conn)
        else:
            raise _Malformed(f"expected a message of {channel.stream}, was {str(kind)[:100]!r}")

    def _book(self, message: dict[str, Any], row: int, seq: int, recv_ns: int, rows: Rows) -> None:
        first = rows.stop
        exch_ns = _time_ns(message.get("ms"))
        self._put(rows, seq, recv_ns, Kind.RESET, channel=row, flags=Flag.SNAPSHOT)
        for name, side in (("bids", 1), ("asks", -1)):
            levels = message.get(name)
            if not isinstance(levels, list) or len(levels) > MAX_LEVELS:
                raise _Malformed(f"expected at most {MAX_LEVELS} {name}, was {str(levels)[:100]}")
            for level in levels:
                if not isinstance(level, list) or len(level) != 2:
                    raise _Malformed(f"expected a price and a size, was {str(level)[:100]}")
                at = rows.stop
                self._put(rows, seq, recv_ns, Kind.SET, channel=row, flags=Flag.SNAPSHOT, side=side)
                _fill(rows.array[at], level[0], level[1])
        written = rows.array[first : rows.stop]
        written["exch_ns"] = exch_ns
        written["part"] = np.arange(rows.stop - first)
        rows.array[rows.stop - 1]["flags"] |= int(Flag.LAST)
        self.counters["book_snapshots"] += 1

    def _trades(self, message: dict[str, Any], row: int, seq: int, recv_ns: int, rows: Rows) -> None:
        trades = message.get("trades")
        if not isinstance(trades, list) or len(trades) > MAX_TRADES:
            raise _Malformed(f"expected at most {MAX_TRADES} trades, was {str(trades)[:100]}")
        for part, trade in enumerate(trades):
            if not isinstance(trade, list) or len(trade) != 5 or not isinstance(trade[0], str):
                raise _Malformed(f"expected id, time, price, size and side, was {str(trade)[:100]}")
            if not isinstance(trade[4], str) or trade[4] not in _SIDES:
                raise _Malformed(f"expected buy, sell or nothing, was {str(trade[4])[:100]}")
            at = rows.stop
            self._put(rows, seq, recv_ns, Kind.TRADE, channel=row, ref=trade_ref(trade[0]), side=_SIDES[trade[4]])
            event = rows.array[at]
            event["part"] = part
            event["exch_ns"] = _time_ns(trade[1])
            _fill(event, trade[2], trade[3])
            if event["size"] == 0:
                raise _Malformed("expected a trade of a size above 0, was 0")
        if trades:
            rows.array[rows.stop - 1]["flags"] |= int(Flag.LAST)
        self.counters["trades"] += len(trades)

    def _quarantine(self, reason: str, frame: bytes, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Keep the bytes, unprove every book of the connection: what the frame said is lost."""
        self.counters["quarantined"] += 1
        waiting = self.side_rows["quarantine"]
        if len(waiting) < MAX_SIDE_ROWS:
            waiting.append({"seq": seq, "recv_ns": recv_ns, "conn": conn, "reason": reason, "bytes": frame})
        for row in self._live[conn]:
            self._put(rows, seq, recv_ns, Kind.GAP, channel=row)
        self._put(rows, seq, recv_ns, Kind.CONTROL, ref=Control.QUARANTINED, size=len(frame), part=conn)

    @staticmethod
    def _put(
        rows: Rows,
        seq: int,
        recv_ns: int,
        kind: Kind,
        *,
        channel: int = -1,
        ref: int = 0,
        price: int = 0,
        size: int = 0,
        part: int = 0,
        flags: Flag | None = None,
        side: int = 0,
    ) -> None:
        """Append a row; one of no larger message is LAST."""
        if flags is None:
            flags = Flag(0) if kind == Kind.TRADE else Flag.LAST
        rows.array[rows.stop] = (seq, recv_ns, 0, price, size, ref, channel, part, 0, 0, int(kind), side, int(flags))
        rows.stop += 1


def trade_ref(text: str) -> int:
    """A trade's id as a number: itself where it is one of 18 digits or less, else 62 bits of its hash."""
    if text.isascii() and text.isdigit() and len(text) <= 18 and (text == "0" or text[0] != "0"):
        return int(text)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2


def _time_ns(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_MS:
        raise _Malformed(f"expected a time in milliseconds, was {str(value)[:100]}")
    return value * _MS


def _fill(event: np.void, price: Any, size: Any) -> None:
    """Fill price and size of a row; a number of more digits than it holds makes the row INEXACT."""
    exact = True
    for name, text in (("price", price), ("size", size)):
        whole, _, fraction = text.partition(".") if isinstance(text, str) else ("", "", "")
        digits = whole + fraction
        if not (digits.isascii() and digits.isdigit() and whole):
            raise _Malformed(f"expected a {name} as decimal text, was {str(text)[:100]}")
        value = int(digits[:64])
        exact &= len(digits) <= 64 and value < 10**MAX_DIGITS and len(fraction) <= MAX_SCALE
        exact &= name == "size" or value < PRICE_LIMIT
        if name == "price" and value == 0:
            raise _Malformed("expected a price above 0, was 0")
        event[name] = value if exact else 0
        event[f"{name}_scale"] = len(fraction) if exact else 0
    if not exact:
        event["flags"] |= int(Flag.INEXACT)
