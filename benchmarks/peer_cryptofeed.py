"""CPU of a Bitfinex P0 frame, ours against cryptofeed's `message_handler` on the same frames, in alternating rounds.

Ours decodes, follows the sequence, keeps the books, verifies a checksum every 10 book messages and feeds order-flow
imbalance and everything else that features gather from a book event (`pipeline.loop.run`). The checksum frames are
ours alone: cryptofeed gets the frames without them, and our whole time is divided by their number. Frames are dealt in
batches, as a socket's read deals them; one at a time is shown too.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.decode_book import CAPTURE, FLAGS, arena, captured, made, prepared
from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
from data_controller.exchanges.protocols import Rows
from data_controller.features.parameters import load_parameters
from data_controller.features.settings import FeatureSettings
from data_controller.features.state import FeatureState
from data_controller.kernels import machine_code
from data_controller.market.books import Books
from data_controller.market.layout import Proof
from data_controller.market.tables import Tables
from data_controller.pipeline.loop import run
from data_controller.pipeline.routes import Routes
from data_controller.records import Batch
from data_controller.trading.settings import RiskSettings, TradingSettings
from data_controller.trading.trader import Trader

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venvs" / "cryptofeed" / "bin" / "python"
BATCHES = (1, 8, 64, 4096)
ROUNDS = 9
BURST = 64


def plain(frames: list[bytes]) -> list[str]:
    """The frames without checksums, numbered anew."""
    out: list[str] = []
    seq = 0
    for frame in frames:
        text = frame.decode()
        if text.startswith("["):
            if ',"cs",' in text[:24]:
                continue
            seq += 1
            text = f"{text[: text.rindex(',')]},{seq}]"
        elif '"conf"' in text:
            text = text.replace(str(FLAGS), "65536")
        out.append(text)
    return out


def once(batch: Batch, size: int) -> tuple[int, Any]:
    """CPU nanoseconds of one pass over the batch in pieces of `size`, and the books at its end."""
    tables = Tables()
    decoder, books, rows, routes = BitfinexDecoder(tables), Books(tables), Rows(), Routes()
    features = FeatureState(0, FeatureSettings(), load_parameters())
    trader = Trader(TradingSettings(), RiskSettings(), 0, (60,))
    last_recv_ns = np.zeros(4, np.int64)
    decoder.opened(0, 0, 0, rows)
    i, n, loop = 0, len(batch.kind), run
    started = time.thread_time_ns()
    while i < n:
        i = decoder.decode(batch, i, min(n, i + size), rows, last_recv_ns)
        if len(tables.channels) != routes.channels:
            books.ensure(tables)
            routes.ensure(tables)
            features.grow(len(tables.instruments))
            trader.grow(len(tables.instruments))
        at = 0
        while at < rows.stop:
            at, _, _ = loop(
                rows.array,
                at,
                rows.stop,
                books.books,
                books.levels,
                books.index,
                books.scratch,
                routes.array,
                features.acc,
                features.params,
                trader.watch,
            )
            loop = machine_code(run) if loop is run else loop  # as the pipeline does
        rows.stop = 0
    return time.thread_time_ns() - started, books.books


class PeerProcess:
    """cryptofeed in its own environment, asked for one pass at a time."""

    def __init__(self, command: list[str]) -> None:
        if not PEER.exists():
            raise FileNotFoundError(f"expected {PEER.relative_to(ROOT)}: run `make strangers`")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._line()["version"]

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"expected an answer of cryptofeed, was its end (exit {self._process.wait()})")
        return json.loads(line)  # type: ignore[no-any-return]

    def once(self) -> dict[str, Any]:
        """One pass: CPU nanoseconds and what its callbacks saw."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def measure() -> dict[str, Any]:
    """Median CPU nanoseconds a frame of both, their ratio by batch size; books not all proved are an error."""
    real = CAPTURE.exists()
    frames = prepared(captured() if real else made())
    batch, shown = arena(frames), plain(frames)
    checks = len(frames) - len(shown)
    ours: dict[int, list[float]] = {size: [] for size in BATCHES}
    theirs: list[float] = []
    books = None
    with tempfile.TemporaryDirectory(prefix="bench-peer-") as folder:
        path = Path(folder) / "frames.txt"
        path.write_text("\n".join(shown))
        script = Path(__file__).with_name("_cryptofeed_rounds.py")
        peer = PeerProcess([str(PEER), "-P", str(script), str(path)])
        once(batch, BATCHES[0])
        peer.once()
        for _ in range(ROUNDS):
            for size in BATCHES:
                took, books = once(batch, size)
                ours[size].append(took / len(shown))
            said = peer.once()
            theirs.append(said.pop("cpu_ns") / len(shown))
        peer.close()
    assert books is not None
    live = books[books["depth"] > 0]
    if not (live["proof"] == Proof.PROVED).all() or live["checks_bad"].any():
        raise AssertionError(f"expected proved books, was {live['proof'].tolist()}")
    theirs_ns = median(theirs)
    ratios = {f"batch_{size}": round(theirs_ns / median(figures), 2) for size, figures in ours.items()}
    return {
        "source": "cryptofeed capture" if real else "made",
        "frames": len(shown),
        "checksum_frames_ours_alone": checks,
        "checksums_ok": int(live["checks_ok"].sum()),
        "rounds": ROUNDS,
        "cryptofeed": peer.version,
        "cryptofeed_saw": said,
        "cryptofeed_ns": round(theirs_ns, 1),
        "cryptofeed_ns_range": [round(min(theirs), 1), round(max(theirs), 1)],
        "ours_ns": {f"batch_{size}": round(median(figures), 1) for size, figures in ours.items()},
        "times_less": ratios,
        "targets": [
            {
                "what": f"CPU a Bitfinex P0 frame, times less than cryptofeed {peer.version}, {name}",
                "target": 5.0,
                "stretch": 10.0,
                "measured": ratios[f"batch_{size}"],
                "unit": "x",
                "better": "more",
            }
            for size, name in ((BURST, f"in reads of {BURST} frames"), (1, "one frame at a time"))
        ],
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
