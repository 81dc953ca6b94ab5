"""Frames that a venue never sends, made from bytes that decide everything: shared by the decoder's fuzz targets."""

from __future__ import annotations

import ctypes
import mmap
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.bitfinex._state import C_QUARANTINED, COUNTERS
from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
from data_controller.exchanges.protocols import Rows
from data_controller.kernels import kernel
from data_controller.market.books import Books
from data_controller.market.core import BROKE, CONTROL, apply_row
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
MAX_BATCH = 64
CANARY = b"\xa5" * (32 * EVENT.itemsize)
FAULTS = (
    "nothing",
    "a proof that there is",
    "only a proved book to be usable",
    "as many entries as a side has room for",
    "sizes above 0",
    "prices from best to worst",
)

# Places of Machine.seen: what compiled code did, which tells a fuzzer what no branch of Python does.
_OUTCOMES = 0  # kind of a row (16) and what it did to its book (8)
_FLAGS = _OUTCOMES + 16 * 8
_CONTROLS = _FLAGS + 64
_CAUSES = _CONTROLS + 32
_COUNTS = _CAUSES + 16
PLACES = _COUNTS + len(COUNTERS)
_PROVED, _LAST_PROOF = int(Proof.PROVED), int(max(Proof))


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
    padded = data + bytes(128)  # more than one frame takes; behind the end all is 0
    p, end = 0, len(data)
    while p < end and len(frames) < 24:
        what = padded[p]
        p += 1
        seed = SEEDS[what % len(SEEDS)]
        if what < 64:
            frames.append(seed)
            continue
        frame = bytearray(seed)
        for _ in range(what >> 6):
            at, edit, value = padded[p] * (len(frame) + 1) >> 8, padded[p + 1] % 5, padded[p + 2]
            p += 2
            if edit == 0:
                frame[at:at] = PIECES[value % len(PIECES)]
                p += 1
            elif edit == 1:
                del frame[at : at + 1 + value % 8]
                p += 1
            elif edit == 2 and at < len(frame):
                frame[at] ^= 1 << value % 8
                p += 1
            elif edit == 3:
                frame[at:at] = frame[: at % 16]
            else:
                length = value % 32
                p += 1
                frame[at:] = data[p : p + length]
                p += length
        frames.append(bytes(frame))
    return frames


@kernel
def apply_rows(
    rows: NDArray[np.void],
    stop: int,
    books: NDArray[np.void],
    levels: NDArray[np.void],
    index: NDArray[np.void],
    scratch: NDArray[np.uint8],
    seen: NDArray[np.int64],
) -> None:
    """Apply `rows[:stop]` to their books; `seen` counts outcomes by kind, flags, controls and causes of breaks."""
    for r in range(stop):
        row = rows[r]
        code = apply_row(rows, r, books, levels, index, scratch)
        seen[_OUTCOMES + ((row.kind & 15) << 3) + (code & 7)] += 1
        seen[_FLAGS + (row.flags & 63)] += 1
        if code == CONTROL:
            seen[_CONTROLS + (row.ref & 31)] += 1
        elif code == BROKE:
            seen[_CAUSES + (books[row.channel].broken_by & 15)] += 1


@kernel
def first_fault(books: NDArray[np.void], levels: NDArray[np.void]) -> int:
    """0, or the first broken promise of a book: its row * 8 + the place in FAULTS."""
    for b in range(len(books)):
        book = books[b]
        if book.depth == 0:
            continue
        if book.proof > _LAST_PROOF:
            return b * 8 + 1
        if book.usable != 0 and book.proof != _PROVED:
            return b * 8 + 2
        for bids in range(2):
            first = book.bid0 if bids == 1 else book.ask0
            n = book.n_bid if bids == 1 else book.n_ask
            if n < 0 or n > book.capacity:
                return b * 8 + 3
            for k in range(first, first + n):
                if not levels[k].size > 0:  # as in the next line, so that it is true of NaN too
                    return b * 8 + 4
                if k > first:
                    better, worse = (k - 1, k) if bids == 1 else (k, k - 1)
                    if not levels[better].price >= levels[worse].price:
                        return b * 8 + 5
    return 0


class Machine:
    """One decoder and its books over guarded memory; `run` must never raise."""

    def __init__(self) -> None:
        self._guarded = Guarded()
        self._kind = np.full(MAX_BATCH, int(RecordKind.FRAME), np.uint8)
        self._conn = np.zeros(MAX_BATCH, np.int32)
        self._was = np.zeros(len(COUNTERS), np.int64)
        self.seen = np.zeros(PLACES, np.int64)
        """What the last run reached, by place."""
        self.reset()

    def reset(self) -> None:
        """Start again from nothing."""
        self.tables = Tables()
        self.decoder = BitfinexDecoder(self.tables)
        self.books = Books(self.tables)
        self.rows = Rows(1024)
        whole = np.zeros(1024 + 64, EVENT)
        whole.view(np.uint8)[:] = 0xA5
        self.rows.array = whole[32:-32]
        self.margins = whole[:32], whole[-32:]
        self.last_recv_ns = np.zeros(2, np.int64)
        self.seq = 1
        self._was[:] = 0
        self.decoder.opened(0, 0, 1, self.rows)

    def run(self, frames: list[bytes], size: int = MAX_BATCH) -> int:
        """Decode and apply `frames`, `size` a batch; returns rows made.

        Only the last frame of a batch ends where readable memory ends. Raises AssertionError where an invariant is
        broken.
        """
        self.seen[:] = 0
        made = 0
        for lo in range(0, len(frames), size):
            part = frames[lo : lo + size]
            n = len(part)
            batch = Batch(
                self.seq,
                np.arange(self.seq, self.seq + n, dtype=np.int64),
                self._kind[:n],
                self._conn[:n],
                np.fromiter(accumulate(map(len, part), initial=0), np.int32, n + 1),
                self._guarded.put(b"".join(part)),
            )
            at = 0
            while at < n:
                before = at
                at = self.decoder.decode(batch, at, n, self.rows, self.last_recv_ns)
                made += self._apply()
                assert at > before
            self.seq += n
        self.check()
        return made

    def _apply(self) -> int:
        stop = self.rows.stop
        own = self.books
        own.ensure(self.tables)
        apply_rows(self.rows.array, stop, own.books, own.levels, own.index, own.scratch, self.seen)
        self.rows.stop = 0
        return stop

    def check(self) -> None:
        """Raises AssertionError where something is written that may not be, or a book breaks a promise."""
        before, behind = self.margins
        assert before.tobytes() == CANARY == behind.tobytes(), "expected rows inside their buffer, was one outside"
        fault = first_fault(self.books.books, self.books.levels)
        assert fault == 0, f"expected {FAULTS[fault & 7]}, was otherwise in book {fault >> 3}"
        counts = self.decoder._counts  # the public dict of them costs more than a frame
        assert len(self.decoder.side_rows["quarantine"]) <= counts[C_QUARANTINED]
        np.subtract(counts, self._was, out=self.seen[_COUNTS:])
        self._was[:] = counts
