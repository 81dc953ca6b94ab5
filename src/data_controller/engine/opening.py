"""What decoding may begin with in the middle of a run, whatever program kept it: START, and what connections serve."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.market.rows import Control
from data_controller.market.rows import Kind as RowKind
from data_controller.records import NO_CONNECTION, Batch, Kind, Start

VERSION = 1

_OF_THE_CONNECTION = (
    int(Control.INFO),
    int(Control.CONFIGURED),
    int(Control.RESTART),
    int(Control.MAINTENANCE_START),
    int(Control.MAINTENANCE_END),
)
_ENDS, _GOES_ON, _HOLDS = range(3)
_ALL = -1 << 30  # about the connection itself; sorts before all else that is told of a record

Record = tuple[int, int, bytes]
"""Kind, connection and payload."""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stood behind one record, without its books: those begin with their next snapshot."""

    version: int = VERSION
    start: Start  # with the config, instruments and channels of that moment
    last_seq: int
    last_recv_ns: int
    records: list[Record]  # of the connections that were open: OPENED, what settled them and their channels, the last

    def whole(self) -> Batch:
        """All of it as records that end where it was kept."""
        records = [(int(Kind.START), NO_CONNECTION, msgspec.json.encode(self.start)), *self.records]
        return _batch(records, self.last_seq - len(records) + 1, self.last_recv_ns)

    def start_only(self, seq: int, recv_ns: int) -> Batch:
        """Its START alone, as record `seq`: for another place of the run, where other connections were open."""
        return _batch([(int(Kind.START), NO_CONNECTION, msgspec.json.encode(self.start))], seq, recv_ns)


def _batch(records: list[Record], first_seq: int, recv_ns: int) -> Batch:
    kinds, conns, payloads = zip(*records, strict=True)
    return Batch(
        first_seq,
        np.full(len(records), recv_ns, np.int64),
        np.array(kinds, np.uint8),
        np.array(conns, np.int32),
        np.cumsum([0, *map(len, payloads)]).astype(np.int32),
        np.frombuffer(b"".join(payloads), np.uint8).copy(),
    )


class Served:
    """Follows which records the open connections rest on: of each its OPENED, its settings, one a channel, its last."""

    def __init__(self) -> None:
        self._opened: dict[int, tuple[int, bytes]] = {}  # connection -> its OPENED: number, payload
        self._acks: dict[int, dict[int, tuple[int, bytes]]] = {}  # connection -> channel row, or -Control -> the same
        self._last: dict[int, tuple[int, bytes]] = {}  # connection -> its last frame, from which numbers are counted on
        self._told: list[tuple[int, int, int]] = []  # number, channel row or -Control, what becomes of it

    def note_rows(self, rows: NDArray[np.void]) -> None:
        """Rows that were applied, in order; `note` follows with their records."""
        control = rows["kind"] == RowKind.CONTROL
        where = np.flatnonzero(control)  # few of all rows
        codes = rows["ref"][where]
        told = np.isin(codes, (Control.SUBSCRIBED, Control.UNSUBSCRIBED)) & (rows["channel"][where] >= 0)
        for at in where[told | np.isin(codes, _OF_THE_CONNECTION)].tolist():
            seq = rows["seq"][at]
            lo, hi = np.searchsorted(rows["seq"], (seq, seq + 1))
            code = int(rows["ref"][at])
            if code == Control.UNSUBSCRIBED and rows["size"][at]:
                continue  # another id serves the channel by now
            about = -code if code in _OF_THE_CONNECTION else int(rows["channel"][at])
            # Data that came with it would be old by then; where data acknowledges, the next data does so too.
            alone = bool(control[lo:hi].all())
            what = _ENDS if code == Control.UNSUBSCRIBED else _HOLDS if alone else _GOES_ON
            self._told.append((int(seq), about, what))

    def note(self, batch: Batch, lo: int, hi: int) -> None:
        """Records `lo..hi` of `batch` were consumed, and their rows noted."""
        if batch.kind[lo] == Kind.START:
            self._opened.clear()
            self._acks.clear()
            self._last.clear()
        ends = (batch.kind[lo:hi] == Kind.OPENED) | (batch.kind[lo:hi] == Kind.CLOSED)
        told = [(batch.first_seq + at, _ALL, _ENDS) for at in (np.flatnonzero(ends) + lo).tolist()]
        for seq, about, what in sorted([*told, *self._told]):
            at = seq - batch.first_seq
            if not lo <= at < hi:
                continue
            conn = batch.conns[at]
            if about == _ALL:
                self._opened.pop(conn, None)
                self._acks.pop(conn, None)
                self._last.pop(conn, None)
                if batch.kind[at] == Kind.OPENED:
                    self._opened[conn] = seq, batch.payload(at)
                continue
            for other, acks in self._acks.items():
                if what == _ENDS if other == conn else about >= 0 and what != _ENDS:
                    acks.pop(about, None)
            if what == _HOLDS and batch.kind[at] == Kind.FRAME and conn in self._opened:
                self._acks.setdefault(conn, {})[about] = seq, batch.payload(at)
        self._told.clear()
        frames = batch.kind[lo:hi] == Kind.FRAME
        for conn, (opened, _) in self._opened.items():
            own = np.flatnonzero(frames & (batch.conn[lo:hi] == conn))
            if len(own) and batch.first_seq + lo + int(own[-1]) > opened:
                at = lo + int(own[-1])
                self._last[conn] = batch.first_seq + at, batch.payload(at)

    def records(self) -> list[Record]:
        """What an opening has of them, in their order."""
        found: dict[int, Record] = {}
        for conn, (seq, payload) in self._opened.items():
            found[seq] = int(Kind.OPENED), conn, payload
        for conn, acks in self._acks.items():
            for seq, payload in acks.values():
                found[seq] = int(Kind.FRAME), conn, payload
        for conn, (seq, payload) in self._last.items():
            found[seq] = int(Kind.FRAME), conn, payload
        return [found[seq] for seq in sorted(found)]


def encode(opening: Opening) -> bytes:
    """The content of its file."""
    return msgspec.json.encode(opening)


def decode(content: bytes) -> Opening:
    """The opening in a file's content; raises ValueError where it is none, or a newer release's."""
    opening = msgspec.json.decode(content, type=Opening)
    if opening.version > VERSION:
        raise ValueError(f"expected an opening of version {VERSION} or older, was {opening.version}")
    return opening
