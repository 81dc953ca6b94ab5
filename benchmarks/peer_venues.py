"""CPU of a frame, venue by venue: ours against cryptofeed's `message_handler` on the same captured frames.

Ours decodes, follows each venue's sequence or checksum and keeps the books (reads of 64 frames); cryptofeed does the
same with its checksum validation on where it has one. Rounds alternate. A venue is in the table where both read the
dialect of its capture; a capture that is not at hand is left out, and says so.
"""

from __future__ import annotations

import base64
import json
import tempfile
import time
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.decode_book import arena
from benchmarks.peer_cryptofeed import PEER, PeerProcess
from data_controller.exchanges import venue as venue_of
from data_controller.exchanges.protocols import Rows
from data_controller.kernels import kernel
from data_controller.market.books import Books
from data_controller.market.core import FULL, apply_row
from data_controller.market.tables import Tables
from tests.exchanges.feeding import RAW, capture

BURST = 64
ROUNDS = 5
A, B, C = "cryptofeed_2021-04-05", "cryptofeed_2021-04-17", "cryptofeed_2021-04-25"


class Case(NamedTuple):
    """A capture that both read: our venue, cryptofeed's id, files (REST ones first)."""

    venue: str
    peer: str
    files: tuple[str, ...]
    binary: bool = False


CASES = (
    Case("bitfinex", "BITFINEX", ("bitfinex/cryptofeed_2021-04-05/BITFINEX-58bafb.0.gz",)),
    Case("binance", "BINANCE", (f"{A}/BINANCE-b38f7c.0.gz",)),
    Case("binance_usdm", "BINANCE_FUTURES", (f"{A}/BINANCE_FUTURES-1125a2.0.gz",)),
    Case("bitflyer", "BITFLYER", (f"{A}/BITFLYER-ac44d0.0.gz",)),
    Case("bitmex", "BITMEX", (f"{A}/BITMEX-d944be.0.gz",)),
    Case("bitstamp", "BITSTAMP", (f"{A}/BITSTAMP-b88f8b.0.gz",)),
    Case("deribit", "DERIBIT", (f"{A}/DERIBIT-5dd9ce.0",)),
    Case("gemini", "GEMINI", (f"{A}/GEMINI-e6096f.0.gz",)),
    Case("kraken_v1", "KRAKEN", (f"{A}/KRAKEN-c197c0.0.gz",)),
    Case("kraken_futures", "KRAKEN_FUTURES", (f"{B}/KRAKEN_FUTURES.ws.46.0.gz",)),
    Case("huobi", "HUOBI", (f"{B}/HUOBI.ws.44.0.gz",), binary=True),
    Case("kucoin", "KUCOIN", (f"{C}/KUCOIN.http.0.0", f"{C}/KUCOIN.ws.1.0.gz")),
    Case("okx", "OKX", ("cryptofeed_2022-02-27/OKX.ws.1.0.gz",)),
    Case("bitget", "BITGET", ("cryptofeed_2022-04-03/BITGET.ws.1.0.gz",)),
    Case("upbit", "UPBIT", (f"{A}/UPBIT-d78752.0.gz",)),
)

Line = tuple[str, str, bytes]


def lines_of(case: Case) -> list[Line]:
    """(what, address, payload) of the capture's frames and REST answers, in order."""
    return [
        (what, url, payload)
        for file in case.files
        for what, _, url, payload in capture(RAW / file)
        if what in ("frame", "fetched")
    ]


class Ours:
    """One pass after another of a capture through decoder and books."""

    def __init__(self, case: Case, lines: list[Line]) -> None:
        self._decoder = venue_of(case.venue).decoder
        self._steps: list[Any] = []  # a batch of frames, or an answer
        run: list[bytes] = []
        for what, url, payload in [*lines, ("end", "", b"")]:
            if what == "frame":
                run.append(payload)
                continue
            if run:
                self._steps.append(arena(run))
                run = []
            if what == "fetched":
                self._steps.append((url, payload))
        self.tables = Tables()

    def once(self) -> tuple[int, Any]:
        """CPU nanoseconds of one pass in reads of BURST frames, and the decoder at its end."""
        tables = Tables()
        decoder, books, rows = self._decoder(tables), Books(tables), Rows()
        last_recv_ns = np.zeros(4, np.int64)
        decoder.opened(0, 0, 0, rows)
        started = time.thread_time_ns()
        for step in self._steps:
            if isinstance(step, tuple):
                for _ in decoder.fetched(0, step[0], 200, step[1], 1, 1, rows):
                    self._apply(books, tables, rows)
                self._apply(books, tables, rows)
                continue
            i, n = 0, len(step.kind)
            while i < n:
                i = decoder.decode(step, i, min(n, i + BURST), rows, last_recv_ns)
                self._apply(books, tables, rows)
        self.tables = tables
        return time.thread_time_ns() - started, decoder

    @staticmethod
    def _apply(books: Books, tables: Tables, rows: Rows) -> None:
        books.ensure(tables)
        at = 0
        while True:
            at = apply_until_full(rows.array, at, rows.stop, books.books, books.levels, books.index, books.scratch)
            if at == rows.stop:
                break
            books.widen(int(rows.array[at]["channel"]))
        rows.stop = 0


@kernel
def apply_until_full(rows: Any, at: Any, stop: Any, books: Any, levels: Any, index: Any, scratch: Any) -> Any:
    """Apply rows from `at` on; the row that found its book full, `stop` where none did."""
    for r in range(at, stop):
        if apply_row(rows, r, books, levels, index, scratch) == FULL:
            return r
    return stop


def compare(case: Case, folder: Path) -> dict[str, Any]:
    """Median CPU nanoseconds a frame of both, and what each saw."""
    lines = lines_of(case)
    frames = [payload for what, _, payload in lines if what == "frame"]
    ours = Ours(case, lines)
    ours.once()
    task = {
        "exchange": case.peer,
        "symbols": [instrument.symbol for instrument in ours.tables.instruments],
        "binary": case.binary,
        "frames": [base64.b64encode(f).decode() if case.binary else f.decode() for f in frames],
        "fetched": [(url, payload.decode()) for what, url, payload in lines if what == "fetched"],
    }
    path = folder / f"{case.venue}.json"
    path.write_text(json.dumps(task))
    peer = PeerProcess([str(PEER), "-P", str(Path(__file__).with_name("_cryptofeed_venue.py")), str(path)])
    own_ns, peer_ns, said = [], [], {}
    peer.once()
    for _ in range(ROUNDS):
        own_ns.append(ours.once()[0] / len(frames))
        said = peer.once()
        peer_ns.append(said.pop("cpu_ns") / len(frames))
    peer.close()
    counters = {name: count for name, count in ours.once()[1].counters.items() if count}
    return {
        "venue": case.venue,
        "frames": len(frames),
        "ours_ns": round(median(own_ns), 1),
        "cryptofeed_ns": round(median(peer_ns), 1),
        "times_less": round(median(peer_ns) / median(own_ns), 2),
        "cryptofeed_saw": said,
        "we_saw": counters,
    }


def measure() -> dict[str, Any]:
    """Every case at hand, their geometric mean, and the targets."""
    found, missing = [], []
    with tempfile.TemporaryDirectory(prefix="bench-venues-") as folder:
        for case in CASES:
            if all((RAW / file).exists() for file in case.files):
                found.append(compare(case, Path(folder)))
            else:
                missing.append(case.venue)
    counted = [f for f in found if not f["cryptofeed_saw"].get("first_failure")]
    mean = prod(f["times_less"] for f in counted) ** (1 / len(counted)) if counted else 0.0
    worst = min(counted, key=lambda f: f["times_less"], default=None)
    return {
        "reads_of": BURST,
        "rounds": ROUNDS,
        "venues": found,
        "not_at_hand": missing,
        "targets": [
            {
                "what": "venues: geometric mean, times less CPU a frame than cryptofeed",
                "target": 3.0,
                "stretch": 5.0,
                "measured": round(mean, 2),
                "unit": "x",
                "better": "more",
            },
            {
                "what": f"the least of them ({worst['venue'] if worst else 'none'})",
                "target": 2.0,
                "stretch": 3.0,
                "measured": worst["times_less"] if worst else 0.0,
                "unit": "x",
                "better": "more",
            },
        ],
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
