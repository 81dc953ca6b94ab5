from __future__ import annotations

import math

import numpy as np
import pytest

from data_controller.features.observe import imbalance, microprice_bps, walk
from data_controller.features.parameters import Parameters
from data_controller.features.settings import FeatureSettings
from data_controller.features.state import make_params
from data_controller.market.layout import LEVEL
from tests.features.stream import START_S, Book, Engine, Levels, Market, at, new_state

BIDS: Levels = ((99.99, 4.0), (99.95, 8.0), (99.80, 10.0), (99.0, 100.0))
ASKS: Levels = ((100.01, 1.0), (100.04, 3.0), (100.20, 6.0), (101.0, 100.0))


def observed(**settings: object) -> np.void:
    engine = Engine(state=new_state(1, **settings)).feed(Book(at(0), BIDS, ASKS, snapshot=True)).tick(START_S + 1)
    return engine.state.obs[0]


def test_bands_hold_the_levels_within_their_distance_of_the_mid() -> None:
    o = observed()
    assert o["qi_best"] == pytest.approx((4 - 1) / 5)
    assert o["qi_narrow"] == pytest.approx((12 - 4) / 16)
    assert o["qi_wide"] == pytest.approx((22 - 10) / 32)
    assert o["depth_narrow"] == pytest.approx(4 * 99.99 + 8 * 99.95 + 100.01 + 3 * 100.04)


def test_the_spread_is_relative_to_the_mid() -> None:
    assert observed()["spread_bps"] == pytest.approx(2.0)


def test_cost_to_trade_walks_each_side() -> None:
    o = observed(order_size_quote=300.0)
    buy = 300.0 / (1.0 + (300.0 - 100.01) / 100.04)
    assert o["cost_buy_bps"] == pytest.approx(1e4 * (buy - 100.0) / 100.0)
    assert o["cost_sell_bps"] == pytest.approx(1.0)


def test_a_book_that_is_not_deep_enough_has_no_cost() -> None:
    engine = Engine(state=new_state(1, order_size_quote=1e5)).feed(Book(at(0), BIDS, ASKS, snapshot=True))
    engine.tick(START_S + 1)
    assert engine.value("cost_to_trade") is None
    assert engine.value("spread") is not None


def test_a_walk_that_takes_exactly_all_is_deep_enough() -> None:
    levels = np.zeros(2, LEVEL)
    levels["price"], levels["size"] = [10.0, 20.0], [1.0, 2.0]
    assert walk(levels, 0, 2, 50.0) == pytest.approx(50.0 / 3.0)
    assert math.isnan(walk(levels, 0, 2, 50.1))
    assert math.isnan(walk(levels, 0, 0, 1.0))


def test_an_imbalance_of_nothing_is_not_a_number() -> None:
    assert math.isnan(imbalance(0.0, 0.0))
    assert imbalance(1.0, 0.0) == 1.0


def test_the_microprice_follows_its_table_by_bucket_and_spread_state() -> None:
    table = ((-0.5, 0.0, 0.5), (-1.0, 0.1, 1.0))
    params = make_params(FeatureSettings(levels=1), Parameters("r", "nothing", (1.0,), (3.0,), table))
    assert microprice_bps(1.0, 9.0, 2.0, params) == -0.5
    assert microprice_bps(5.0, 5.0, 2.0, params) == 0.0
    assert microprice_bps(9.0, 1.0, 2.0, params) == 0.5
    assert microprice_bps(9.0, 1.0, 3.0, params) == 1.5
    assert microprice_bps(1.0, 1e-300, 4.0, params) == 2.0


def test_the_default_microprice_is_antisymmetric() -> None:
    params = new_state().params
    for bid, ask in ((1.0, 9.3), (2.0, 3.1), (0.1, 5.0)):
        assert microprice_bps(bid, ask, 2.0, params) == -microprice_bps(ask, bid, 2.0, params)


def test_age_is_counted_from_the_books_last_message() -> None:
    engine = Engine().feed(Book(at(0.25), BIDS, ASKS, snapshot=True)).tick(START_S + 3)
    assert engine.value("feed_age_ms") == 2750.0


def test_without_a_book_nothing_of_it_is_observed() -> None:
    engine = Engine(Market(1))
    engine.primary[0] = -1
    engine.tick(START_S + 1)
    assert engine.state.obs[0]["live"] == 0
    for column in ("feed_age_ms", "gap_fraction_60", "proof_ok", "spread"):
        assert engine.value(column) is None


def test_what_was_observed_before_does_not_outlive_a_break() -> None:
    engine = Engine().feed(Book(at(0), BIDS, ASKS, snapshot=True)).tick(START_S + 1)
    assert engine.state.obs[0]["mid"] == 100.0
    engine.feed(Book(at(1.5), BIDS, (), usable=True)).tick(START_S + 2)
    assert math.isnan(engine.state.obs[0]["mid"])
    assert engine.value("spread") is None
