"""A full view of a healthy engine, for tests of what is derived from it."""

from __future__ import annotations

from typing import Any

import msgspec

from data_controller.control import BookStat, ChannelStat, Feed, Histogram, KillStat, PositionStat, QueueStat
from data_controller.killswitch.latch import LatchState
from data_controller.monitoring.view import Machine, View

NOW_NS = 1_790_000_000_123_456_789
CLEAR = LatchState(state="clear", reason="new", who="test", t_ns=1)
LATCHED = LatchState(state="latched", reason="loss of 5 %", who="trigger:loss", t_ns=1)


def feed(**changes: Any) -> Feed:
    """A live engine with two books, everything well."""
    whole = Feed(
        t_ns=NOW_NS,
        run=3,
        started_ns=NOW_NS - 60_000_000_000,
        pid=42,
        info={"version": "0.1.0", "code": "abc", "config": "def"},
        mode="ACTIVE",
        phase="live",
        counters={"frames": 1000, "checksums_ok": 90, "checksums_bad": 1, "refusals{rule=spread}": 4},
        gauges={"loop_lag_seconds": 0.001, "rss_bytes": 3e8},
        histograms={
            "prediction_latency_seconds": Histogram([0.001, 0.01], [5, 2, 1], 0.05, 8),
            "wire_to_decision_seconds": Histogram([0.0001, 0.001], [50, 20, 1], 0.01, 71),
        },
        channels=[
            ChannelStat(exchange="bitfinex", channel="book", frames=900, events=2000, late_ms=12.5),
            ChannelStat(exchange="bitfinex", channel="trades", frames=100, events=110),
        ],
        books=[
            BookStat(exchange="bitfinex", symbol=s, precision="P0", proof="PROVED", proof_by="CHECKSUM", usable=True,
                     age_ms=12.0, bid=100.0, ask=100.5, checks_ok=45, checks_bad=0)
            for s in ("tBTCUSD", "tETHUSD")
        ],
        queues=[QueueStat(name="arena", depth=1, peak=7, capacity=1024)],
        components={"connection/bitfinex/0": "ok: live", "prediction": "ok: cpu", "journal": "ok"},
        positions=[PositionStat(exchange="bitfinex", symbol="tBTCUSD", size=0.5, unrealised=-3.0)],
        kill=KillStat(active=False),
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def view(**changes: Any) -> View:
    """That engine, seen a tenth of a second ago, on a machine with room."""
    whole: dict[str, Any] = {
        "now_ns": NOW_NS,
        "latch": CLEAR,
        "feed": feed(),
        "feed_age_s": 0.1,
        "connected": True,
        "rates": {("bitfinex", "book"): 90.0, ("bitfinex", "trades"): 10.0},
        "machine": Machine(disk_free_bytes=100 << 30, memory_free_ratio=0.5),
    }
    return View(**{**whole, **changes})
