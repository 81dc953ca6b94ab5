"""Vitals: the worst lag since the last look, stalls counted, and how far the disk is behind."""

from __future__ import annotations

from pathlib import Path

from data_controller.engine.vitals import JournalLag, Vitals


def test_a_reading_has_the_worst_lag_and_forgets_it(tmp_path: Path) -> None:
    vitals = Vitals(tmp_path, stall_ns=1_000)
    for lag_ns in (10, 2_000, 500):
        vitals.lag(lag_ns)
    first, second = vitals.read(7, 3, True), vitals.read(8, None, False)
    assert (first.loop_lag_ns, second.loop_lag_ns) == (2_000, 0)
    assert (first.clock_offset_ns, first.fsync_ns, second.journal_ok) == (7, 3, False)
    assert vitals.stalls == 1
    assert (first.rss_bytes or 0) > 1 << 20 and (first.disk_free_bytes or 0) > 0
    gauges = vitals.gauges()
    assert gauges["loop_lag_seconds"] == 0.0 and gauges["clock_offset_seconds"] == 8e-9
    assert gauges["peak_rss_bytes"] == vitals.peak_rss_bytes > 0


def test_a_directory_that_went_away_has_no_free_space_to_tell(tmp_path: Path) -> None:
    assert Vitals(tmp_path / "gone").read(0, None, True).disk_free_bytes is None


def test_the_journals_lag_is_the_age_of_the_oldest_record_not_yet_durable() -> None:
    lag, second = JournalLag(), 10**9
    assert lag.look(10, 9, 0) == 0.0  # everything is durable
    assert lag.look(15, 9, second) == 1.0
    assert lag.look(20, 9, 3 * second) == 3.0
    assert lag.look(25, 14, 4 * second) == 3.0  # those of the second look's mark onwards wait
    assert lag.look(25, 24, 5 * second) == 0.0
