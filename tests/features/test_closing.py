from __future__ import annotations

import numpy as np
import pytest

from data_controller.features.layout import MINUTE_S, OFI, STEP_SQUARED, STEPS, VALID_NS
from tests.features.stream import START_S, Book, Engine, Wrong, at, ladder, random_events


def test_closing_a_second_twice_changes_nothing() -> None:
    engine = Engine().feed(*random_events(1, 3.5, 10.0, 0.0))
    before = engine.state.bins.tobytes()
    engine.close(engine.second - 1)
    engine.close(engine.second - 3)
    assert engine.state.bins.tobytes() == before


def test_skipped_seconds_become_bins_that_know_nothing() -> None:
    engine = Engine().feed(Book(at(0.5), *ladder(100.0), snapshot=True))
    engine.close(START_S)
    engine.close(START_S + 4)
    assert [engine.state.bin(0, START_S + k)["sums"][VALID_NS] for k in range(5)] == [5e8, 0.0, 0.0, 0.0, 1e9]
    assert np.isnan(engine.state.bin(0, START_S + 2)["log_mid"])
    assert engine.state.bins[0]["first"] == START_S


def test_after_a_hole_longer_than_the_ring_history_begins_again() -> None:
    engine = Engine().feed(Book(at(0.5), *ladder(100.0), snapshot=True))
    engine.close(START_S)
    engine.close(START_S + 10_000)
    assert engine.state.bins[0]["first"] == START_S + 10_000
    with pytest.raises(KeyError):
        engine.state.bin(0, START_S)


def test_the_ring_forgets_what_it_overwrote() -> None:
    engine = Engine()
    ring = len(engine.state.bins[0]["log_mid"])
    engine.close_until(at(ring + 10))
    assert engine.state.bins[0]["first"] == START_S + 10
    assert engine.state.bins[0]["newest"] == START_S + ring + 9
    with pytest.raises(KeyError):
        engine.state.bin(0, START_S + 9)


def test_a_step_is_the_squared_return_over_five_seconds() -> None:
    engine = Engine().feed(Book(at(0.5), *ladder(100.0), snapshot=True), Book(at(5.5), *ladder(101.0)))
    engine.close_until(at(7))
    steps = [engine.state.bin(0, START_S + k)["sums"] for k in range(7)]
    assert [s[STEPS] for s in steps] == [0, 0, 0, 0, 0, 1, 1]
    assert steps[6][STEP_SQUARED] == pytest.approx((1e4 * np.log(1.01)) ** 2)


def test_minutes_are_the_ascending_sums_of_their_seconds() -> None:
    engine = Engine().feed(*random_events(7, 200, 5.0, 0.0)).tick(START_S + 200)
    ring = engine.state.bins[0]
    minute = START_S // MINUTE_S + 1
    total = 0.0
    for second in range(minute * MINUTE_S, (minute + 1) * MINUTE_S):
        total += float(engine.state.bin(0, second)["sums"][OFI])
    assert ring["minute_sums"][OFI][minute % ring["minute_sums"].shape[1]] == total != 0.0


def test_a_mismatch_leaves_trades_and_other_seconds_alone() -> None:
    events = random_events(3, 30, 5.0, 0.0)
    clean, wrong = Engine().feed(*events), Engine().feed(*events)
    now = max(events[-1].ns, at(30)) + 1
    clean.close_until(at(30))
    wrong.feed(Wrong(now, at(10.5)))
    for k in range(30):
        a, b = clean.state.bin(0, START_S + k), wrong.state.bin(0, START_S + k)
        if k < 10:
            assert a.tobytes() == b.tobytes()
        else:
            assert b["sums"][VALID_NS] == b["sums"][OFI] == b["sums"][STEPS] == 0.0
            assert np.isnan(b["mid_high"])
            assert list(b["sums"][7:11]) == list(a["sums"][7:11])


def test_a_mismatch_older_than_the_spread_ring_spares_the_seconds_that_took_its_place() -> None:
    engine = Engine().feed(Book(at(0), *ladder(100.0), snapshot=True)).tick(START_S + 700)
    engine.feed(Wrong(at(700) + 1, at(699.5)))
    engine.close_until(at(701))
    engine.feed(Book(at(701.5), *ladder(100.0), snapshot=True)).tick(START_S + 1100)
    kept = engine.value("spread_q50_300")
    engine.feed(Wrong(at(1100) + 1, at(1099.5)))
    s = engine.state
    from data_controller.features.closing import invalidate

    invalidate(s.bins, s.hist, s.acc, 0, at(100), at(200))
    engine.compute()
    assert kept is not None
    assert engine.value("spread_q50_300") == kept
    assert engine.state.bin(0, START_S + 150)["sums"][VALID_NS] == 0.0
