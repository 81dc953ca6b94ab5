from __future__ import annotations

import math

import numpy as np
import pytest

from data_controller.trading.rows import WATCH, Reason
from data_controller.trading.watch import arm, disarm, touched


def watching(side: int) -> np.ndarray:
    watch = np.zeros(2, WATCH)
    arm(watch, 1, side, 100.0, 100.0, 200.0)
    return watch


def test_a_long_stops_below_and_takes_profit_above_at_the_bid() -> None:
    watch = watching(1)
    assert (watch[1]["stop"], watch[1]["take_profit"]) == (99.0, 102.0)
    assert touched(watch, 1, 99.01, 99.02) == Reason.NONE
    assert touched(watch, 1, 99.0, 105.0) == Reason.STOP
    assert touched(watch, 1, 101.99, 102.5) == Reason.NONE
    assert touched(watch, 1, 102.0, 102.5) == Reason.TAKE_PROFIT


def test_a_short_stops_above_and_takes_profit_below_at_the_ask() -> None:
    watch = watching(-1)
    assert (watch[1]["stop"], watch[1]["take_profit"]) == (101.0, 98.0)
    assert touched(watch, 1, 90.0, 100.99) == Reason.NONE
    assert touched(watch, 1, 90.0, 101.0) == Reason.STOP
    assert touched(watch, 1, 97.0, 98.01) == Reason.NONE
    assert touched(watch, 1, 97.0, 98.0) == Reason.TAKE_PROFIT


def test_nothing_is_touched_unless_armed() -> None:
    watch = watching(1)
    assert touched(watch, 0, 1.0, 2.0) == Reason.NONE
    disarm(watch, 1)
    assert touched(watch, 1, 1.0, 2.0) == Reason.NONE
    assert watch[1] == np.zeros((), WATCH)


@pytest.mark.parametrize("bad", [math.nan, 0.0, -1.0])
def test_a_missing_price_touches_nothing(bad: float) -> None:
    for side in (1, -1):
        assert touched(watching(side), 1, bad, 200.0) == Reason.NONE
        assert touched(watching(side), 1, 1.0, bad) == Reason.NONE


def test_a_stop_wins_a_tie() -> None:
    watch = watching(1)
    watch[1]["take_profit"] = 99.0
    assert touched(watch, 1, 99.0, 99.5) == Reason.STOP
