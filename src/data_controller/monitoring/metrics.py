"""Metrics as a function of what the monitor knows: the families that Prometheus scrapes.

Every counter, gauge and histogram that the engine puts in its feed is exported, known to the catalogue or not: key
`orders` becomes `data_controller_orders_total`. A key may carry labels: `refusals{rule=spread}`. What the feed
says is exported only while it is young enough to be believed; a scrape of a dead engine has no stale figures in it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from data_controller.control import Feed, Histogram
from data_controller.monitoring.catalogue import CATALOGUE, MAX_SERIES, PREFIX, Kind
from data_controller.monitoring.health import findings
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.monitoring.view import View

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float | Histogram]
"""Metric name (a counter's without `_total`), labels, value."""

_BY_NAME = {entry.name: entry for entry in CATALOGUE}
_OWN = {entry.name for entry in CATALOGUE if entry.source == "monitor"}
"""What the monitor measures itself; an engine that says it too is not heard."""
_SPECIAL: dict[str, tuple[str, Labels]] = {
    "checksums_ok": ("checksums", (("result", "ok"),)),
    "checksums_bad": ("checksums", (("result", "bad"),)),
}
_RANK = {"failed": 0, "degraded": 1, "ok": 2}
_KEY = re.compile(r"([^{]*)(?:\{(.*)\})?", re.DOTALL)
_NOT_NAME = re.compile(r"[^a-zA-Z0-9_]")


def split_key(key: str) -> tuple[str, Labels]:
    """A feed key as metric name and labels: `refusals{rule=spread,side=buy}`; what no name may hold becomes `_`."""
    if key in _SPECIAL:
        return _SPECIAL[key]
    found = _KEY.fullmatch(key)
    name, inside = (found[1], found[2]) if found else (key, None)
    labels = []
    for part in (inside or "").split(","):
        label, equals, value = part.partition("=")
        if equals:
            labels.append((_label_name(label), value.strip()))
    return _NOT_NAME.sub("_", name).removesuffix("_total") or "unnamed", tuple(sorted(dict(labels).items()))


def samples(view: View, limits: MonitoringSettings) -> Iterator[tuple[Kind, Sample]]:
    """Every sample of `view`, in no particular order; unknown numbers are left out."""
    yield from _of_monitor(view, limits)
    feed = view.live(limits.feed_failed_s)
    if feed is None:
        return
    yield from _of_engine(feed)
    yield from _of_books(feed)
    for key, count in feed.counters.items():
        name, labels = split_key(key)
        yield "counter", (PREFIX + name, labels, float(count))
    for key, value in feed.gauges.items():
        if value is not None:
            name, labels = split_key(key)
            if PREFIX + name not in _OWN:
                yield "gauge", (PREFIX + name, labels, value)
    for key, histogram in feed.histograms.items():
        name, labels = split_key(key)
        full = name if name in _BY_NAME else PREFIX + name
        yield "histogram", (full, labels, histogram)


def _of_monitor(view: View, limits: MonitoringSettings) -> Iterator[tuple[Kind, Sample]]:
    def gauge(name: str, value: float, labels: Labels = ()) -> tuple[Kind, Sample]:
        return "gauge", (name, labels, float(value))

    live = view.live(limits.feed_failed_s)
    yield gauge("kill_switch_active", view.latch.active or (live is not None and live.kill.active))
    yield gauge(PREFIX + "engine_up", live is not None)
    if view.feed_age_s is not None:
        yield gauge(PREFIX + "feed_age_seconds", view.feed_age_s)
    found = findings(view, limits)
    yield gauge(PREFIX + "health", min(_RANK[f.state] for f in found.values()))
    for name, finding in found.items():
        yield gauge(PREFIX + "component_health", _RANK[finding.state], (("component", name),))
    for severity, count in view.alerts_firing.items():
        yield gauge(PREFIX + "alerts_firing", count, (("severity", severity),))
    for (exchange, channel), rate in view.rates.items():
        value = rate if live is not None else 0.0
        yield gauge(PREFIX + "ingest_rate", value, (("exchange", exchange), ("channel", channel)))
    if view.machine.disk_free_bytes is not None:
        yield gauge(PREFIX + "disk_free_bytes", view.machine.disk_free_bytes)
    if view.machine.memory_free_ratio is not None:
        yield gauge(PREFIX + "memory_free_ratio", view.machine.memory_free_ratio)
    yield "counter", (PREFIX + "alerts_lost", (), float(view.alerts_lost))
    yield "counter", (PREFIX + "monitor_feeds", (), float(view.feeds))
    yield "counter", (PREFIX + "monitor_connections", (), float(view.connections))


def _of_engine(feed: Feed) -> Iterator[tuple[Kind, Sample]]:
    labels = {"version": "", "code": "", "config": "", **feed.info}
    yield "gauge", (PREFIX + "build_info", _labels(labels), 1.0)
    yield "gauge", (PREFIX + "engine_start_time_seconds", (), feed.started_ns / 1e9)
    yield "gauge", (PREFIX + "engine_run", (), float(feed.run))
    for mode in ("HALTED", "REDUCING", "ACTIVE"):
        yield "gauge", (PREFIX + "mode", (("mode", mode),), float(feed.mode == mode))
    for phase in ("starting", "prehistory", "live", "stopping"):
        yield "gauge", (PREFIX + "phase", (("phase", phase),), float(feed.phase == phase))
    for stat in feed.channels:
        stream: Labels = (("exchange", stat.exchange), ("channel", stat.channel))
        yield "counter", (PREFIX + "channel_frames", stream, float(stat.frames))
        yield "counter", (PREFIX + "channel_events", stream, float(stat.events))
        if stat.late_ms is not None:
            yield "gauge", (PREFIX + "channel_late_seconds", stream, stat.late_ms / 1e3)
    for queue in feed.queues:
        which: Labels = (("queue", queue.name),)
        yield "gauge", (PREFIX + "queue_depth", which, float(queue.depth))
        yield "gauge", (PREFIX + "queue_peak", which, float(queue.peak))
        yield "gauge", (PREFIX + "queue_capacity", which, float(queue.capacity))
    for position in feed.positions:
        of: Labels = (("exchange", position.exchange), ("symbol", position.symbol))
        if position.size is not None:
            yield "gauge", (PREFIX + "position_size", of, position.size)
        if position.unrealised is not None:
            yield "gauge", (PREFIX + "position_unrealised", of, position.unrealised)


def _of_books(feed: Feed) -> Iterator[tuple[Kind, Sample]]:
    proofs: dict[Labels, int] = defaultdict(int)
    for book in feed.books:
        proofs[(("exchange", book.exchange), ("proof", book.proof))] += 1
        of: Labels = (("exchange", book.exchange), ("symbol", book.symbol), ("precision", book.precision))
        yield "gauge", (PREFIX + "book_usable", of, float(book.usable))
        if book.age_ms is not None:
            yield "gauge", (PREFIX + "book_age_seconds", of, book.age_ms / 1e3)
        if book.bid is not None:
            yield "gauge", (PREFIX + "book_bid", of, book.bid)
        if book.ask is not None:
            yield "gauge", (PREFIX + "book_ask", of, book.ask)
        yield "counter", (PREFIX + "book_checksums", (*of, ("result", "ok")), float(book.checks_ok))
        yield "counter", (PREFIX + "book_checksums", (*of, ("result", "bad")), float(book.checks_bad))
        yield "counter", (PREFIX + "book_gaps", of, float(book.gaps))
        yield "counter", (PREFIX + "book_resyncs", of, float(book.resyncs))
    for labels, count in proofs.items():
        yield "gauge", (PREFIX + "books", labels, float(count))


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple({_label_name(name): value for name, value in labels.items()}.items())


def _label_name(text: str) -> str:
    """`text` as a label's name: `__x` and `le` mean something of their own to Prometheus, a digit cannot lead."""
    name = _NOT_NAME.sub("_", text.strip()).lstrip("_0123456789") or "label"
    return "le_" if name == "le" else name


def families(view: View, limits: MonitoringSettings) -> list[Metric]:
    """The samples of `view` as families of prometheus_client, by name; at most MAX_SERIES samples in all.

    A family has one kind and one set of labels, those of its first sample: a later one that differs is dropped and
    counted, as is a second sample with the same labels, since either would make the whole scrape invalid.
    """
    made: dict[str, Metric] = {}
    shapes: dict[str, tuple[Kind, frozenset[str]]] = {}
    taken: set[tuple[str, Labels]] = set()
    dropped = 0
    for kind, (name, labels, value) in samples(view, limits):
        shape = (kind, frozenset(label for label, _ in labels))
        ordered = tuple(sorted(labels))
        if (
            len(taken) >= MAX_SERIES
            or shapes.setdefault(name, shape) != shape
            or (name, ordered) in taken
            or (isinstance(value, Histogram) and len(value.counts) != len(value.bounds) + 1)
        ):
            dropped += 1
            continue
        taken.add((name, ordered))
        names = [label for label, _ in ordered]
        if name not in made:
            made[name] = _family(kind, name, names)
        _add(made[name], [text for _, text in ordered], value)
    left_out = GaugeMetricFamily(PREFIX + "series_dropped", _BY_NAME[PREFIX + "series_dropped"].help, value=dropped)
    return [*(made[name] for name in sorted(made)), left_out]


def _family(kind: Kind, name: str, labels: list[str]) -> Metric:
    entry = _BY_NAME.get(name)
    text = entry.help if entry is not None else f"What the engine counts under this name ({kind})."
    if kind == "counter":
        return CounterMetricFamily(name, text, labels=labels)
    if kind == "gauge":
        return GaugeMetricFamily(name, text, labels=labels)
    return HistogramMetricFamily(name, text, labels=labels)


def _add(family: Metric, labels: list[str], value: float | Histogram) -> None:
    if isinstance(value, Histogram):
        assert isinstance(family, HistogramMetricFamily)
        total, buckets = 0, []
        for bound, count in zip([*(str(b) for b in value.bounds), "+Inf"], value.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, value.sum or 0.0)
    else:
        assert isinstance(family, (CounterMetricFamily, GaugeMetricFamily))
        family.add_metric(labels, value)


class _Once(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(view: View, limits: MonitoringSettings, accept: str = "") -> tuple[bytes, str]:
    """The body of `/metrics` and its content type, in the format that `accept` asks for (plain text by default)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families(view, limits)))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type
