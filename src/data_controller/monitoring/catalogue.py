"""The catalogue of metrics: name, kind, labels, meaning and source of each; docs/metrics.md is printed from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "data_controller_"
MAX_SERIES = 20_000
"""Series of one scrape; what an engine sends beyond that is counted in `data_controller_series_dropped`."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One metric of the catalogue; `source` says where its value comes from."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    source: str = "monitor"


def _counter(key: str, text: str, name: str = "", labels: tuple[str, ...] = ()) -> Entry:
    return Entry(PREFIX + (name or key), "counter", text, labels, f"feed counter `{key}`")


def _gauge(key: str, text: str) -> Entry:
    return Entry(PREFIX + key, "gauge", text, (), f"feed gauge `{key}`")


def _histogram(key: str, text: str, name: str = "") -> Entry:
    return Entry(name or PREFIX + key, "histogram", text, (), f"feed histogram `{key}`")


def _stat(name: str, kind: Kind, text: str, *labels: str) -> Entry:
    return Entry(PREFIX + name, kind, text, labels, "feed")


_BOOK = ("exchange", "symbol", "precision")

CATALOGUE: tuple[Entry, ...] = (
    Entry("kill_switch_active", "gauge", "1 while the kill switch is active, by the latch file itself.", (), "latch"),
    _histogram(
        "prediction_latency_seconds", "Time from a tick's features to its answer.", name="prediction_latency_seconds"
    ),
    Entry(PREFIX + "engine_up", "gauge", "1 while the engine's feed is young enough to be believed."),
    Entry(PREFIX + "feed_age_seconds", "gauge", "Age of the engine's last feed."),
    Entry(PREFIX + "health", "gauge", "Overall health: 2 ok, 1 degraded, 0 failed."),
    Entry(PREFIX + "component_health", "gauge", "Health of a component: 2 ok, 1 degraded, 0 failed.", ("component",)),
    Entry(PREFIX + "alerts_firing", "gauge", "Alerts that fire now.", ("severity",)),
    Entry(PREFIX + "alerts_lost", "counter", "Alerts of the engine that came and went between two feeds."),
    Entry(PREFIX + "monitor_feeds", "counter", "Feeds the monitor received."),
    Entry(PREFIX + "monitor_connections", "counter", "Times the monitor connected to an engine."),
    Entry(PREFIX + "series_dropped", "gauge", f"Series left out of this scrape, beyond {MAX_SERIES}."),
    Entry(PREFIX + "disk_free_bytes", "gauge", "Free space on the state directory's disk."),
    Entry(PREFIX + "memory_free_ratio", "gauge", "Share of the machine's memory that is available."),
    Entry(
        PREFIX + "ingest_rate",
        "gauge",
        "Frames a second over the last seconds; 0 with the engine gone.",
        ("exchange", "channel"),
    ),
    _stat("build_info", "gauge", "Always 1; what the engine is made of, as labels.", "version", "code", "config"),
    _stat("engine_start_time_seconds", "gauge", "When the engine started, Unix time."),
    _stat("engine_run", "gauge", "Number of this engine start in its state directory."),
    _stat("mode", "gauge", "1 for the mode the engine is in: HALTED, REDUCING or ACTIVE.", "mode"),
    _stat("phase", "gauge", "1 for the phase the engine is in: starting, prehistory, live or stopping.", "phase"),
    _stat("channel_frames", "counter", "Frames received.", "exchange", "channel"),
    _stat("channel_events", "counter", "Events decoded.", "exchange", "channel"),
    _stat(
        "channel_late_seconds",
        "gauge",
        "Arrival minus the venue's time, median of the instruments.",
        "exchange",
        "channel",
    ),
    _stat("books", "gauge", "Books by proof.", "exchange", "proof"),
    _stat("book_usable", "gauge", "1 while decisions may use the book.", *_BOOK),
    _stat("book_age_seconds", "gauge", "Time since the book last changed.", *_BOOK),
    _stat("book_bid", "gauge", "Best bid, in quote units.", *_BOOK),
    _stat("book_ask", "gauge", "Best ask, in quote units.", *_BOOK),
    _stat("book_checksums", "counter", "Checksums compared, by result: ok or bad.", *_BOOK, "result"),
    _stat("book_gaps", "counter", "Messages known to be missing.", *_BOOK),
    _stat("book_resyncs", "counter", "Times the book was fetched anew.", *_BOOK),
    _stat("queue_depth", "gauge", "Items in the queue.", "queue"),
    _stat("queue_peak", "gauge", "Most items the queue ever held in this run.", "queue"),
    _stat("queue_capacity", "gauge", "Items the queue can hold.", "queue"),
    _stat("position_size", "gauge", "Open position in base units, short below zero.", "exchange", "symbol"),
    _stat("position_unrealised", "gauge", "Open profit in quote units.", "exchange", "symbol"),
    _counter("frames", "Frames received."),
    _counter("events", "Events decoded from frames."),
    _counter("records", "Records journaled."),
    _counter("quarantined", "Frames set aside because they could not be read."),
    _counter("checksums_ok", "Checksums that matched.", "checksums", ("result",)),
    _counter("checksums_bad", "Checksums that did not match.", "checksums", ("result",)),
    _counter("sequence_gaps", "Gaps in connections' sequence numbers."),
    _counter("resyncs", "Books fetched anew."),
    _counter("reconnects", "Connections opened again after a loss."),
    _counter("feature_rows", "Feature rows computed, one an instrument and tick."),
    _counter("predictions", "Predictions answered, one an instrument and tick."),
    _counter("predictions_failed", "Predictions that no tier answered in time."),
    _counter("decisions", "Decisions that reached the gate."),
    _counter("decisions_refused_invalid", "Decisions refused for an invalid feature or an unproved book."),
    _counter("orders", "Order commands submitted."),
    _counter("fills", "Fills received."),
    _counter("rest_fetched", "REST requests that were answered."),
    _counter("rest_failed", "REST requests that failed for good, after their retries."),
    _counter("loop_stalls", "Turns of the loop that were later than its limit."),
    _counter("journal_bytes", "Bytes written to the journal."),
    _counter("journal_errors", "Writes to the journal that failed."),
    _counter("feeds_dropped", "Feeds a slow reader never saw, replaced by newer ones."),
    _gauge("loop_lag_seconds", "Worst lateness of the engine's loop in the last second."),
    _gauge("rss_bytes", "Resident memory of the engine."),
    _gauge("peak_rss_bytes", "Largest resident memory of the engine."),
    _gauge("clock_offset_seconds", "Wall clock minus engine clock."),
    _gauge("journal_lag_seconds", "Age of the oldest record that is not yet durable."),
    _gauge("equity", "Account value, in quote units."),
    _histogram("wire_to_decision_seconds", "Time from a frame's arrival to the end of the step that included it."),
    _histogram("tick_to_decision_seconds", "Time from a tick's close to its last decision."),
    _histogram("journal_barrier_seconds", "Time an order waited for the journal to be durable."),
    _histogram("journal_fsync_seconds", "Time of the journal's fsyncs."),
    _histogram("tick_slice_seconds", "Time of one slice of a tick's work: features, digests, rows of tables."),
    _histogram("step_seconds", "Time of one step of the pipeline."),
)


def document() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Served by the monitor process at `/metrics` (Prometheus text or OpenMetrics). Generated from the catalogue by",
        "`make docs`.",
        "",
        "Whatever else the engine counts is exported too: a counter `x` of its feed as `data_controller_x_total`, a",
        "gauge `y` as `data_controller_y`. With the engine gone, `data_controller_engine_up` is 0,",
        "`kill_switch_active` is read from the latch file, `data_controller_ingest_rate` is 0, and the figures that",
        "only its feed holds are absent.",
        "",
        "| metric | kind | labels | meaning | from |",
        "|---|---|---|---|---|",
    ]
    rows: dict[str, tuple[Entry, list[str], list[str]]] = {}
    for entry in CATALOGUE:
        _, helps, sources = rows.setdefault(entry.name, (entry, [], []))
        helps.append(entry.help)
        sources.append(entry.source)
    for entry, helps, sources in rows.values():
        name = entry.name + ("_total" if entry.kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in entry.labels)
        lines.append(f"| `{name}` | {entry.kind} | {labels} | {' '.join(helps)} | {'; '.join(sources)} |")
    return "\n".join(lines) + "\n"
