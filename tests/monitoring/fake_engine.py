"""A small engine for the monitor's tests: a control socket, a latch and a feed that moves.

PYTHONPATH=src python tests/monitoring/fake_engine.py STATE_DIR [--books N]
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.control import (
    AlertEvent,
    BookStat,
    ChannelStat,
    Feed,
    KillStat,
    PositionStat,
    QueueStat,
    Request,
    encode_feed,
)
from data_controller.engine.control_server import ControlServer
from data_controller.engine.histograms import LatencyHistogram
from data_controller.killswitch.latch import Latch, prepare

SYMBOLS = ("tBTCUSD", "tETHUSD", "tSOLUSD", "tXRPUSD", "tADAUSD", "tDOGE:USD", "tLTCUSD", "tLINK:USD")


class FakeEngine:
    """Publishes every 100 ms; `kill` and `resume` go to the latch, `reload` is refused, `stop` ends it."""

    def __init__(self, state_dir: Path, books: int = 8) -> None:
        prepare(state_dir)
        self.latch = Latch(state_dir)
        self.server = ControlServer(state_dir, self.handle)
        self.stopping = asyncio.Event()
        self.books = books
        self.pulses = 0
        self.started_ns = time.time_ns()
        self.alerts: list[AlertEvent] = []
        self.wire, self.predict, self.fsync = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
        self._random = np.random.default_rng(7)

    def handle(self, request: Request) -> dict[str, Any]:
        """Answer one request as an engine would."""
        match request.what:
            case "status":
                return {"pulses": self.pulses}
            case "kill":
                return {"latched": self.latch.set(request.body.get("reason", ""), request.who).active}
            case "resume":
                return {"latched": self.latch.clear(request.body.get("reason", ""), request.who).active}
            case "stop":
                self.stopping.set()
                return {"stopping": True}
            case _:
                from data_controller.errors import ConfigError

                raise ConfigError("unknown key `bitfinex.book_lenght` at line 12, did you mean `book_length`?")

    def feed(self) -> Feed:
        """The feed of this pulse."""
        self.pulses += 1
        n = self.pulses
        self.wire.record_many(self._random.lognormal(math.log(60_000), 0.5, 400).astype(np.int64))
        self.predict.record_many(self._random.lognormal(math.log(300_000), 0.3, 8).astype(np.int64))
        self.fsync.record(int(self._random.lognormal(math.log(4e6), 0.5)))
        latch = self.latch.check()
        frames = int(400 * n + 60 * math.sin(n / 9) * math.sqrt(n))
        return Feed(
            t_ns=time.time_ns(), run=1, started_ns=self.started_ns, pid=os.getpid(),
            info={"version": "0.1.0", "code": "9f31c2ab7e", "config": "51aa0cde88", "bundle": "demo-linear"},
            mode="HALTED" if latch.active else "ACTIVE", phase="live",
            counters={
                "frames": frames, "events": frames * 3, "checksums_ok": frames // 10, "checksums_bad": 0,
                "sequence_gaps": 0, "resyncs": 1, "feature_rows": n * self.books // 10,
                "predictions": n * self.books // 10, "decisions": n * self.books // 10,
                "decisions_refused_invalid": n // 40, "orders": n // 50,
                "fills": n // 55, "journal_bytes": frames * 27, "loop_stalls": 0,
            },
            gauges={"loop_lag_seconds": 0.0012, "rss_bytes": 412e6, "equity": 100_012.5},
            histograms={
                "wire_to_decision_seconds": self.wire.to_feed(),
                "prediction_latency_seconds": self.predict.to_feed(),
                "journal_fsync_seconds": self.fsync.to_feed(),
            },
            channels=[
                ChannelStat(exchange="bitfinex", channel="book", frames=frames * 9 // 10, events=frames * 3),
                ChannelStat(exchange="bitfinex", channel="trades", frames=frames // 10, events=frames // 10),
            ],
            books=[
                BookStat(
                    exchange="bitfinex", symbol=SYMBOLS[i] if i < len(SYMBOLS) else f"tT{i:03}USD",
                    precision="P0" if i % 3 else "R0",
                    proof="BROKEN" if i == 3 and n % 60 > 50 else "PROVED", proof_by="CHECKSUM",
                    usable=not (i == 3 and n % 60 > 50), age_ms=random.uniform(3, 90),
                    bid=round(64_000 / (i + 1) ** 2 + n % 7, 1), ask=round(64_000 / (i + 1) ** 2 + n % 7 + 0.5, 1),
                    checks_ok=frames // 80, checks_bad=0, gaps=0, resyncs=int(i == 3),
                )
                for i in range(self.books)
            ],
            queues=[
                QueueStat(name="arena", depth=int(self._random.integers(0, 300)), peak=911, capacity=65536),
                QueueStat(name="journal", depth=n % 12, peak=40, capacity=64),
            ],
            components={
                "connection/bitfinex/0": "ok: open for 5 min", "prediction": "ok: linear on cpu",
                "journal": "ok: durable 0.4 s ago",
            },
            positions=[
                PositionStat(
                    exchange="bitfinex", symbol="tBTCUSD", size=0.12, entry=63_980.5, mark=64_003.0, unrealised=2.7
                ),
            ],
            kill=KillStat(active=latch.active, reason=latch.reason, who=latch.who, since_ns=latch.t_ns),
            alerts=self.alerts[-64:],
        )  # fmt: skip

    async def run(self) -> None:
        """Serve until asked to stop."""
        await self.server.start()
        try:
            while not self.stopping.is_set():
                self.server.publish(encode_feed(self.feed()))
                await asyncio.sleep(0.1)
        finally:
            await self.server.stop()


async def _main(state_dir: Path, books: int) -> None:
    await FakeEngine(state_dir, books).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--books", type=int, default=8)
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.state_dir, arguments.books))
