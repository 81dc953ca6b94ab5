"""The summary holds what the commands promise, counted from the pipeline."""

from __future__ import annotations

from data_controller.cli.summary import KEYS
from data_controller.engine.summary import peak_rss_mb, summary_of
from data_controller.pipeline.pipeline import Pipeline
from tests.engine.conftest import Made

OF_THE_DRIVER = {"wire_to_decision_us", "tick_to_decision_us", "journal_bytes", "peak_rss_mb"}


def test_every_promised_key_is_there(made: Made) -> None:
    summary = summary_of(made.recording.pipeline)
    assert set(KEYS) - OF_THE_DRIVER <= set(summary)
    assert set(summary["digest"]) == {"events", "books", "features", "predictions", "decisions"}
    assert all(set(part) == {"sha256", "rows"} for part in summary["digest"].values())


def test_a_pipeline_that_saw_nothing_says_zero() -> None:
    def refuse(start: object) -> object:
        raise AssertionError

    summary = summary_of(Pipeline(refuse))  # type: ignore[arg-type]
    assert all(value == 0 for key, value in summary.items() if key != "digest")


def test_counts_are_those_of_the_rooms(made: Made) -> None:
    pipeline = made.recording.pipeline
    summary, totals = summary_of(pipeline), pipeline.totals()
    assert summary["fills"] == totals["trading_fills"] > 0
    assert summary["orders"] == sum(n for name, n in totals.items() if name.startswith("trading_orders_"))
    assert summary["checksums_ok"] == pipeline.books.books["checks_ok"].sum() > 0
    assert summary["frames"] == (made.recording.batch.kind == 4).sum()


def test_the_peak_is_in_megabytes() -> None:
    assert 20 < peak_rss_mb() < 20_000
