"""The feed says what is: figures from the rooms that keep them, and health of journal and prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_controller.control import Feed, QueueStat
from data_controller.engine.feed import FeedBuilder
from data_controller.errors import JournalError
from data_controller.killswitch.latch import LatchState
from data_controller.monitoring.health import EXPECTED_OF_ENGINE
from data_controller.prediction.ladder import Reply
from tests.engine.conftest import Made
from tests.engine.rig import Rig

CLEAR = LatchState(state="clear", reason="", who="", t_ns=0)
LATCHED = LatchState(state="latched", reason="enough", who="me", t_ns=5)


class Shelf:
    """A feed on the recording's pipeline and a recorder of its own."""

    def __init__(self, made: Made, folder: Path) -> None:
        self.rig = Rig(folder / "s")
        self.core = self.rig.core
        self.core.pipeline = made.recording.pipeline
        self.core.ladder = made.recording.models.ladder
        self.builder = FeedBuilder(self.core, run=3, info={"version": "1"}, started_ns=7)

    def feed(self, latch: LatchState = CLEAR) -> Feed:
        return self.builder.build(latch)


@pytest.fixture
def shelf(made: Made, tmp_path: Path) -> Any:
    made.recording.pipeline.latched = ""
    shelf = Shelf(made, tmp_path)
    yield shelf
    shelf.rig.close()


def test_counts_have_the_names_of_summary_and_metrics(shelf: Shelf, made: Made) -> None:
    feed = shelf.feed()
    totals = made.recording.pipeline.totals()
    assert feed.counters["checksums_ok"] == totals["checks_ok"] > 0
    assert feed.counters["fills"] == totals["trading_fills"] > 0
    for name in (
        "frames",
        "events",
        "decisions",
        "orders",
        "records",
        "journal_bytes",
        "feature_rows",
        "sequence_gaps",
    ):
        assert name in feed.counters, name
    assert feed.gauges["equity"] == pytest.approx(10_000, rel=0.1)
    assert (feed.run, feed.started_ns, feed.info) == (3, 7, {"version": "1"})


def test_what_lies_outside_the_core_is_asked_for_each_time(shelf: Shelf) -> None:
    figures = iter(range(10))
    shelf.builder.gauges.append(lambda: {"loop_lag_seconds": float(next(figures))})
    shelf.builder.counters.append(lambda: {"loop_stalls": next(figures)})
    shelf.builder.queues.append(lambda: QueueStat(name="tables", depth=1, peak=2, capacity=3))
    first, second = shelf.feed(), shelf.feed()
    assert (first.gauges["loop_lag_seconds"], second.gauges["loop_lag_seconds"]) != (0.0, 0.0)
    assert second.counters["loop_stalls"] > first.counters["loop_stalls"]
    assert [queue.name for queue in first.queues] == ["journal", "tables"]


def test_books_and_channels_are_those_of_the_pipeline(shelf: Shelf) -> None:
    feed = shelf.feed()
    assert {(book.symbol, book.precision) for book in feed.books} == {
        (symbol, precision) for symbol in ("tBTCUSD", "tETHUSD") for precision in ("P0", "R0")
    }
    traffic = {stat.channel: stat for stat in feed.channels}
    assert traffic["book"].frames > 0 and traffic["book"].events >= traffic["book"].frames
    assert traffic["trades"].events > 0


def test_the_mode_is_the_worst_of_latch_and_journal(shelf: Shelf) -> None:
    assert shelf.feed().mode == "ACTIVE"
    latched = shelf.feed(LATCHED)
    assert (latched.mode, latched.kill.active, latched.kill.reason) == ("REDUCING", True, "enough")
    shelf.core.pipeline.setup, kept = None, shelf.core.pipeline.setup
    assert shelf.feed().mode == "HALTED"
    shelf.core.pipeline.setup = kept


def test_the_engine_speaks_of_what_health_expects(shelf: Shelf) -> None:
    components = shelf.feed().components
    assert {components[name] for name in EXPECTED_OF_ENGINE} == {"ok", "ok: not asked yet"}


def test_a_failed_journal_is_failed(shelf: Shelf) -> None:
    shelf.core.recorder.failure = JournalError("no space")
    feed = shelf.feed()
    assert feed.components["journal"] == "failed: no space"
    assert feed.counters["journal_errors"] == 1
    shelf.core.recorder.failure = None


@pytest.mark.parametrize(
    ("tier", "failed", "state"),
    [("numpy", {}, "ok"), ("numpy", {"mlx": "gone"}, "degraded"), ("none", {"numpy": "broke"}, "failed")],
)
def test_prediction_is_as_good_as_the_tier_that_answered(
    shelf: Shelf, tier: str, failed: dict[str, str], state: str
) -> None:
    shelf.core.answered = Reply("", tier, failed, None, None)  # type: ignore[arg-type]
    said = shelf.feed().components["prediction"]
    assert said.startswith(state)
    assert all(f"{name}: {why}" in said for name, why in failed.items())


def test_no_bundle_is_a_failure(shelf: Shelf) -> None:
    shelf.core.ladder = None
    assert shelf.feed().components["prediction"].startswith("failed")


def test_alerts_are_numbered_and_repeated(shelf: Shelf) -> None:
    for number in range(3):
        shelf.builder.alert("warning", "name", f"text {number}", 9)
    assert [(alert.id, alert.text) for alert in shelf.feed().alerts] == [(1, "text 0"), (2, "text 1"), (3, "text 2")]
