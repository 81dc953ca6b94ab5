"""Frames of packed rows to event rows: everything is checked, then copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.protocols import RecordBatch, Rows
from data_controller.exchanges.rows.frame import MAX_ROWS, Frame, unpack
from data_controller.market.layout import BrokenBy
from data_controller.market.rows import EVENT, Control, Flag, Kind, Promise
from data_controller.market.tables import Instrument, Tables

VENUE = "rows"
MAX_CHANNELS = 4096
MAX_SIDE_ROWS = 1 << 16
RESERVE = 2 * MAX_CHANNELS
"""Free rows a frame needs besides its own: a GAP for every channel, and controls."""

_FRAME = 4  # records.Kind.FRAME, which exchanges do not import
COUNTERS = (
    "frames",
    "trades",
    "book_snapshots",
    "book_updates",
    "quotes",
    "derivatives",
    "liquidations",
    "candles",
    "tickers",
    "duplicates",
    "sequence_gaps",
    "missing",
    "unknown_channel",
    "quarantined",
)


@dataclass(slots=True)
class _Served:
    """A channel that frames of a connection came on."""

    conn: int
    heard_ns: int
    number: int  # of its last frame, 0 none


class RowsDecoder:
    """Decoder (see exchanges.protocols) of frames of rows; a function of received bytes in their order.

    A channel is known from its first frame on. Its book is UNVERIFIABLE, or, where frames are numbered, PROVED by their
    sequence. `side_rows` has the tables ticker, candles, derivative and quarantine.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.side_rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("ticker", "candles", "derivative", "quarantine")
        }
        self.wire_seq: NDArray[np.int64] = np.zeros(4096, np.int64)
        self._counts = dict.fromkeys((*COUNTERS, "side_rows_dropped"), 0)
        self._open: set[int] = set()
        self._served: dict[int, _Served] = {}  # channel row -> who serves it

    @property
    def counters(self) -> dict[str, int]:
        """Monotone counts by name."""
        return dict(self._counts)

    @property
    def heard_ns(self) -> NDArray[np.int64]:
        """[channels] Arrival of each live channel's last frame; 0 where nothing serves it."""
        heard_ns = np.zeros(len(self.tables.channels), np.int64)
        for row, served in self._served.items():
            heard_ns[row] = served.heard_ns
        return heard_ns

    def opened(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Take slot `conn` as a fresh connection; appends CONTROL OPENED."""
        self._forget(conn)
        self._open.add(conn)
        self._control(rows, seq, recv_ns, conn, Control.OPENED)

    def closed(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Append GAP rows (cause CLOSED) for the live channels of slot `conn`, then CONTROL CLOSED."""
        if conn in self._open:
            self._gaps(rows, seq, recv_ns, conn, BrokenBy.CLOSED)
            self._forget(conn)
            self._control(rows, seq, recv_ns, conn, Control.CLOSED)

    def fetched(
        self, conn: int, request: str, status: int, body: bytes, seq: int, recv_ns: int, rows: Rows, asked_ns: int = 0
    ) -> Iterator[None]:
        """Nothing: rows bring their own snapshots."""
        return iter(())

    def decode(self, batch: RecordBatch, lo: int, hi: int, rows: Rows, last_recv_ns: NDArray[np.int64]) -> int:
        """As exchanges.protocols.Decoder.decode; a buffer holds at least MAX_ROWS rows and RESERVE."""
        if len(self.wire_seq) < hi:
            self.wire_seq = np.zeros(max(hi, 2 * len(self.wire_seq)), np.int64)
        self.wire_seq[lo:hi] = 0
        for i in range(lo, hi):
            conn = batch.conn.item(i)
            if batch.kind.item(i) != _FRAME or conn not in self._open:
                return i
            begin, end = batch.offsets.item(i), batch.offsets.item(i + 1)
            if rows.room < RESERVE + (end - begin) // EVENT.itemsize and rows.stop:
                return i
            recv_ns, seq = batch.recv_ns.item(i), batch.first_seq + i
            last_recv_ns[conn] = recv_ns
            self._counts["frames"] += 1
            frame = batch.data[begin:end].tobytes()
            try:
                found = unpack(frame)
                if len(found.rows) + RESERVE > rows.room:
                    raise ValueError(f"expected at most {min(MAX_ROWS, rows.room - RESERVE)} rows, was more")
            except ValueError as error:
                self._quarantine(str(error), frame, conn, seq, recv_ns, rows)
                continue
            self.wire_seq[i] = found.header.number
            self._take(found, conn, seq, recv_ns, rows)
        return hi

    def _take(self, frame: Frame, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        header = frame.header
        channel = header.channel
        if channel not in self.tables.channels and len(self.tables.channels) >= MAX_CHANNELS:
            self._counts["unknown_channel"] += 1
            self._control(rows, seq, recv_ns, conn, Control.UNKNOWN_CHANNEL)
            return
        self.tables.instrument(Instrument(header.venue, header.symbol, header.base, header.quote))
        row = self.tables.channel(channel)
        served = self._served.get(row)
        if served is None or served.conn != conn:
            served = self._served[row] = _Served(conn, recv_ns, 0)
            promise = Promise.SEQUENCED if header.number else Promise(0)
            self._control(rows, seq, recv_ns, conn, Control.SUBSCRIBED, channel=row, size=int(promise))
        served.heard_ns = recv_ns
        if header.number:
            if served.number and header.number <= served.number:
                self._counts["duplicates"] += 1
                self._control(rows, seq, recv_ns, conn, Control.DUPLICATE, channel=row, price=header.number)
                return
            missing = header.number - served.number - 1 if served.number else 0
            served.number = header.number
            if missing:
                self._counts["sequence_gaps"] += 1
                self._counts["missing"] += missing
                self._plain(rows, seq, recv_ns, Kind.GAP, row, ref=missing)
        if len(frame.rows):
            self._append(frame.rows, row, seq, recv_ns, rows)
        self._count(frame)
        for values in frame.table:
            self._tell(str(header.stream), {"seq": seq, "recv_ns": recv_ns, "channel": row, **values})

    def _append(self, new: NDArray[np.void], row: int, seq: int, recv_ns: int, rows: Rows) -> None:
        own = rows.array[rows.stop : rows.stop + len(new)]
        own.view(np.uint8)[:] = new.view(np.uint8)
        own["seq"], own["recv_ns"], own["channel"], own["part"] = seq, recv_ns, row, np.arange(len(new))
        rows.stop += len(new)

    def _count(self, frame: Frame) -> None:
        counts, stream, rows = self._counts, frame.header.stream, frame.rows
        if frame.table:
            counts[{"ticker": "tickers", "derivative": "derivatives"}.get(stream, stream)] += len(frame.table)
        elif stream == "book":
            resets = int(np.count_nonzero(rows["kind"] == Kind.RESET))
            counts["book_snapshots"] += resets
            counts["book_updates"] += int(np.count_nonzero(rows["flags"] & Flag.LAST)) - resets
        elif stream == "trades":
            counts["trades"] += int(np.count_nonzero(rows["kind"] == Kind.TRADE))
        else:
            counts[{"derivative": "derivatives"}.get(stream, stream)] += 1

    def _tell(self, table: str, values: dict[str, Any]) -> None:
        waiting = self.side_rows[table]
        if len(waiting) >= MAX_SIDE_ROWS:
            self._counts["side_rows_dropped"] += 1
        else:
            waiting.append(values)

    def _quarantine(self, reason: str, frame: bytes, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """Keep the bytes, unprove every book of the connection: what the frame said is lost."""
        self._counts["quarantined"] += 1
        self._tell("quarantine", {"seq": seq, "recv_ns": recv_ns, "conn": conn, "reason": reason, "bytes": frame})
        self._gaps(rows, seq, recv_ns, conn, BrokenBy.NOTHING)
        self._control(rows, seq, recv_ns, conn, Control.QUARANTINED, size=len(frame))

    def _gaps(self, rows: Rows, seq: int, recv_ns: int, conn: int, cause: BrokenBy) -> None:
        for row, served in self._served.items():
            if served.conn == conn:
                self._plain(rows, seq, recv_ns, Kind.GAP, row, size=int(cause))

    def _forget(self, conn: int) -> None:
        self._open.discard(conn)
        self._served = {row: served for row, served in self._served.items() if served.conn != conn}

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
        self._plain(rows, seq, recv_ns, Kind.CONTROL, channel, ref=int(code), price=price, size=size, part=conn)

    def _plain(
        self,
        rows: Rows,
        seq: int,
        recv_ns: int,
        kind: Kind,
        channel: int,
        *,
        ref: int = 0,
        price: int = 0,
        size: int = 0,
        part: int = 0,
    ) -> None:
        rows.array[rows.stop] = (
            seq, recv_ns, 0, price, size, ref, channel, part, 0, 0, int(kind), 0, int(Flag.LAST)
        )  # fmt: skip
        rows.stop += 1
