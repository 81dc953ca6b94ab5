"""Frames that a venue never sends, made from bytes that decide everything: shared by the decoder's fuzz targets."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
from data_controller.exchanges.protocols import Rows
from data_controller.market import core
from data_controller.market.books import Books
from data_controller.market.layout import Proof
from data_controller.market.rows import EVENT
from data_controller.market.tables import Tables
from data_controller.records import Batch
from data_controller.records import Kind as RecordKind

SEEDS: list[bytes] = [
    b'{"event":"info","version":2,"serverId":"a","platform":{"status":1}}',
    b'{"event":"conf","status":"OK","flags":65536}',
    b'{"event":"conf","status":"OK","flags":229376}',
    b'{"event":"conf","status":"OK","flags":0}',
    b'{"event":"subscribed","channel":"book","chanId":7,"symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"25"}',
    b'{"event":"subscribed","channel":"book","chanId":8,"symbol":"tBTCUSD","prec":"R0","freq":"F0","len":"100"}',
    b'{"event":"subscribed","channel":"trades","chanId":9,"symbol":"tBTCUSD","pair":"BTCUSD"}',
    b'{"event":"subscribed","channel":"ticker","chanId":3,"symbol":"tBTCUSD"}',
    b'{"event":"subscribed","channel":"candles","chanId":4,"key":"trade:1m:tBTCUSD"}',
    b'{"event":"unsubscribed","status":"OK","chanId":7}',
    b'{"event":"error","msg":"symbol: invalid","code":10300,"channel":"book","symbol":"tX","prec":"P0"}',
    b"[7,[[100,2,1.5],[99.5,1,2],[101,3,-0.25]],1]",
    b"[7,[100,0,1],2,1700000000000]",
    b"[7,[1.5e-7,3,-2000000.00000001],3]",
    b'[7,"cs",-1389113127,4]',
    b'[7,"hb",5]',
    b"[8,[[11,100,1],[12,100,2],[13,101,-1]],6]",
    b"[8,[11,0,1],7]",
    b"[8,[12,98.125,4],8]",
    b"[9,[[5,1699999999000,1,100],[4,1699999998000,-2.5,99]],9]",
    b'[9,"te",[6,1700000001000,-0.5,101.5],10]',
    b'[9,"tu",[6,1700000001000,-0.5,101.5],11]',
    b"[3,[99,1,101,2,-3,-0.03,100,5000,110,90],12]",
    b"[4,[[1700000000000,1,2,3,0.5,10]],13]",
    b"[4,[1700000000000,1,2,3,0.5,10],14]",
    b"[0,[]]",
    b"",
]
PIECES: list[bytes] = [
    b"[",
    b"]",
    b",",
    b'"',
    b"-",
    b"e",
    b".",
    b"9" * 20,
    b"NaN",
    b"null",
    b" ",
    b"\\",
    b"\xff",
    b"0",
    b"{}",
]
BYTES_SPACE = 1 << 16


class Guarded:
    """Bytes that end where readable memory ends: one byte read too far is a fault, not a guess."""

    def __init__(self) -> None:
        page = mmap.PAGESIZE
        self._map = mmap.mmap(-1, BYTES_SPACE + page)
        whole: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        protect(whole.ctypes.data + BYTES_SPACE, page)
        self._space = whole[:BYTES_SPACE]

    def put(self, data: bytes) -> NDArray[np.uint8]:
        """An array of `data` whose last byte is the last readable one."""
        view = self._space[BYTES_SPACE - len(data) :]
        view[:] = np.frombuffer(data, np.uint8)
        return view


def protect(address: int, length: int) -> None:
    """Make a page unreadable."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(length), 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


def frames_of(data: bytes) -> list[bytes]:
    """Turn arbitrary bytes into up to 24 frames: seeds, damaged seeds and plain garbage."""
    frames: list[bytes] = []
    p = 0

    def take() -> int:
        nonlocal p
        p += 1
        return data[p - 1] if p <= len(data) else 0

    while p < len(data) and len(frames) < 24:
        what = take()
        frame = bytearray(SEEDS[what % len(SEEDS)])
        for _ in range(what >> 6):
            at = take() * (len(frame) + 1) >> 8
            match take() % 5:
                case 0:
                    frame[at:at] = PIECES[take() % len(PIECES)]
                case 1:
                    del frame[at : at + 1 + take() % 8]
                case 2 if at < len(frame):
                    frame[at] ^= 1 << take() % 8
                case 3:
                    frame[at:at] = frame[: at % 16]
                case _:
                    length = take() % 32
                    frame[at:] = data[p : p + length]
                    p += length
        frames.append(bytes(frame))
    return frames


class Machine:
    """One decoder and its books over guarded memory; `run` must never raise."""

    def __init__(self) -> None:
        self._guarded = Guarded()
        self.reset()

    def reset(self) -> None:
        """Start again from nothing."""
        self.tables = Tables()
        self.decoder = BitfinexDecoder(self.tables)
        self.books = Books(self.tables)
        self.rows = Rows(1024)
        self._canary = np.zeros(1024 + 64, EVENT)
        self._canary.view(np.uint8)[:] = 0xA5
        self.rows.array = self._canary[32:-32]
        self.last_recv_ns = np.zeros(2, np.int64)
        self.seq = 1
        self.decoder.opened(0, 0, 1, self.rows)

    def run(self, frames: list[bytes], size: int = 64) -> int:
        """Decode and apply `frames`; returns rows made, raises AssertionError where an invariant is broken."""
        made = 0
        for lo in range(0, len(frames), size):
            part = frames[lo : lo + size]
            n = len(part)
            offsets = np.zeros(n + 1, np.int32)
            offsets[1:] = np.cumsum([len(f) for f in part])
            recv_ns = np.arange(self.seq, self.seq + n, dtype=np.int64)
            batch = Batch(
                self.seq,
                recv_ns,
                np.full(n, int(RecordKind.FRAME), np.uint8),
                np.zeros(n, np.int32),
                offsets,
                self._guarded.put(b"".join(part)),
            )
            at = 0
            while at < n:
                before = at
                at = self.decoder.decode(batch, at, n, self.rows, self.last_recv_ns)
                made += self._apply()
                assert at > before
            self.seq += n
        self._check()
        return made

    def _apply(self) -> int:
        stop = self.rows.stop
        own = self.books
        own.ensure(self.tables)
        for r in range(stop):
            core.apply_row(self.rows.array, r, own.books, own.levels, own.index, own.scratch)
        self.rows.stop = 0
        return stop

    def _check(self) -> None:
        assert (self._canary[:32].view(np.uint8) == 0xA5).all()
        assert (self._canary[-32:].view(np.uint8) == 0xA5).all()
        for row, book in enumerate(self.books.books):
            if book["depth"] == 0:
                continue
            assert book["proof"] in list(Proof)
            assert not book["usable"] or book["proof"] == Proof.PROVED
            for side in (1, -1):
                prices = self.books.side(row, side)["price"] * -side
                assert (np.diff(prices) >= 0).all()
                assert (self.books.side(row, side)["size"] > 0).all()
        assert len(self.decoder.side_rows["quarantine"]) <= self.decoder.counters["quarantined"]
