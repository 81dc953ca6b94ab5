"""Feeds frames to the Bitfinex decoder and its rows to books: what the tests of both share."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
from data_controller.exchanges.protocols import Rows
from data_controller.market import core
from data_controller.market.books import Books
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Tables
from data_controller.records import Batch
from data_controller.records import Kind as RecordKind

DATA = Path(__file__).parents[4] / "shared" / "data" / "raw_ws" / "bitfinex"
CAPTURE = DATA / "cryptofeed_2021-04-05" / "BITFINEX-58bafb.0.gz"
ORDERS = DATA / "nautilus_R0_2021-03" / "L3_feed.json.gz"
VECTORS = DATA / "checksum_vectors"
T0 = 1_700_000_000_000_000_000
MS = 1_000_000


def batch(frames: Sequence[bytes], times: Sequence[int] | None = None, first_seq: int = 1, conn: int = 0) -> Batch:
    """A batch of FRAME records, a millisecond apart where `times` says nothing."""
    n = len(frames)
    offsets = np.zeros(n + 1, np.int32)
    offsets[1:] = np.cumsum([len(f) for f in frames])
    recv_ns = np.array(times if times is not None else [T0 + k * MS for k in range(n)], np.int64)
    data = np.frombuffer(b"".join(frames), np.uint8).copy()
    return Batch(
        first_seq, recv_ns, np.full(n, int(RecordKind.FRAME), np.uint8), np.full(n, conn, np.int32), offsets, data
    )


def text(message: Any) -> bytes:
    """`message` as the venue writes it, without spaces; bytes and str go through as they are."""
    if isinstance(message, bytes):
        return message
    return message.encode() if isinstance(message, str) else json.dumps(message, separators=(",", ":")).encode()


class Session:
    """A decoder and its books; every row that came out is kept in `rows`, with the code it had in `codes`."""

    def __init__(self, opened: bool = True) -> None:
        self.tables = Tables()
        self.decoder = BitfinexDecoder(self.tables)
        self.books = Books(self.tables)
        self.last_recv_ns = np.zeros(8, np.int64)
        self.buffer = Rows()
        self.rows: list[np.void] = []
        self.codes: list[int] = []
        self.seq = 1
        self.now_ns = T0
        if opened:
            self.open()

    def open(self, conn: int = 0) -> None:
        """Open slot `conn`."""
        self.decoder.opened(conn, self.seq, self.now_ns, self.buffer)
        self.seq += 1
        self._apply()

    def close(self, conn: int = 0) -> None:
        """Close slot `conn`."""
        self.decoder.closed(conn, self.seq, self.now_ns, self.buffer)
        self.seq += 1
        self._apply()

    def feed(self, *messages: Any, conn: int = 0, size: int = 1 << 20, times: Sequence[int] | None = None) -> list[Any]:
        """Decode and apply messages (bytes, text, or JSON values) in batches of `size`; returns their rows."""
        frames = [text(m) for m in messages]
        before = len(self.rows)
        for lo in range(0, len(frames), size):
            part = frames[lo : lo + size]
            stamps = times[lo : lo + size] if times else [self.now_ns + (k + 1) * MS for k in range(len(part))]
            whole = batch(part, stamps, self.seq, conn)
            at = 0
            while at < len(part):
                at = self.decoder.decode(whole, at, len(part), self.buffer, self.last_recv_ns)
                self._apply()
            self.seq += len(part)
            self.now_ns = int(stamps[-1])
        return self.rows[before:]

    def _apply(self) -> None:
        self.books.ensure(self.tables)
        own = self.books
        for r in range(self.buffer.stop):
            self.codes.append(core.apply_row(self.buffer.array, r, own.books, own.levels, own.index, own.scratch))
        self.rows.extend(self.buffer.array[: self.buffer.stop].copy())
        self.buffer.stop = 0

    def proof(self, row: int = 0) -> Proof:
        """Proof of book `row`."""
        return Proof(self.books.books[row]["proof"])

    def sides(self, row: int = 0) -> tuple[dict[str, str], dict[str, str]]:
        """Bids and asks of a book as price (or order id) -> size, in the book's order."""
        out = []
        for side in (+1, -1):
            levels = self.books.side(row, side)
            key = "ref" if self.books.books[row]["depth"] == 3 else "price"
            out.append(
                {f"{level[key]:g}" if key == "price" else str(level[key]): f"{level['size']:g}" for level in levels}
            )
        return out[0], out[1]


def kinds(rows: Iterable[Any]) -> list[str]:
    """Rows as short words: SET, CONTROL.SUBSCRIBED, ..."""
    return [
        f"CONTROL.{Control(row['ref']).name}" if row["kind"] == Kind.CONTROL else str(Kind(row["kind"]).name)
        for row in rows
    ]


def flags(row: Any) -> Flag:
    """Flags of a row."""
    return Flag(int(row["flags"]))


def conf(bits: int) -> dict[str, Any]:
    """An accepted conf."""
    return {"event": "conf", "status": "OK", "flags": bits}


def subscribed(chan: int, channel: str = "book", symbol: str = "tBTCUSD", **more: Any) -> dict[str, Any]:
    """An acknowledgement; a book is P0, F0, 25 where nothing else is said."""
    book = {"prec": "P0", "freq": "F0", "len": "25"} if channel == "book" else {}
    return {"event": "subscribed", "channel": channel, "chanId": chan, "symbol": symbol, **book, **more}


def captured() -> tuple[list[bytes], list[int]]:
    """Frames and arrival times of the recorded P0 session."""
    frames, times = [], []
    with gzip.open(CAPTURE, "rt") as lines:
        for line in lines:
            head, _, frame = line.rstrip("\n").partition(": ")
            if head[0].isdigit() and " " not in head:
                frames.append(frame.encode())
                times.append(round(float(head) * 1e9))
    return frames, times
