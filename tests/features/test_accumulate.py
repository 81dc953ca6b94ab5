from __future__ import annotations

import numpy as np
import pytest

from data_controller.features.accumulate import spread_bin
from data_controller.features.layout import (
    BOOK_EVENTS,
    BUY_BASE,
    BUY_QUOTE,
    DEPTH_NS,
    EFFECTIVE_QUOTE,
    EFFECTIVE_QUOTE_BPS,
    FRESH_EVENTS,
    LEVELS_NS,
    OFI,
    QI_SIGN_NS,
    SELL_BASE,
    SELL_QUOTE,
    SPREAD_BINS,
    TRADES,
    TRADES_VALID_NS,
    VALID_NS,
)
from data_controller.market.layout import BOOK
from tests.features.stream import START_S, Book, Break, Engine, Levels, Market, Trade, TradesLost, at, ladder, new_state

BIDS: Levels = ((100.0, 5.0), (99.0, 3.0))
ASKS: Levels = ((101.0, 7.0), (102.0, 4.0))


def sums(engine: Engine, second: int = 0) -> np.ndarray:
    engine.close_until(at(second + 1))
    return np.array(engine.state.bin(0, START_S + second)["sums"])


@pytest.mark.parametrize(
    ("bids", "asks", "flow"),
    [
        (((100.5, 2.0), *BIDS), ASKS, 2.0),  # a better bid: its whole size
        (((100.0, 6.5), BIDS[1]), ASKS, 1.5),  # the same bid, larger
        (((99.0, 3.0),), ASKS, -5.0),  # the best bid is gone: what it was
        (BIDS, ((100.5, 2.0), *ASKS), -2.0),  # a better ask
        (BIDS, ((101.0, 4.0), ASKS[1]), 3.0),  # the same ask, smaller
        (BIDS, ((102.0, 4.0),), 7.0),  # the best ask is gone
    ],
)
def test_order_flow_of_each_of_the_six_cases(bids: Levels, asks: Levels, flow: float) -> None:
    engine = Engine().feed(Book(at(0.1), BIDS, ASKS, snapshot=True), Book(at(0.2), bids, asks))
    assert sums(engine)[OFI] == flow


def test_both_sides_of_one_message_add_up() -> None:
    engine = Engine().feed(
        Book(at(0.1), BIDS, ASKS, snapshot=True), Book(at(0.2), ((100.5, 2.0), *BIDS), ((101.0, 4.0), ASKS[1]))
    )
    assert sums(engine)[OFI] == 2.0 + 3.0


def test_order_flow_of_a_deeper_level_shifts_with_it() -> None:
    engine = Engine().feed(Book(at(0.1), BIDS, ASKS, snapshot=True), Book(at(0.2), ((100.5, 2.0), *BIDS), ASKS))
    # Level 1 was 99.0 and is now 100.0, a better price with size 5; level 2 appeared with the 3 that level 1 had.
    assert list(sums(engine)[OFI : OFI + 4]) == [2.0, 5.0, 3.0, 0.0]


def test_the_first_event_after_a_snapshot_adds_nothing_and_is_flagged() -> None:
    first = Book(at(0.1), BIDS, ASKS, snapshot=True)
    engine = Engine().feed(first, Book(at(0.2), ((100.9, 50.0),), ASKS, snapshot=True))
    found = sums(engine)
    assert (found[OFI], found[BOOK_EVENTS], found[FRESH_EVENTS]) == (0.0, 2.0, 2.0)


def test_the_first_event_after_a_break_adds_nothing_and_is_flagged() -> None:
    engine = Engine().feed(
        Book(at(0.1), BIDS, ASKS, snapshot=True), Break(at(0.2)), Book(at(0.3), ((100.0, 50.0),), ASKS)
    )
    found = sums(engine)
    assert (found[OFI], found[FRESH_EVENTS], found[VALID_NS]) == (0.0, 2.0, 8e8)


def test_another_primary_book_of_the_same_moment_starts_anew() -> None:
    engine = Engine(Market(2), new_state(2))
    engine.feed(Book(at(0.1), BIDS, ASKS, snapshot=True), i=0)
    engine.market.put(Book(at(0.1), ((100.9, 50.0),), ASKS, snapshot=True), 1)
    s, m = engine.state, engine.market
    from data_controller.features.accumulate import on_book

    on_book(s.acc, 0, m.books, 1, m.levels, at(0.2), s.params)
    engine.primary[0] = 1
    assert sums(engine)[OFI] == 0.0


@pytest.mark.parametrize(
    "event",
    [
        Book(at(0.5), (), ASKS),
        Book(at(0.5), BIDS, ()),
        Book(at(0.5), ((101.0, 1.0),), ASKS),
        Book(at(0.5), ((103.0, 1.0),), ASKS),
        Book(at(0.5), BIDS, ASKS, usable=False),
    ],
    ids=["no bids", "no asks", "locked", "crossed", "not usable"],
)
def test_time_with_no_market_is_gap(event: Book) -> None:
    engine = Engine().feed(Book(at(0.1), BIDS, ASKS, snapshot=True), event)
    assert sums(engine)[VALID_NS] == 4e8
    assert sums(engine, 1)[VALID_NS] == 0.0


def test_integrals_are_weighted_by_time() -> None:
    engine = Engine().feed(
        Book(at(0), BIDS, ASKS, snapshot=True),
        Book(at(0.25), ((100.0, 9.0), BIDS[1]), ASKS),
        Book(at(0.75), BIDS, ASKS),
    )
    found = sums(engine)
    assert found[VALID_NS] == 1e9
    assert found[DEPTH_NS] == 5e8 * 6.0 + 5e8 * 8.0
    assert found[QI_SIGN_NS] == -5e8 + 5e8
    assert found[LEVELS_NS] == pytest.approx((5e8 * 19.0 + 5e8 * 23.0) / 2 / 10)


def test_a_quiet_second_carries_the_book_that_stands() -> None:
    engine = Engine().feed(Book(at(0.5), BIDS, ASKS, snapshot=True))
    assert sums(engine, 3)[VALID_NS] == 1e9
    assert engine.state.bin(0, START_S + 3)["mid_high"] == 100.5


def test_a_proof_lost_without_a_message_is_gap_from_the_last_change() -> None:
    engine = Engine().feed(Book(at(0.5), BIDS, ASKS, snapshot=True), Book(at(1.25), BIDS, ((101.0, 8.0),)))
    engine.market.books[0]["usable"] = 0
    assert sums(engine, 1)[VALID_NS] == 2.5e8
    assert np.isnan(engine.state.bin(0, START_S + 1)["log_mid"])


def test_a_proof_gained_without_a_message_counts_from_the_end_of_its_second() -> None:
    engine = Engine().feed(Book(at(0.5), BIDS, ASKS, usable=False))
    engine.market.books[0]["usable"] = 1
    assert sums(engine)[VALID_NS] == 0.0
    assert np.exp(engine.state.bin(0, START_S)["log_mid"]) == pytest.approx(100.5)
    assert sums(engine, 1)[VALID_NS] == 1e9


def test_the_mids_path_holds_its_extremes_and_where_it_began() -> None:
    engine = Engine().feed(
        Book(at(0.5), *ladder(100.0), snapshot=True), Book(at(1.2), *ladder(103.0)), Book(at(1.4), *ladder(101.0))
    )
    engine.close_until(at(3))
    bins = [engine.state.bin(0, START_S + k) for k in range(3)]
    assert [(b["mid_low"], b["mid_high"]) for b in bins] == [(100.0, 100.0), (100.0, 103.0), (101.0, 101.0)]


def test_orders_of_equal_price_are_one_level() -> None:
    events = [
        Book(at(0.1), BIDS, ASKS, snapshot=True),
        Book(at(0.4), ((100.5, 2.0), *BIDS), ASKS),
        Book(at(0.7), ((100.5, 3.0), *BIDS), ((101.0, 6.0), ASKS[1])),
    ]
    by_level, by_order = Engine(Market(depth=2)), Engine(Market(depth=3))
    for engine in (by_level, by_order):
        engine.feed(*events).tick(START_S + 1)
    assert by_order.market.books[0]["n_bid"] == 2 * by_level.market.books[0]["n_bid"]
    assert list(sums(by_order)) == list(sums(by_level))
    assert by_order.value("qi_best") == by_level.value("qi_best")


def test_only_the_levels_asked_for_are_followed() -> None:
    engine = Engine(state=new_state(1, levels=1))
    engine.feed(Book(at(0), BIDS, ASKS, snapshot=True), Book(at(0.2), ((100.0, 5.0), (99.0, 9.0)), ASKS))
    found = sums(engine)
    assert list(found[OFI : OFI + 2]) == [0.0, 0.0]
    assert found[LEVELS_NS] == found[DEPTH_NS] == 6e9


def test_trades_add_up_by_taker_side() -> None:
    trades = [Trade(at(0.1), 1, 10050, 2000), Trade(at(0.2), -1, 10000, 500), Trade(at(0.3), 1, 10100, 1000)]
    found = sums(Engine().feed(*trades))
    assert (found[BUY_BASE], found[SELL_BASE]) == (3.0, 0.5)
    assert (found[BUY_QUOTE], found[SELL_QUOTE]) == (2 * 100.5 + 101.0, 50.0)
    assert found[TRADES] == 3.0


def test_fills_of_one_order_count_once() -> None:
    trades = [
        Trade(at(0.1), 1, 10000, 1000, exch_ns=7),
        Trade(at(0.1), 1, 10001, 1000, exch_ns=7),
        Trade(at(0.2), -1, 10000, 1000, exch_ns=7),
        Trade(at(0.3), -1, 10000, 1000),
        Trade(at(0.4), -1, 10000, 1000),
    ]
    found = sums(Engine().feed(*trades))
    assert found[TRADES] == 4.0
    assert found[BUY_BASE] == 2.0


def test_trades_of_a_snapshot_are_no_flow_but_open_the_feed() -> None:
    found = sums(Engine().feed(Trade(at(0.25), 1, 10000, 1000, snapshot=True)))
    assert (found[BUY_BASE], found[TRADES], found[TRADES_VALID_NS]) == (0.0, 0.0, 7.5e8)


def test_a_lost_trade_voids_the_feed_of_its_second_and_until_the_next() -> None:
    engine = Engine().feed(Trade(at(0), 1, 10000, 1000), TradesLost(at(1.5)), Trade(at(3.25), 1, 10000, 1000))
    assert [sums(engine, k)[TRADES_VALID_NS] for k in range(5)] == [1e9, 0.0, 0.0, 7.5e8, 1e9]


def test_the_effective_spread_is_taken_against_the_mid_that_stood() -> None:
    engine = Engine().feed(
        Trade(at(0.05), 1, 10000, 1000),  # no book yet
        Book(at(0.1), *ladder(100.0), snapshot=True),
        Trade(at(0.2), 1, 10010, 1000),
        Trade(at(0.3), -1, 9980, 1000),
    )
    found = sums(engine)
    assert found[EFFECTIVE_QUOTE] == pytest.approx(100.1 + 99.8)
    assert found[EFFECTIVE_QUOTE_BPS] == pytest.approx(100.1 * 20.0 + 99.8 * 40.0)


@pytest.mark.parametrize(
    ("spread_bps", "number"), [(1e-9, 0), (0.01, 0), (999.0, SPREAD_BINS - 1), (1e9, SPREAD_BINS - 1), (10**0.5, 64)]
)
def test_a_spread_counts_in_the_bin_that_holds_it(spread_bps: float, number: int) -> None:
    assert spread_bin(spread_bps * (1 + 1e-12)) == number


def test_zeroed_books_are_no_market() -> None:
    engine = Engine()
    engine.market.books = np.zeros(1, BOOK)
    assert sums(engine)[VALID_NS] == 0.0
