"""What a run did, as the flat object that `run`, `demo` and `replay` print."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import Any

from data_controller.market.layout import Proof
from data_controller.pipeline.pipeline import Pipeline


def peak_rss_mb() -> float:
    """Largest resident set of this process so far, in MB."""
    with contextlib.suppress(OSError):
        # Not of the resource usage, in which a program inherits what its starter held.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def summary_of(pipeline: Pipeline) -> dict[str, Any]:
    """Counts and digests of everything the pipeline has seen."""
    books = pipeline.books.books
    live = books[books["depth"] > 0]
    counters, totals = pipeline.counters, pipeline.totals()

    def total(name: str) -> int:
        return totals.get(name, 0)

    return {
        "frames": counters["frames"],
        "events": counters["events"],
        "instruments": len(pipeline.tables.instruments),
        "books": len(live),
        "books_proved": int((pipeline.proofs()[books["depth"] > 0] == Proof.PROVED).sum()),
        "checksums_ok": total("checks_ok"),
        "checksums_bad": total("checks_bad"),
        "unknown_deletes": total("unknown_deletes"),
        "crossed": total("crossed"),
        "sequence_gaps": total("sequence_gaps"),
        "quarantined": total("quarantined"),
        "trades": total("trades"),
        "trade_updates_dropped": total("trade_updates_dropped"),
        "resyncs": total("resyncs"),
        "ticks": counters["ticks"],
        "feature_rows": counters["feature_rows"],
        "predictions": counters["predictions"],
        "predictions_differ": counters["predictions_differ"],
        "decisions": counters["decisions"],
        "decisions_refused_invalid": total("trading_decisions_refused_invalid"),
        "orders": total("trading_orders"),
        "fills": total("trading_fills"),
        "starts": counters["starts"],
        "digest": pipeline.digests.result(),
    }
