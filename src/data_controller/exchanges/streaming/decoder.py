"""The Python half of a decoder of named streams: what the compiled `scan` of a venue hands back, and connections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.protocols import RecordBatch, Rows
from data_controller.exchanges.rings import Rings
from data_controller.exchanges.streaming import scanning, state
from data_controller.exchanges.streaming.rows import put_plain
from data_controller.exchanges.streaming.snapshots import MAX_TOKENS
from data_controller.exchanges.streaming.tape import TOKEN
from data_controller.kernels import machine_code
from data_controller.market.layout import BrokenBy, ChecksumRule
from data_controller.market.rows import RULE_SHIFT, Control, Flag, Kind, Promise
from data_controller.market.tables import Channel, Tables

MAX_CHANNELS = 4096
"""Rows of the channel table that frames may grow it to; channels beyond are unknown ones."""
MAX_SIDE_ROWS = 1 << 16
"""Rows a side table holds until it is drained; later ones are dropped and counted."""
MAX_CONNECTIONS = 1 << 12
MOST_NEW = 64
"""Streams that one message may make known."""
FIRST_TOKENS = 1 << 12
"""Tokens of a frame's tape at first; MAX_TOKENS at most."""

_MOST = 5e18
"""Bound of the sum of a side row's values, times among them: none of them is beyond 64 bits then."""

AGAIN = "again"
"""What `_message` returns where the frame can be read now: its stream has become known."""

_BAD = {
    scanning.BAD_REFUSED: "expected the protocol's shape of this message, was other JSON",
    scanning.BAD_ABSURD: "expected prices above 0, sizes of 0 or more and numbers below 1e18, was otherwise",
    scanning.BAD_JSON: "expected JSON, was not",
    scanning.BAD_ROWS: "expected at most as many entries as the row buffer holds, was more",
    scanning.BAD_TOKENS: f"expected at most {MAX_TOKENS} values in a frame, was more",
}
_EXPONENT = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?[eE][-+]?\d{1,2}")
_CHANNEL_STREAMS = {"trades": state.TRADES, "quotes": state.QUOTES}

read_json = msgspec.json.Decoder(float_hook=str).decode
"""JSON as plain values, numbers with a point as their own text."""


class StreamDecoder:
    """Decoder (see exchanges.protocols) of a venue whose streams have names; a function of received bytes in order.

    A venue's class gives `venue`, its compiled `scan`, and `_message`. A stream is known by (connection, key): its cell
    is made by `_meet`, from an answer or from its first data. `side_rows` has the tables ticker, candles, derivative
    and quarantine.
    """

    venue: ClassVar[str]
    scan: ClassVar[Any]

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.side_rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("ticker", "candles", "derivative", "quarantine")
        }
        self.side_rows_dropped = 0
        self.wire_seq: NDArray[np.int64] = np.zeros(4096, np.int64)
        self._tape: NDArray[np.void] = np.zeros(FIRST_TOKENS, TOKEN)
        self._conns: NDArray[np.void] = np.zeros(0, state.CONN)
        self._cells: NDArray[np.void] = np.zeros(64, state.CELL)
        self._used = 0  # cells not FREE
        self._rings = Rings()
        self._counts: NDArray[np.int64] = np.zeros(len(state.COUNTERS), np.int64)
        self._serving: dict[int, tuple[int, int]] = {}  # channel row -> connection and key of the stream that feeds it
        self._also: tuple[Any, ...] = ()  # what a venue's scan is given behind the tape
        self._scan = type(self).scan
        self._find_stream = state.find_stream

    @property
    def counters(self) -> dict[str, int]:
        """Monotone counts by name."""
        counts: dict[str, int] = dict(zip(state.COUNTERS, self._counts.tolist(), strict=True))
        counts["side_rows_dropped"] = self.side_rows_dropped
        return counts

    @property
    def heard_ns(self) -> NDArray[np.int64]:
        """[channels] Arrival of each live channel's last frame; 0 where nothing serves it."""
        heard_ns = np.zeros(len(self.tables.channels), np.int64)
        state.last_heard(self._cells, heard_ns)
        return heard_ns

    def opened(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Take slot `conn` as a fresh connection; appends CONTROL OPENED."""
        if not 0 <= conn < MAX_CONNECTIONS:
            raise ValueError(f"expected a connection slot of 0 to {MAX_CONNECTIONS - 1}, was {conn}")
        _need_room(rows)
        if conn >= len(self._conns):
            self._conns = np.concatenate([self._conns, np.zeros(conn + 1 - len(self._conns), state.CONN)])
        self._forget(conn)
        self._conns[conn]["open"] = 1
        self._conns[conn]["last_seq"] = -1
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
        """Nothing, for a venue whose streams bring their own snapshots."""
        return iter(())

    def decode(self, batch: RecordBatch, lo: int, hi: int, rows: Rows, last_recv_ns: NDArray[np.int64]) -> int:
        """As exchanges.protocols.Decoder.decode; `rows.array` must have room for `scanning.RESERVE` rows or more."""
        if len(self.wire_seq) < hi:
            self.wire_seq = np.zeros(max(hi, 2 * len(self.wire_seq)), np.int64)
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
                self._conns,
                self._cells,
                self._rings.array,
                self._counts,
                self._tape,
                *self._also,
            )
            if self._scan is type(self).scan:
                self._scan = machine_code(self._scan)
            i, rows.stop, status = packed >> 40, packed >> 8 & 0xFFFFFFFF, packed & 0xFF
            if status <= scanning.FULL:
                if status == scanning.FULL and rows.stop == 0:
                    _need_room(rows)
                return i
            if status == scanning.BAD_TOKENS and len(self._tape) < MAX_TOKENS:
                self._tape = np.zeros(min(4 * len(self._tape), MAX_TOKENS), TOKEN)
                continue
            if self._unusual(status, batch, i, rows):
                i += 1

    def _unusual(self, status: int, batch: RecordBatch, i: int, rows: Rows) -> bool:
        """Deal with record `i`, which the scan handed back; False where it is to be scanned again."""
        conn, recv_ns, seq = batch.conn.item(i), batch.recv_ns.item(i), batch.first_seq + i
        if status == scanning.HOLD:
            self._counts[state.C_FRAMES] += 1
            self._hold(conn, seq, recv_ns, rows)
            return True
        frame = batch.data[batch.offsets.item(i) : batch.offsets.item(i + 1)].tobytes()
        reason, first = _BAD.get(status), rows.stop
        if reason is None:
            try:
                message = read_json(frame)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                reason = f"expected JSON, was not: {error}"
            else:
                try:
                    reason = self._message(message, conn, seq, recv_ns, rows)
                except (ValueError, OverflowError) as error:
                    reason = f"expected the protocol's values, was otherwise: {error}"
                if reason == AGAIN:
                    return False
        self._counts[state.C_FRAMES] += 1
        if reason is not None:
            if rows.room <= state.MAX_LIVE:  # a GAP of every book of the connection must find room
                rows.stop = first
            self._quarantine(reason, frame, conn, seq, recv_ns, rows)
        return True

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """Read a message that the scan handed back.

        Returns None where it is dealt with, AGAIN where its stream is known now and the scan can read it, else why it
        is outside the protocol.
        """
        raise NotImplementedError

    def _hold(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Keep the change that the scan left in `rows`; see `splice.SplicedDecoder`."""
        raise NotImplementedError

    # streams

    def _meet(
        self,
        conn: int,
        key: np.uint64,
        channel: Channel,
        seq: int,
        recv_ns: int,
        rows: Rows,
        *,
        promise: Promise = Promise(0),  # noqa: B008 - an immutable flag
        rule: ChecksumRule = ChecksumRule.NONE,
    ) -> bool:
        """Make stream `key` of `conn` known as `channel`'s and append its SUBSCRIBED row; False: it is one too many.

        A stream that was known begins anew, and another one that served the channel is retired.
        """
        if len(self._serving) >= state.MAX_LIVE or (
            len(self.tables.channels) >= MAX_CHANNELS and channel not in self.tables.channels
        ):
            self._unknown(conn, seq, recv_ns, rows)
            return False
        row = self.tables.channel(channel)
        self._retire(self._serving.get(row))
        if 2 * (self._used + 1) > len(self._cells):
            self._make_cells(-1)
        at = self._find(conn, key)
        cell = self._cells[at]
        if cell["key"] == 0:
            self._used += 1
        elif cell["state"] == state.LIVE and cell["row"] != row:
            self._serving.pop(int(cell["row"]), None)
        cell["key"], cell["conn"], cell["row"], cell["state"] = key, conn, row, state.LIVE
        if channel.stream == "book":
            cell["stream"] = state.ORDERS if channel.precision == "R0" else state.BOOK
        else:
            cell["stream"] = _CHANNEL_STREAMS.get(channel.stream, state.OTHER)
        cell["phase"], cell["last"], cell["heard_ns"], cell["spare"], cell["option"] = state.NEW, 0, recv_ns, 0, 0
        cell["ring"] = self._rings.of(row) if channel.stream == "trades" else 0
        self._serving[row] = (conn, int(key))
        size = int(promise) | int(rule) << RULE_SHIFT
        self._control(rows, seq, recv_ns, conn, Control.SUBSCRIBED, channel=row, size=size)
        return True

    def _part(self, conn: int, key: np.uint64, seq: int, recv_ns: int, rows: Rows) -> None:
        """The venue says that stream `key` is over: retire it and append its UNSUBSCRIBED row."""
        at = self._find(conn, key)
        cell = self._cells[at]
        if cell["key"] == 0:
            self._unknown(conn, seq, recv_ns, rows)
            return
        row = int(cell["row"])
        served = int(self._serving.get(row, (conn, int(key))) != (conn, int(key)))
        if cell["state"] == state.LIVE and cell["stream"] in (state.TRADES, state.QUOTES):
            # What is traded until the next subscription is never heard of; a book is emptied by UNSUBSCRIBED itself.
            rows.stop = put_plain(rows.array, rows.stop, seq, recv_ns, int(Kind.GAP), row, 0, 0, int(BrokenBy.CLOSED))
        self._retire((conn, int(key)))
        self._control(rows, seq, recv_ns, conn, Control.UNSUBSCRIBED, channel=row, size=served)

    def _find(self, conn: int, key: np.uint64) -> int:
        """Where the cell of stream `key` is, or would be."""
        at: int = self._find_stream(self._cells, conn, key)
        if self._find_stream is state.find_stream:
            self._find_stream = machine_code(state.find_stream)
        return at

    def _cell(self, conn: int, key: np.uint64) -> np.void | None:
        """The live cell of stream `key`, None where there is none."""
        cell: np.void = self._cells[self._find(conn, key)]
        return cell if cell["state"] == state.LIVE else None

    def _cell_of(self, channel: Channel) -> np.void | None:
        """The live cell that feeds `channel`, whatever its connection; None where there is none."""
        if channel not in self.tables.channels:
            return None
        served = self._serving.get(self.tables.channel(channel))
        return None if served is None else self._cell(served[0], np.uint64(served[1]))

    def _retire(self, stream: tuple[int, int] | None) -> None:
        if stream is None:
            return
        at = self._find(stream[0], np.uint64(stream[1]))
        if self._cells[at]["state"] == state.LIVE:
            self._cells[at]["state"] = state.RETIRED
            row = int(self._cells[at]["row"])
            if self._serving.get(row) == stream:
                del self._serving[row]

    def _forget(self, conn: int) -> None:
        """Drop every stream of `conn`."""
        self._serving = {row: stream for row, stream in self._serving.items() if stream[0] != conn}
        if np.any((self._cells["conn"] == conn) & (self._cells["key"] != 0)):
            self._make_cells(conn)
        self._conns[conn] = np.zeros((), state.CONN)

    def _make_cells(self, without: int) -> None:
        """Fresh cells, with room for as many again, without those of connection `without`."""
        kept = int(np.count_nonzero((self._cells["key"] != 0) & (self._cells["conn"] != without)))
        cells = np.zeros(max(64, 1 << (4 * kept + 3).bit_length()), state.CELL)
        state.enter_cells(self._cells, without, cells)
        self._cells, self._used = cells, kept

    # rows

    def _unknown(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        self._counts[state.C_UNKNOWN_CHANNEL] += 1
        self._control(rows, seq, recv_ns, conn, Control.UNKNOWN_CHANNEL)

    def _tell(self, table: str, counter: int, seq: int, recv_ns: int, row: int, values: dict[str, Any]) -> None:
        """Append a row to a side table."""
        self._tell_all(table, counter, [{"seq": seq, "recv_ns": recv_ns, "channel": row, **values}])

    def _tell_all(self, table: str, counter: int, told: list[dict[str, Any]]) -> None:
        """Append rows, which have their seq, recv_ns and channel, to a side table.

        Raises ValueError where a value is none that a column of 64 bits holds, or is no number.
        """
        for row in told:
            if not -_MOST < sum(row.values()) < _MOST:
                raise ValueError(f"expected finite numbers below 1e18, was {row}")
        self._counts[counter] += len(told)
        waiting = self.side_rows[table]
        room = MAX_SIDE_ROWS - len(waiting)
        self.side_rows_dropped += max(0, len(told) - room)
        waiting += told[: max(0, room)]

    def _event(
        self,
        rows: Rows,
        seq: int,
        recv_ns: int,
        kind: Kind,
        row: int,
        *,
        price: str | int = 0,
        size: str | int = 0,
        side: int = 0,
        ref: int = 0,
        exch_ns: int = 0,
    ) -> None:
        """Append a row that is its whole message: MARK, INDEX, FUNDING, LIQUIDATION; numbers as their own text."""
        if not rows.room:
            raise ValueError("expected at most as many entries as the row buffer holds, was more")
        event = rows.array[rows.stop]
        put_plain(rows.array, rows.stop, seq, recv_ns, int(kind), row, ref, 0, 0)
        price_digits, price_scale, negative = decimal_of(price)
        size_digits, size_scale, _ = decimal_of(size)
        event["price"], event["price_scale"] = -price_digits if negative else price_digits, price_scale
        event["size"], event["size_scale"] = size_digits, size_scale
        event["side"], event["exch_ns"], event["flags"] = side, exch_ns, Flag.LAST
        rows.stop += 1

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
        by = 0 if cause is BrokenBy.GAP else int(cause)
        rows.stop = int(state.gap_rows(rows.array, rows.stop, seq, recv_ns, conn, 0, by, self._cells))

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
        if not rows.room:
            raise ValueError("expected at most as many entries as the row buffer holds, was more")
        put_plain(rows.array, rows.stop, seq, recv_ns, int(Kind.CONTROL), channel, int(code), price, size)
        rows.array[rows.stop]["part"] = conn
        rows.stop += 1


def decimal_of(value: str | int) -> tuple[int, int, bool]:
    """(digits, scale, negative) of a number's own text; ValueError where it is none, or longer than 18 digits.

    An exponent is worked in: digits and scale are those of the number written out.
    """
    text = str(value)
    if "e" in text or "E" in text:
        text = _without_exponent(text)
    negative = text.startswith("-")
    mantissa, e, exponent = text.removeprefix("-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    power = exponent.removeprefix("-").removeprefix("+") if e else "0"
    if not (digits + power).isascii() or not digits.isdigit() or not power.isdigit() or len(power) > 3:
        raise ValueError(f"expected a decimal number, was {text!r}")
    scale = len(fraction) + (int(power) if exponent.startswith("-") else -int(power))
    number = int(digits) * 10 ** max(-scale, 0)
    if number >= 10**18 or scale > 22:
        raise ValueError(f"expected a decimal number of at most 18 digits, was {text!r}")
    return number, max(scale, 0), negative


def _without_exponent(text: str) -> str:
    if not _EXPONENT.fullmatch(text):
        raise ValueError(f"expected a number's own text with an exponent of two digits, was {text!r}")
    return format(Decimal(text), "f")


def _need_room(rows: Rows) -> None:
    if rows.room < scanning.RESERVE:
        raise ValueError(f"expected room for {scanning.RESERVE} rows, was {rows.room}: apply the waiting ones first")
