"""Bitfinex v2 frames to event rows: compiled for data, msgspec for envelopes, quarantine for what is neither."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.bitfinex import _scanner as scanner
from data_controller.exchanges.bitfinex import _state as state
from data_controller.exchanges.bitfinex import status as statuses
from data_controller.exchanges.bitfinex.requests import BY_PERIOD, LIQUIDATIONS
from data_controller.exchanges.protocols import RecordBatch, Rows
from data_controller.exchanges.rings import Rings
from data_controller.exchanges.streaming.decoder import decimal_of
from data_controller.kernels import machine_code
from data_controller.market.layout import BrokenBy, ChecksumRule
from data_controller.market.rows import RULE_SHIFT, Control, Kind, Promise
from data_controller.market.tables import Channel, Stream, Tables

VENUE = "bitfinex"
MAX_CHANNELS = 4096
"""Rows of the channel table that acknowledgements may grow it to; channels beyond are unknown ones."""
MAX_SIDE_ROWS = 1 << 16
"""Rows a side table holds until it is drained; later ones are dropped and counted."""
MAX_CONNECTIONS = 1 << 12

_INFO = {20051: Control.RESTART, 20060: Control.MAINTENANCE_START, 20061: Control.MAINTENANCE_END}
_SEQUENCED, _CHECKSUMMED = int(Promise.SEQUENCED), int(Promise.CHECKSUMMED)
_CHECKSUM_LENGTH = 25
_TICKER = ("bid", "bid_size", "ask", "ask_size", "change", "change_relative", "last", "volume", "high", "low")
_CANDLE = ("mts", "open", "close", "high", "low", "volume")
_STREAMS = {
    "trades": state.TRADES,
    "ticker": state.TICKER,
    "candles": state.CANDLES,
    "derivative": state.DERIVATIVE,
    "liquidations": state.LIQUIDATIONS,
}
_BAD = {
    scanner.BAD_ABSURD: "expected a price above 0, a size with a side and numbers below 1e18, was otherwise",
    scanner.BAD_LONG: f"expected a frame of at most {scanner.MAX_FRAME_BYTES} bytes, was longer",
    scanner.BAD_ROWS: "expected at most as many entries as the row buffer holds, was more",
}


class BitfinexDecoder:
    """Decoder (see exchanges.protocols) of Bitfinex's v2 WebSocket; a function of received bytes in their order.

    `side_rows` has the tables ticker, candles, derivative and quarantine. `wire_seq[i]` is the venue's sequence number
    of record `i` of the last batch, 0 where it had none.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.side_rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("ticker", "candles", "derivative", "quarantine")
        }
        self.side_rows_dropped = 0
        self.wire_seq: NDArray[np.int64] = np.zeros(4096, np.int64)
        self._conns: NDArray[np.void] = np.zeros(0, state.CONN)
        self._cells: NDArray[np.void] = np.zeros(0, state.CELL)
        self._rings = Rings()
        self._counts: NDArray[np.int64] = np.zeros(len(state.COUNTERS), np.int64)
        self._serving: dict[int, int] = {}  # channel row -> the cell whose data feeds it
        self._scan = scanner.scan

    @property
    def counters(self) -> dict[str, int]:
        """Monotone counts by name."""
        counts: dict[str, int] = dict(zip(state.COUNTERS, self._counts.tolist(), strict=True))
        counts["side_rows_dropped"] = self.side_rows_dropped
        return counts

    @property
    def heard_ns(self) -> NDArray[np.int64]:
        """[channels] Arrival of each live channel's last frame, heartbeats included; 0 where nothing serves it."""
        heard_ns = np.zeros(len(self.tables.channels), np.int64)
        state.last_heard(self._cells, heard_ns)
        return heard_ns

    def opened(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Take slot `conn` as a fresh connection; appends CONTROL OPENED."""
        if not 0 <= conn < MAX_CONNECTIONS:
            raise ValueError(f"expected a connection slot of 0 to {MAX_CONNECTIONS - 1}, was {conn}")
        _need_room(rows)
        if conn >= len(self._conns):
            more = conn + 1 - len(self._conns)
            self._conns = np.concatenate([self._conns, np.zeros(more, state.CONN)])
            self._cells = np.concatenate([self._cells, np.zeros(more * state.CELLS, state.CELL)])
        self._forget(conn)
        self._conns[conn]["open"] = 1
        self._control(rows, seq, recv_ns, conn, Control.OPENED)

    def closed(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Append GAP rows (cause CLOSED) for the live channels of slot `conn`, then CONTROL CLOSED."""
        if not 0 <= conn < len(self._conns) or not self._conns[conn]["open"]:
            return
        _need_room(rows)
        self._gaps(rows, seq, recv_ns, conn, BrokenBy.CLOSED)
        self._forget(conn)
        self._control(rows, seq, recv_ns, conn, Control.CLOSED)

    def fetched(
        self, conn: int, request: str, status: int, body: bytes, seq: int, recv_ns: int, rows: Rows, asked_ns: int = 0
    ) -> Iterator[None]:
        """Nothing: Bitfinex's stream brings its own snapshots."""
        return iter(())

    def decode(self, batch: RecordBatch, lo: int, hi: int, rows: Rows, last_recv_ns: NDArray[np.int64]) -> int:
        """As exchanges.protocols.Decoder.decode; `rows.array` must have room for `_state.RESERVE` rows or more."""
        if len(self.wire_seq) < hi:
            grown = np.zeros(max(hi, 2 * len(self.wire_seq)), np.int64)
            grown[: len(self.wire_seq)] = self.wire_seq
            self.wire_seq = grown
        i = lo
        while True:
            packed: int = self._scan(
                batch.first_seq,
                i,
                hi,
                batch.kind,
                batch.conn,
                batch.recv_ns,
                batch.offsets,
                batch.data,
                rows.array,
                rows.stop,
                last_recv_ns,
                self.wire_seq,
                self._conns,
                self._cells,
                self._rings.array,
                self._counts,
            )
            if self._scan is scanner.scan:
                self._scan = machine_code(scanner.scan)
            i, rows.stop, status = packed >> 40, packed >> 8 & 0xFFFFFFFF, packed & 0xFF
            if status <= scanner.FULL:
                if status == scanner.FULL and rows.stop == 0:
                    _need_room(rows)
                return i
            self._unusual(status, batch, i, rows)
            i += 1

    def _unusual(self, status: int, batch: RecordBatch, i: int, rows: Rows) -> None:
        """Deal with record `i`, which the scanner handed back."""
        conn, recv_ns, seq = batch.conn.item(i), batch.recv_ns.item(i), batch.first_seq + i
        frame = batch.data[batch.offsets.item(i) : batch.offsets.item(i + 1)].tobytes()
        if status != scanner.SIDE:
            self._counts[state.C_FRAMES] += 1
        reason = _BAD.get(status)
        if reason is None:
            try:
                message = msgspec.json.decode(frame)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                reason = f"expected JSON, was not: {error}" if frame else "expected JSON, was an empty frame"
            else:
                reason = self._message(status, message, frame, conn, seq, recv_ns, rows)
        if reason is not None:
            if status != scanner.SIDE:
                self._conns["forgiven"][conn] += 1
            self._quarantine(reason, frame, conn, seq, recv_ns, rows)

    def _message(
        self, status: int, message: Any, frame: bytes, conn: int, seq: int, recv_ns: int, rows: Rows
    ) -> str | None:
        """Read a decoded message; the reason where it is outside the protocol."""
        if status == scanner.ENVELOPE:
            return self._envelope(message, conn, seq, recv_ns, rows)
        if status == scanner.SIDE:
            return self._side(message, frame, conn, seq, recv_ns, rows)
        return "expected a list of channel id and payload in the protocol's shape, was other JSON"

    def _envelope(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict) or not isinstance(message.get("event"), str):
            return "expected an object with an `event`, was without"
        self._counts[state.C_ENVELOPES] += 1
        event = message["event"]
        if event == "subscribed":
            return self._subscribed(message, conn, seq, recv_ns, rows)
        if event == "unsubscribed":
            return self._unsubscribed(message, conn, seq, recv_ns, rows)
        if event == "conf":
            return self._configured(message, conn, seq, recv_ns, rows)
        if event == "info":
            code, version = _integer(message.get("code", 0)), _integer(message.get("version", 0))
            if code is None or version is None:
                return "expected integers as code and version, was otherwise"
            self._info(code, version, message.get("platform"), conn, seq, recv_ns, rows)
        elif event == "error":
            code = _integer(message.get("code", 0))
            if code is None:
                return "expected an integer as code, was otherwise"
            channel = _channel(message)
            known = self.tables.channels.index(channel) if channel in self.tables.channels else -1
            self._control(rows, seq, recv_ns, conn, Control.ERROR, channel=known, price=code)
        elif event == "pong":
            self._control(rows, seq, recv_ns, conn, Control.PONG, price=_integer(message.get("cid", 0)) or 0)
        else:
            self._counts[state.C_UNKNOWN_EVENTS] += 1
        return None

    def _info(self, code: int, version: int, platform: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """A restart, a maintenance or its end breaks every book; else a greeting, which may tell of a maintenance."""
        control = _INFO.get(code, Control.INFO)
        if control is not Control.INFO:
            # What changes in a pause may never be sent, and a trade heard in it proves nothing about the others.
            self._gaps(rows, seq, recv_ns, conn, BrokenBy.MAINTENANCE)
        if control in (Control.MAINTENANCE_START, Control.MAINTENANCE_END):
            self._conns[conn]["paused"] = control is Control.MAINTENANCE_START
        self._control(rows, seq, recv_ns, conn, control, price=version, size=code)
        if control is Control.INFO and isinstance(platform, dict) and platform.get("status") == 0:
            self._conns[conn]["paused"] = 1
            self._control(rows, seq, recv_ns, conn, Control.MAINTENANCE_START, price=version)

    def _configured(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        flags = _integer(message.get("flags", 0))
        if flags is None or flags < 0:
            return "expected flags of 0 or more, was otherwise"
        if message.get("status") != "OK":
            self._control(rows, seq, recv_ns, conn, Control.CONFIGURED, size=-1)
            return None
        slot = self._conns[conn]
        if flags & state.SEQ_ALL and not slot["flags"] & state.SEQ_ALL:
            slot["last_seq"] = 0
        slot["flags"] = flags
        self._control(rows, seq, recv_ns, conn, Control.CONFIGURED, size=flags)
        return None

    def _subscribed(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        chan = _integer(message.get("chanId"))
        if chan is None or chan < 0:
            return "expected a chanId of 0 or more, was otherwise"
        channel = _channel(message)
        row = self._row(channel) if channel is not None and self._conns[conn]["live"] < state.MAX_LIVE else None
        if channel is None or row is None:
            self._counts[state.C_UNKNOWN_CHANNEL] += 1
            self._control(rows, seq, recv_ns, conn, Control.UNKNOWN_CHANNEL, price=chan)
            return None
        self._retire(self._serving.get(row))
        at = self._cell(conn, chan)
        self._retire(at)
        cell = self._cells[at]
        cell["chan"], cell["row"], cell["state"] = chan, row, state.LIVE
        # A snapshot that comes in maintenance may be old at once: its book stays empty until it is subscribed anew.
        cell["ready"] = self._conns[conn]["paused"]
        cell["stream"], cell["heard_ns"] = _stream(channel), recv_ns
        cell["funding"] = channel.symbol.startswith("f")
        cell["ring"] = self._rings.of(row) if channel.stream == "trades" else 0
        self._conns[conn]["live"] += 1
        self._conns[conn]["forgiven"] = 0  # a message lost from here on may be this channel's snapshot
        self._serving[row] = at
        flags = int(self._conns[conn]["flags"])
        promise = 0
        if flags & state.SEQ_ALL:
            promise |= _SEQUENCED
        # How checksums order offers of one rate is said nowhere: a funding book is proved by its sequence alone.
        if channel.stream == "book" and channel.length >= _CHECKSUM_LENGTH and not channel.symbol.startswith("f"):
            rule = ChecksumRule.BITFINEX_ORDERS if channel.precision == "R0" else ChecksumRule.BITFINEX_PRICES
            promise |= rule << RULE_SHIFT
            if flags & state.OB_CHECKSUM:
                promise |= _CHECKSUMMED
        self._control(rows, seq, recv_ns, conn, Control.SUBSCRIBED, channel=row, price=chan, size=promise)
        return None

    def _unsubscribed(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        chan = _integer(message.get("chanId"))
        if chan is None or chan < 0:
            return "expected a chanId of 0 or more, was otherwise"
        if message.get("status", "OK") != "OK":
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=0, size=chan)
            return None
        at = int(state.find_channel(self._cells, conn, chan))
        cell = self._cells[at]
        if cell["state"] == state.FREE:
            self._counts[state.C_UNKNOWN_CHANNEL] += 1
            self._control(rows, seq, recv_ns, conn, Control.UNKNOWN_CHANNEL, price=chan)
            return None
        row = int(cell["row"])
        served = int(self._serving.get(row, at) != at)
        if cell["state"] == state.LIVE and cell["stream"] == state.TRADES:
            # Trades until the next subscription are never heard of; a book is emptied by UNSUBSCRIBED itself.
            state.write_row(rows.array, rows.stop, seq, recv_ns, int(Kind.GAP), row, 0, 0, int(BrokenBy.CLOSED))
            rows.stop += 1
        self._retire(at)
        self._control(rows, seq, recv_ns, conn, Control.UNSUBSCRIBED, channel=row, price=chan, size=served)
        return None

    def _side(self, message: Any, frame: bytes, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """A ticker, candles, a status, or data of a channel that no acknowledgement named."""
        chan, payload = message[0], message[1]
        cell = self._cells[int(state.find_channel(self._cells, conn, chan))]
        if cell["state"] != state.LIVE:
            self._counts[state.C_UNKNOWN_CHANNEL] += 1
            self._control(rows, seq, recv_ns, conn, Control.UNKNOWN_CHANNEL, price=chan)
            return None
        row = int(cell["row"])
        if cell["stream"] == state.TICKER:
            if not _finite(payload, len(_TICKER)):
                return f"expected a ticker of {len(_TICKER)} finite numbers, was otherwise"
            self._counts[state.C_TICKERS] += 1
            self._tell("ticker", seq, recv_ns, row, dict(zip(_TICKER, map(float, payload), strict=False)))
            return None
        if cell["stream"] in (state.DERIVATIVE, state.LIQUIDATIONS):
            return self._status(cell["stream"] == state.DERIVATIVE, frame, row, seq, recv_ns, rows)
        if not isinstance(payload, list):
            return "expected candles, was otherwise"
        candles = payload if not payload or isinstance(payload[0], list) else [payload]
        if not all(_finite(candle, len(_CANDLE)) for candle in candles):
            return f"expected candles of {len(_CANDLE)} finite numbers, was otherwise"
        self._counts[state.C_CANDLES] += len(candles)
        for candle in candles:
            values: dict[str, Any] = dict(zip(_CANDLE[1:], map(float, candle[1:]), strict=False))
            self._tell("candles", seq, recv_ns, row, {"mts": int(candle[0]), **values})
        return None

    def _status(self, of_one: bool, frame: bytes, row: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """The status of a perpetual, or liquidations of any instrument."""
        try:
            if of_one:
                events, values = statuses.derivative(frame)
                self._counts[state.C_DERIVATIVES] += 1
                self._tell("derivative", seq, recv_ns, row, values)
            else:
                events = statuses.liquidations(frame)
                self._counts[state.C_LIQUIDATIONS] += len(events)
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            return f"expected a status in the protocol's shape, was otherwise: {error!r}"
        for part, event in enumerate(events):
            own = self._row(Channel(VENUE, event.symbol, "liquidations")) if event.symbol else row
            written = rows.array[rows.stop]
            at = row if own is None else own
            state.write_row(rows.array, rows.stop, seq, recv_ns, int(event.kind), at, event.ref, 0, 0)
            digits, written["price_scale"], negative = decimal_of(event.price)
            written["price"] = -digits if negative else digits
            written["size"], written["size_scale"], _ = decimal_of(event.size)
            written["side"], written["exch_ns"], written["part"] = event.side, event.exch_ns, part
            rows.stop += 1
        return None

    def _tell(self, table: str, seq: int, recv_ns: int, row: int, values: dict[str, Any]) -> None:
        waiting = self.side_rows[table]
        if len(waiting) >= MAX_SIDE_ROWS:
            self.side_rows_dropped += 1
            return
        waiting.append({"seq": seq, "recv_ns": recv_ns, "channel": row, **values})

    def _quarantine(self, reason: str, frame: bytes, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Keep the bytes, unprove every book of the connection: what the frame said is lost."""
        self._counts[state.C_QUARANTINED] += 1
        waiting = self.side_rows["quarantine"]
        if len(waiting) < MAX_SIDE_ROWS:
            waiting.append({"seq": seq, "recv_ns": recv_ns, "conn": conn, "reason": reason, "bytes": frame})
        else:
            self.side_rows_dropped += 1
        self._gaps(rows, seq, recv_ns, conn, BrokenBy.GAP)
        self._control(rows, seq, recv_ns, conn, Control.QUARANTINED, size=len(frame))

    def _gaps(self, rows: Rows, seq: int, recv_ns: int, conn: int, cause: BrokenBy) -> None:
        # A snapshot still to come is not waited for where it may be lost, or old.
        bulk = cause is BrokenBy.MAINTENANCE or self._conns["flags"].item(conn) & scanner.BULK_UPDATES != 0
        by = 0 if cause is BrokenBy.GAP else int(cause)
        rows.stop = int(state.gap_rows(rows.array, rows.stop, seq, recv_ns, conn, 0, by, bulk, self._cells))

    def _control(
        self,
        rows: Rows,
        seq: int,
        recv_ns: int,
        conn: int,
        code: Control,
        *,
        channel: int = -1,
        price: int = 0,
        size: int = 0,
    ) -> None:
        state.write_control(rows.array, rows.stop, seq, recv_ns, conn, channel, int(code), price, int(size))
        rows.stop += 1

    def _row(self, channel: Channel) -> int | None:
        if len(self.tables.channels) >= MAX_CHANNELS and channel not in self.tables.channels:
            return None
        return self.tables.channel(channel)

    def _cell(self, conn: int, chan: int) -> int:
        """Cell for a channel id that is being subscribed; forgets retired ids when too many are kept."""
        at = int(state.find_channel(self._cells, conn, chan))
        own = slice(conn * state.CELLS, (conn + 1) * state.CELLS)
        if self._cells[at]["state"] != state.FREE or np.count_nonzero(self._cells["state"][own]) < state.MAX_USED:
            return at
        kept = self._cells[own][self._cells["state"][own] == state.LIVE].copy()
        self._cells[own] = np.zeros(state.CELLS, state.CELL)
        for cell in kept:
            to = int(state.find_channel(self._cells, conn, cell["chan"]))
            self._cells[to] = cell
            self._serving[int(cell["row"])] = to
        return int(state.find_channel(self._cells, conn, chan))

    def _retire(self, at: int | None) -> None:
        if at is None or self._cells["state"][at] != state.LIVE:
            return
        self._cells["state"][at] = state.RETIRED
        self._conns["live"][at // state.CELLS] -= 1
        row = self._cells["row"].item(at)
        if self._serving.get(row) == at:
            del self._serving[row]

    def _forget(self, conn: int) -> None:
        own = range(conn * state.CELLS, (conn + 1) * state.CELLS)
        self._serving = {row: at for row, at in self._serving.items() if at not in own}
        self._cells[own.start : own.stop] = np.zeros(state.CELLS, state.CELL)
        self._conns[conn] = np.zeros((), state.CONN)


def _need_room(rows: Rows) -> None:
    if len(rows.array) - rows.stop < state.RESERVE:
        raise ValueError(
            f"expected room for {state.RESERVE} rows, was {len(rows.array) - rows.stop}: apply the waiting ones first"
        )


def _integer(value: Any) -> int | None:
    """`value` where it is an integer of 63 bits."""
    return value if type(value) is int and abs(value) < 1 << 62 else None


def _finite(values: Any, count: int) -> bool:
    """True for a list of at least `count` finite numbers; None stands for no number and is not one."""
    return (
        isinstance(values, list)
        and len(values) >= count
        and all(type(v) in (int, float) and abs(v) < 1e18 and math.isfinite(v) for v in values[:count])
    )


def _stream(channel: Channel) -> int:
    if channel.stream == "book":
        return state.BOOK_ORDERS if channel.precision == "R0" else state.BOOK_PRICES
    return _STREAMS[channel.stream]


def _channel(message: dict[str, Any]) -> Channel | None:
    """The channel that an acknowledgement or error names; None where it is none of ours."""
    name, symbol = message.get("channel"), message.get("symbol")
    precision, frequency, length = "", "", 0
    stream: Stream
    if name == "candles":
        key = message.get("key")
        parts = key.split(":", 2) if isinstance(key, str) else []
        if len(parts) != 3 or parts[0] != "trade":
            return None
        stream, precision, symbol = "candles", parts[1], parts[2]
    elif name == "status":
        key = message.get("key")
        if key == "liq:global":
            return Channel(VENUE, LIQUIDATIONS, "liquidations")
        if not isinstance(key, str) or not key.startswith("deriv:"):
            return None
        stream, symbol = "derivative", key.removeprefix("deriv:")
    elif name == "book":
        stream = "book"
        precision, frequency = message.get("prec", "P0"), message.get("freq", "F0")
        length_text = str(message.get("len", "25"))
        if precision not in ("P0", "P1", "P2", "P3", "P4", "R0") or frequency not in ("F0", "F1"):
            return None
        if length_text not in ("1", "25", "100", "250"):
            return None
        length = int(length_text)
    elif name == "trades":
        stream = "trades"
    elif name == "ticker":
        stream = "ticker"
    else:
        return None
    if not isinstance(symbol, str) or not 2 <= len(symbol) <= 64 or len(precision) > 8:
        return None
    funding = symbol.startswith("f")
    if not symbol.startswith("t") and not (funding and stream in ("book", "trades")):
        return None
    if funding and stream == "book" and precision != "R0":
        precision += BY_PERIOD
    return Channel(VENUE, symbol, stream, precision, frequency, length)
