"""CPU of a Bitfinex P0 frame from bytes to a proved book, with a checksum every 10 book messages."""

from __future__ import annotations

import gzip
import json
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
from data_controller.exchanges.protocols import Rows
from data_controller.kernels import kernel
from data_controller.market.books import Books
from data_controller.market.core import apply_row
from data_controller.market.layout import Proof
from data_controller.market.tables import Tables
from data_controller.records import Batch, Kind

CAPTURE = Path("../shared/data/raw_ws/bitfinex/cryptofeed_2021-04-05/BITFINEX-58bafb.0.gz")
FLAGS = 65536 | 131072
CHECK_EVERY = 10
BATCHES = (1, 64, 4096)
REPEATS = 7
MADE_FRAMES = 30_000


def captured() -> Iterator[str]:
    """Frames of the real capture, in order."""
    with gzip.open(CAPTURE, "rt") as lines:
        for line in lines:
            head, _, frame = line.rstrip("\n").partition(": ")
            if head[0].isdigit() and " " not in head:
                yield frame


def made() -> Iterator[str]:
    """Frames of eight random books, where no capture is at hand; numbered 0 each, as `prepared` numbers them."""
    draw = random.Random(7)
    yield '{"event":"info","version":2}'
    yield '{"event":"conf","status":"OK","flags":0}'
    middle = [20000 + 3000 * k for k in range(8)]
    alive: list[dict[int, int]] = [{}, {}, {}, {}, {}, {}, {}, {}]
    for k in range(8):
        yield (
            f'{{"event":"subscribed","channel":"book","chanId":{1000 + k},"symbol":"tMADE{k}","prec":"P0",'
            '"freq":"F0","len":"100"}'
        )
        for step in range(1, 81):
            alive[k][middle[k] - step] = 1
            alive[k][middle[k] + step] = -1
        entries = [[p / 100, 1, s * draw.randint(1, 10**9) / 1e6] for p, s in alive[k].items()]
        yield json.dumps([1000 + k, entries, 0], separators=(",", ":"))
    for _ in range(MADE_FRAMES):
        k = draw.randrange(8)
        side = draw.choice((1, -1))
        price = middle[k] - side * (1 + int(abs(draw.gauss(0, 15))))
        if price in alive[k] and draw.random() < 0.3:
            del alive[k][price]
            entry = [price / 100, 0, side]
        else:
            alive[k][price] = side
            entry = [price / 100, draw.randint(1, 9), side * draw.randint(1, 10**9) / 1e6]
        yield json.dumps([1000 + k, entry, 0], separators=(",", ":"))


def text(number: str) -> str:
    """A number's text as the checksum wants it."""
    return number.lower().lstrip("-")


def prepared(frames: Iterator[str]) -> list[bytes]:
    """The frames with checksums among them (worked out here in plain Python), numbered from 1."""
    out: list[bytes] = []
    books: dict[str, dict[str, tuple[str, bool]]] = {}
    seen: dict[str, int] = {}
    seq = 0

    def put(channel: str, payload: str) -> None:
        nonlocal seq
        seq += 1
        out.append(f"[{channel},{payload},{seq}]".encode())

    for frame in frames:
        if frame.startswith("{"):
            envelope = json.loads(frame)
            if envelope["event"] == "conf":
                frame = json.dumps({**envelope, "flags": FLAGS})
            if envelope.get("channel") == "book":
                books[str(envelope["chanId"])] = {}
            out.append(frame.encode())
            continue
        channel, _, rest = frame[1:].partition(",")
        payload = rest[: rest.rindex(",")]
        put(channel, payload)
        if channel not in books or payload.startswith('"'):
            continue
        entries = json.loads(payload, parse_float=str, parse_int=str)
        for price, count, amount in entries if isinstance(entries[0], list) else [entries]:
            if count == "0":
                del books[channel][price]
            else:
                books[channel][price] = (amount, amount.startswith("-"))
        seen[channel] = seen.get(channel, -1) + 1
        if seen[channel] % CHECK_EVERY == 0:
            put(channel, f'"cs",{checksum(books[channel])}')
    return out


def checksum(book: dict[str, tuple[str, bool]]) -> int:
    """Bitfinex's checksum of a book held as price text -> (amount text, is an ask)."""
    bids = sorted((p for p, (_, ask) in book.items() if not ask), key=float, reverse=True)[:25]
    asks = sorted((p for p, (_, ask) in book.items() if ask), key=float)[:25]
    parts: list[str] = []
    for i in range(25):
        if i < len(bids):
            parts += [text(bids[i]), text(book[bids[i]][0])]
        if i < len(asks):
            parts += [text(asks[i]), "-" + text(book[asks[i]][0])]
    crc = zlib.crc32(":".join(parts).encode())
    return crc - (1 << 32) if crc >> 31 else crc


@kernel
def apply_rows(rows: Any, n: Any, books: Any, levels: Any, index: Any, scratch: Any) -> Any:
    """Apply the first `n` rows; returns how many said something."""
    said = 0
    for r in range(n):
        said += apply_row(rows, r, books, levels, index, scratch) != 0
    return said


def arena(frames: list[bytes]) -> Batch:
    """All frames as one batch of connection 0, a millisecond apart."""
    n = len(frames)
    offsets = np.zeros(n + 1, np.int32)
    offsets[1:] = np.cumsum([len(f) for f in frames])
    recv_ns = 1_700_000_000_000_000_000 + np.arange(n, dtype=np.int64) * 1_000_000
    data: NDArray[np.uint8] = np.frombuffer(b"".join(frames), np.uint8).copy()
    return Batch(1, recv_ns, np.full(n, int(Kind.FRAME), np.uint8), np.zeros(n, np.int32), offsets, data)


def once(batch: Batch, size: int) -> dict[str, Any]:
    """One pass over the batch in pieces of `size`; CPU nanoseconds of decoding and of books."""
    tables = Tables()
    decoder, books, rows = BitfinexDecoder(tables), Books(tables), Rows()
    last_recv_ns = np.zeros(4, np.int64)
    decoder.opened(0, 0, 0, rows)
    i, n, decode_ns, apply_ns = 0, len(batch.kind), 0, 0
    clock = time.thread_time_ns
    while i < n:
        start = clock()
        i = decoder.decode(batch, i, min(n, i + size), rows, last_recv_ns)
        decoded = clock()
        if books.ensure(tables):
            decoded = clock()
        apply_rows(rows.array, rows.stop, books.books, books.levels, books.index, books.scratch)
        rows.stop = 0
        applied = clock()
        decode_ns += decoded - start
        apply_ns += applied - decoded
    return {"decode_ns": decode_ns / n, "apply_ns": apply_ns / n, "books": books.books, "counters": decoder.counters}


def measure() -> dict[str, Any]:
    """Nanoseconds a frame by batch size, best of several passes; a pass whose books are not all proved is an error."""
    real = CAPTURE.exists()
    frames = prepared(captured() if real else made())
    batch = arena(frames)
    result: dict[str, Any] = {
        "frames": len(frames),
        "source": "cryptofeed capture" if real else "made",
        "target_ns": 700,
        "stretch_ns": 350,
    }
    for size in BATCHES:
        passes = [once(batch, size) for _ in range(REPEATS)]
        books = passes[0]["books"][passes[0]["books"]["depth"] > 0]
        if not (books["proof"] == Proof.PROVED).all() or books["checks_bad"].any():
            raise AssertionError(f"expected proved books, was {books['proof'].tolist()}")
        best = min(passes, key=lambda p: p["decode_ns"] + p["apply_ns"])
        result[f"batch_{size}"] = {
            "total_ns": round(best["decode_ns"] + best["apply_ns"], 1),
            "decode_ns": round(best["decode_ns"], 1),
            "book_and_checksum_ns": round(best["apply_ns"], 1),
        }
        result["checksums_ok"] = int(books["checks_ok"].sum())
    return result


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
