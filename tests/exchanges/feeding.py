"""Feeds frames and fetched answers to any venue's decoder and its rows to books: what the venues' tests share."""

from __future__ import annotations

import ast
import bz2
import gzip
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.exchanges.protocols import Rows
from data_controller.market import core
from data_controller.market.books import Books
from data_controller.market.layout import Proof, ProofBy
from data_controller.market.rows import Kind
from data_controller.market.tables import Tables
from tests.exchanges.bitfinex.feeding import MS, T0, batch, text

DATA = Path(__file__).parents[3] / "shared" / "data"
RAW = DATA / "raw_ws"
_LINE = re.compile(rb"(?:(\S+) (<->|<-|->) )?(\d{9,10})(?:\.(\d{1,9}))?(?:: (.*))?", re.DOTALL)


class Session:
    """A venue's decoder and its books. `rows` keeps what came out where `keep` says so; `kinds` counts it anyway."""

    def __init__(self, decoder: Any, *, keep: bool = True, opened: bool = True) -> None:
        self.tables = Tables()
        self.decoder = decoder(self.tables)
        self.books = Books(self.tables)
        self.last_recv_ns = np.zeros(8, np.int64)
        self.buffer = Rows()
        self.keep = keep
        self.rows: list[np.void] = []
        self.kinds: Counter[Kind] = Counter()
        self.codes: Counter[int] = Counter()
        self.seq = 1
        self.now_ns = T0
        if opened:
            self.open()

    def open(self, conn: int = 0) -> None:
        """Open slot `conn`."""
        self.decoder.opened(conn, self._next(), self.now_ns, self.buffer)
        self._apply()

    def close(self, conn: int = 0) -> None:
        """Close slot `conn`."""
        self.decoder.closed(conn, self._next(), self.now_ns, self.buffer)
        self._apply()

    def fetch(self, url: str, body: Any, *, status: int = 200, conn: int = 0, asked_ns: int = 0) -> list[np.void]:
        """A REST answer arrives; returns its rows."""
        before = len(self.rows)
        answer = (conn, url, status, text(body), self._next(), self.now_ns, self.buffer, asked_ns)
        for _ in self.decoder.fetched(*answer):
            self._apply()
        self._apply()
        return self.rows[before:]

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

    def replay(self, path: Path, conn: int = 0) -> Counter[str]:
        """Feed a capture (cryptofeed's or hftbacktest's lines); counts its frames, fetched and sent lines."""
        seen: Counter[str] = Counter()
        waiting: list[tuple[int, bytes]] = []

        def flush() -> None:
            if waiting:
                self.feed(*(frame for _, frame in waiting), conn=conn, times=[at for at, _ in waiting])
                waiting.clear()

        for what, at_ns, url, payload in capture(path):
            seen[what] += 1
            if what == "frame":
                waiting.append((at_ns, payload))
                if len(waiting) >= 1000:
                    flush()
            elif what == "fetched":
                flush()
                self.fetch(url, payload, conn=conn)
        flush()
        return seen

    def proof(self, row: int = 0) -> Proof:
        """Proof of book `row`."""
        return Proof(self.books.books[row]["proof"])

    def proofs(self) -> Counter[tuple[str, str]]:
        """How many books have which proof, and by what."""
        books = self.books.books[self.books.books["depth"] != 0]
        return Counter((Proof(b["proof"]).name, ProofBy(b["proof_by"]).name) for b in books)

    def total(self, name: str) -> int:
        """A counter of BOOK (`checks_ok`, `gaps`, `crossed`…) over all books."""
        return int(self.books.books[name].sum())

    def sides(self, row: int = 0) -> tuple[dict[str, str], dict[str, str]]:
        """Bids and asks of a book as price (or order id) -> size, in the book's order."""
        out = []
        for side in (+1, -1):
            levels = self.books.side(row, side)
            key = "ref" if self.books.books[row]["depth"] == 3 else "price"
            out.append({f"{v[key]:.12g}" if key == "price" else str(v[key]): f"{v['size']:.12g}" for v in levels})
        return out[0], out[1]

    def _next(self) -> int:
        self.seq += 1
        return self.seq - 1

    def _apply(self) -> None:
        own = self.books
        own.ensure(self.tables)
        rows = self.buffer.array[: self.buffer.stop]
        for r in range(len(rows)):
            code = core.apply_row(rows, r, own.books, own.levels, own.index, own.scratch)
            while code == core.FULL:
                own.widen(int(rows[r]["channel"]))
                code = core.apply_row(rows, r, own.books, own.levels, own.index, own.scratch)
            self.codes[code] += 1
        for kind, count in zip(*np.unique(rows["kind"], return_counts=True), strict=True):
            self.kinds[Kind(kind)] += int(count)
        if self.keep:
            self.rows.extend(rows.copy())
        self.buffer.stop = self.buffer.start = 0


def capture(path: Path) -> Iterator[tuple[str, int, str, bytes]]:
    """(what, time in ns, address, payload) of each line; what is frame, sent, opened or fetched.

    Lines of hftbacktest's collector begin with nanoseconds; a bare REST snapshot among them has no address, so one is
    made from the stream before it. Payloads written as Python bytes are taken as those bytes.
    """
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
    symbol = ""
    with opener(path, "rb") as file:
        for number, raw in enumerate(file):
            line = raw.rstrip(b"\r\n")
            if number == 0 and line.startswith(b"configuration:"):
                continue
            if not line:
                continue
            if re.match(rb"\d{19} ", line):
                payload = line[20:]
                if payload.startswith(b'{"stream":"'):
                    symbol = payload[11 : payload.index(b"@")].decode().upper()
                fetched = payload.startswith(b'{"lastUpdateId"')
                url = f"/depth?symbol={symbol}&limit=1000" if fetched else ""
                yield "fetched" if fetched else "frame", int(line[:19]), url, payload
                continue
            match = _LINE.fullmatch(line)
            assert match is not None, line[:200]
            at_ns = int(match[3]) * 10**9 + int((match[4] or b"").ljust(9, b"0"))
            what = {b"<->": "opened", b"<-": "sent", b"->": "fetched", None: "frame"}[match[2]]
            payload = match[5] or b""
            if payload[:2] in (b"b'", b'b"'):
                payload = ast.literal_eval(payload.decode())
            yield what, at_ns, (match[1] or b"").decode(), payload
