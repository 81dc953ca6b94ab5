"""What a run did, as the flat object that `run`, `demo` and `replay` print."""

from __future__ import annotations

import resource
import sys
from typing import Any

from data_controller.market.layout import Proof
from data_controller.pipeline.pipeline import Pipeline


def peak_rss_mb() -> float:
    """Largest resident set of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def summary_of(pipeline: Pipeline) -> dict[str, Any]:
    """Counts and digests of everything the pipeline has seen."""
    books = pipeline.books.books
    live = books[books["depth"] > 0]
    decoders: dict[str, int] = {}
    for decoder in pipeline.decoders:
        for name, value in decoder.counters.items():
            decoders[name] = decoders.get(name, 0) + value
    sessions: dict[str, int] = {}
    for subscriptions in pipeline.subscriptions:
        for name, value in getattr(subscriptions, "counters", {}).items():
            sessions[name] = sessions.get(name, 0) + value
    counters = pipeline.counters
    trading = pipeline.trader.counters if pipeline.setup is not None else {}
    proved = live["proof"] == Proof.PROVED
    return {
        "frames": counters["frames"],
        "events": counters["events"],
        "instruments": len(pipeline.tables.instruments),
        "books": len(live),
        "books_proved": int(proved.sum()),
        "books_proved_by_checksum": int((proved & (live["checks_ok"] > 0)).sum()),
        "checksums_ok": int(live["checks_ok"].sum()) + pipeline.past["checks_ok"],
        "checksums_bad": int(live["checks_bad"].sum()) + pipeline.past["checks_bad"],
        "unknown_deletes": int(live["unknown_deletes"].sum()) + pipeline.past["unknown_deletes"],
        "crossed": int(live["crossed"].sum()) + pipeline.past["crossed"],
        "sequence_gaps": decoders.get("sequence_gaps", 0) + pipeline.past["sequence_gaps"],
        "quarantined": decoders.get("quarantined", 0) + pipeline.past["quarantined"],
        "trades": decoders.get("trades", 0) + pipeline.past["trades"],
        "trade_updates_dropped": decoders.get("trade_updates_dropped", 0) + pipeline.past["trade_updates_dropped"],
        "resyncs": sessions.get("resyncs", 0) + pipeline.past["resyncs"],
        "ticks": counters["ticks"],
        "feature_rows": counters["feature_rows"],
        "predictions": counters["predictions"],
        "predictions_differ": counters["predictions_differ"],
        "decisions": counters["decisions"],
        "decisions_refused_invalid": trading.get("refused_invalid", 0) + pipeline.past["refused_invalid"],
        "orders": trading.get("orders", 0) + pipeline.past["orders"],
        "fills": trading.get("fills", 0) + pipeline.past["fills"],
        "starts": counters["starts"],
        "digest": pipeline.digests.result(),
    }
