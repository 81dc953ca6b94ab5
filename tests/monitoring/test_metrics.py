"""What Prometheus reads back equals what the feed said, and nothing stale, doubled or ill-named gets out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from data_controller.control import BookStat, Histogram, KillStat
from data_controller.monitoring import metrics
from data_controller.monitoring.catalogue import CATALOGUE, MAX_SERIES, document
from data_controller.monitoring.metrics import exposition, split_key
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.monitoring.view import View

from .views import LATCHED, feed, view

LIMITS = MonitoringSettings()


def scrape(seen: View) -> tuple[dict[str, str], dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    """Types by family, and values by sample name and labels, as Prometheus's own parser reads them."""
    body, content_type = exposition(seen, LIMITS)
    assert content_type.startswith("text/plain")
    types, values = {}, {}
    for family in text_string_to_metric_families(body.decode()):
        types[family.name] = family.type
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in values
            values[key] = sample.value
    return types, values


def value(seen: View, name: str, **labels: str) -> float | None:
    return scrape(seen)[1].get((name, frozenset(labels.items())))


def test_the_three_metrics_of_the_mission_have_their_names_and_kinds() -> None:
    types, values = scrape(view())
    assert types["data_controller_ingest_rate"] == "gauge"
    assert types["prediction_latency_seconds"] == "histogram"
    assert types["kill_switch_active"] == "gauge"
    assert values["data_controller_ingest_rate", frozenset({("exchange", "bitfinex"), ("channel", "book")})] == 90
    assert values["kill_switch_active", frozenset()] == 0


def test_a_histogram_comes_back_cumulative_with_its_sum_and_count() -> None:
    _, values = scrape(view())
    buckets = {
        dict(labels)["le"]: n for (name, labels), n in values.items() if name == "prediction_latency_seconds_bucket"
    }
    assert buckets == {"0.001": 5, "0.01": 7, "+Inf": 8}
    assert values["prediction_latency_seconds_sum", frozenset()] == 0.05
    assert values["prediction_latency_seconds_count", frozenset()] == 8


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("data_controller_frames_total", {}, 1000),
        ("data_controller_checksums_total", {"result": "ok"}, 90),
        ("data_controller_checksums_total", {"result": "bad"}, 1),
        ("data_controller_refusals_total", {"rule": "spread"}, 4),
        ("data_controller_loop_lag_seconds", {}, 0.001),
        ("data_controller_queue_peak", {"queue": "arena"}, 7),
        ("data_controller_mode", {"mode": "ACTIVE"}, 1),
        ("data_controller_mode", {"mode": "HALTED"}, 0),
        ("data_controller_books", {"exchange": "bitfinex", "proof": "PROVED"}, 2),
        ("data_controller_book_bid", {"exchange": "bitfinex", "symbol": "tBTCUSD", "precision": "P0"}, 100),
        ("data_controller_engine_up", {}, 1),
        ("data_controller_feed_age_seconds", {}, 0.1),
        ("data_controller_build_info", {"version": "0.1.0", "code": "abc", "config": "def"}, 1),
        ("data_controller_component_health", {"component": "journal"}, 2),
        ("data_controller_position_size", {"exchange": "bitfinex", "symbol": "tBTCUSD"}, 0.5),
        ("data_controller_wire_to_decision_seconds_count", {}, 71),
    ],
)
def test_every_part_of_the_feed_is_there(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(view(), name, **labels) == expected


def test_a_dead_engine_shows_no_stale_figure() -> None:
    _, values = scrape(view(feed_age_s=60.0))
    names = {name for name, _ in values}
    assert values["data_controller_engine_up", frozenset()] == 0
    assert values["data_controller_health", frozenset()] == 0
    assert values["data_controller_ingest_rate", frozenset({("exchange", "bitfinex"), ("channel", "book")})] == 0
    assert not names & {"data_controller_frames_total", "data_controller_book_bid", "prediction_latency_seconds_count"}


def test_the_kill_switch_is_read_from_the_latch_and_from_a_live_engine() -> None:
    assert value(view(latch=LATCHED, feed=None, feed_age_s=None), "kill_switch_active") == 1
    assert value(view(feed=feed(kill=KillStat(active=True))), "kill_switch_active") == 1
    assert value(view(feed=feed(kill=KillStat(active=True)), feed_age_s=60.0), "kill_switch_active") == 0


def test_unknown_numbers_are_left_out() -> None:
    seen = view(feed=feed(gauges={"loop_lag_seconds": None}, books=[BookStat(exchange="x", symbol="y")]))
    names = {name for name, _ in scrape(seen)[1]}
    assert not names & {"data_controller_loop_lag_seconds", "data_controller_book_bid"}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("orders", ("orders", ())),
        ("orders_total", ("orders", ())),
        ("refusals{rule=spread}", ("refusals", (("rule", "spread"),))),
        ("a{y=2,x=1}", ("a", (("x", "1"), ("y", "2")))),
        ("a{", ("a_", ())),
        ("größe-1", ("gr__e_1", ())),
        ("", ("unnamed", ())),
        ("a{__name__=x}", ("a", (("name__", "x"),))),
        ("a{le=x,=y,z}", ("a", (("label", "y"), ("le_", "x")))),
    ],
)
def test_a_key_is_split_into_name_and_labels(key: str, expected: Any) -> None:
    assert split_key(key) == expected


keys = st.text(max_size=12) | st.sampled_from(
    ["frames", "mode", "queue_depth", "a{x=1}", "a{x=2}", "a{y=1}", "a{x=1,x=2}"]
)


@settings(max_examples=60, deadline=None)
@given(
    counters=st.dictionaries(keys, st.integers(0, 2**63 - 1), max_size=8),
    gauges=st.dictionaries(keys, st.none() | st.floats(allow_nan=False), max_size=8),
    histograms=st.dictionaries(
        keys, st.just(Histogram([0.1, 1.0], [1, 2, 3], None, 6)) | st.just(Histogram([1.0], [1], 0.0, 1)), max_size=4
    ),
    name=st.text(max_size=10),
)
def test_whatever_an_engine_sends_the_scrape_stays_readable(
    counters: dict[str, int], gauges: dict[str, float | None], histograms: dict[str, Histogram], name: str
) -> None:
    books = [BookStat(exchange=name, symbol=name)] * 2
    seen = view(feed=feed(counters=counters, gauges=gauges, histograms=histograms, books=books, info={name: name}))
    scrape(seen)
    body, content_type = exposition(seen, LIMITS, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text") and body.endswith(b"# EOF\n")


def test_openmetrics_is_read_back_too() -> None:
    body, _ = exposition(view(), LIMITS, "application/openmetrics-text; version=1.0.0")
    assert {family.name for family in parse_openmetrics(body.decode())} >= {
        "kill_switch_active",
        "data_controller_frames",
    }


def test_a_flood_of_series_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_SERIES", 100)
    seen = view(feed=feed(counters={f"c{i}": i for i in range(500)}))
    dropped = value(seen, "data_controller_series_dropped")
    assert dropped is not None and dropped > 400
    assert value(seen, "kill_switch_active") == 0  # what matters most comes first


def test_a_hundred_instruments_fit_with_room() -> None:
    books = [BookStat(exchange="bitfinex", symbol=f"t{i}", bid=1.0, ask=2.0, age_ms=1.0) for i in range(500)]
    assert value(view(feed=feed(books=books)), "data_controller_series_dropped") == 0
    assert MAX_SERIES >= 20_000


def test_every_metric_of_the_catalogue_can_be_produced() -> None:
    """Every entry has a sample when the feed holds its source, with exactly the labels the document promises."""
    counters = {e.source.split("`")[1]: 1 for e in CATALOGUE if e.source.startswith("feed counter")}
    gauges: dict[str, float | None] = {
        e.source.split("`")[1]: 1.0 for e in CATALOGUE if e.source.startswith("feed gauge")
    }
    histograms = {
        e.source.split("`")[1]: Histogram([1.0], [1, 0], 0.5, 1) for e in CATALOGUE if e.source.startswith("feed histo")
    }
    seen = view(
        feed=feed(counters=counters, gauges=gauges, histograms=histograms),
        alerts_firing={"info": 0, "warning": 0, "critical": 0},
    )
    made = {family.name: family for family in metrics.families(seen, LIMITS)}
    for entry in CATALOGUE:
        family = made[entry.name]
        assert family.type == entry.kind and family.documentation == metrics._BY_NAME[entry.name].help
        assert set(family.samples[0].labels) - {"le"} == set(entry.labels)
    assert set(made) == {entry.name for entry in CATALOGUE}


def test_the_document_is_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert path.read_text(encoding="utf-8") == document(), "run `make docs`"


@pytest.mark.needs_service
def test_promtool_finds_nothing_to_complain_about() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing")
        pytest.skip("promtool is missing: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=exposition(view(), LIMITS)[0], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
