from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_controller.features.catalogue import COLUMNS, LONGEST_HISTORY_S
from data_controller.features.compute import compute_all
from tests.features.reference import Reference
from tests.features.stream import (
    START_S,
    Book,
    Break,
    Engine,
    Event,
    Market,
    Trade,
    TradesLost,
    Wrong,
    at,
    ladder,
    random_events,
)


def quiet(seconds: float, mid: float = 100.0) -> list[Event]:
    """A book that never changes, seen a nanosecond after the start, and one old trade that opens the trade feed."""
    return [Book(at(0) + 1, *ladder(mid), snapshot=True), Trade(at(0) + 1, 1, 10000, 1000, snapshot=True)]


def assert_equals_reference(engine: Engine, reference: Reference) -> None:
    expected = reference.values()
    for name, found in engine.row().items():
        want = expected[name]
        assert (found is None) == (want is None), (name, found, want)
        if want is not None and found is not None:
            # One unit in the last place of float32, and for differences of large numbers 1e-9 of what they are made of.
            assert found == pytest.approx(float(np.float32(want)), rel=1.3e-7, abs=2e-7), name


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    seconds=st.sampled_from([4, 20, 70, 400, 1000]),
    rate=st.sampled_from([0.2, 1.0, 4.0]),
    faults=st.sampled_from([0.0, 0.005, 0.05]),
)
@example(seed=1, seconds=3700, rate=0.5, faults=0.0)
@example(seed=2, seconds=3800, rate=1.0, faults=0.002)
@example(seed=3, seconds=1000, rate=4.0, faults=0.002)
def test_every_feature_equals_its_slow_recomputation_from_the_events(
    seed: int, seconds: int, rate: float, faults: float
) -> None:
    events = [*quiet(seconds), *random_events(seed, seconds, rate, faults)]
    engine = Engine()
    engine.state.lead(0)
    for back in (seconds // 2, 0):
        tick = START_S + seconds - back
        engine.feed(*[e for e in events if engine.second * 10**9 < e.ns <= tick * 10**9]).tick(tick)
        assert_equals_reference(engine, Reference(events, tick))


def test_after_an_hour_of_a_lively_market_every_feature_is_valid() -> None:
    events = [*quiet(3700), *random_events(11, 3700, 1.0, 0.0)]
    engine = Engine()
    engine.state.lead(0)
    engine.feed(*events, Book(at(3699.9), *ladder(100.0, half=0.01, sizes=(9.0, 5.0, 4.0)))).tick(START_S + 3700)
    assert [name for name, value in engine.row().items() if value is None] == []


@pytest.mark.parametrize("seed", range(4))
def test_computing_every_tick_or_only_the_last_gives_the_same_bits(seed: int) -> None:
    events = [*quiet(400), *random_events(seed, 400, 2.0, 0.02)]
    always, once = Engine(), Engine()
    always.tick_every = 1
    for engine in (always, once):
        engine.feed(*events).tick(START_S + 400)
    assert once.state.values.tobytes() == always.state.values.tobytes()
    assert once.state.valid.tobytes() == always.state.valid.tobytes()


def test_slices_of_a_tick_give_the_bits_of_the_whole() -> None:
    engine = Engine(Market(3))
    streams = [(event, i) for i in range(3) for event in [*quiet(90), *random_events(i, 90, 2.0, 0.01)]]
    for event, i in sorted(streams, key=lambda pair: pair[0].ns):
        engine.feed(event, i=i)
    engine.tick(START_S + 90)
    whole = engine.state.values.copy(), engine.state.valid.copy()
    s = engine.state
    s.values[:], s.valid[:] = 7, 7
    for i in (2, 0, 1):
        compute_all(s.bins, s.hist, s.obs, i, i + 1, START_S + 89, s.params, s.values, s.valid)
    assert s.values.tobytes() == whole[0].tobytes()
    assert s.valid.tobytes() == whole[1].tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_a_value_depends_on_nothing_older_than_the_longest_history(seed: int) -> None:
    common = random_events(seed, LONGEST_HISTORY_S - 1, 0.5, 0.001)
    lead_in = 300
    bids, asks = ladder(100.0)
    shift = lead_in * 10**9
    joint: list[Event] = [Book(at(0), bids, asks, snapshot=True), Trade(at(0), 1, 10000, 1, snapshot=True)]

    def run(before: list[Event], first: int) -> tuple[bytes, bytes]:
        engine = Engine(start_s=START_S + first)
        for event in [*before, *joint, *common]:
            engine.feed(event)
        engine.tick(START_S + LONGEST_HISTORY_S - 1)
        return engine.state.values.tobytes(), engine.state.valid.tobytes()

    def moved(events: list[Event]) -> list[Event]:
        return [
            type(e)(
                **{
                    **e.__dict__,
                    "ns": e.ns - shift,
                    **({"since_ns": e.since_ns - shift} if isinstance(e, Wrong) else {}),
                }
            )
            for e in events
        ]

    # The second before the joint book is the oldest that any feature reads: it must be the same in both.
    fresh = run([Book(at(-1) + 1, bids, asks, snapshot=True), Trade(at(-1) + 1, 1, 10000, 1, snapshot=True)], -1)
    old = [e for e in moved(random_events(seed + 100, lead_in - 2, 3.0, 0.01)) if e.ns <= at(-1)]
    lived = run(
        [*old, Book(at(-1) + 1, bids, asks, snapshot=True), Trade(at(-1) + 1, 1, 10000, 1, snapshot=True)], -lead_in
    )
    assert fresh == lived


def test_a_record_exactly_at_the_tick_belongs_to_it_and_one_after_it_does_not() -> None:
    engine = Engine().feed(*quiet(10), Trade(at(10), 1, 10000, 1000), Trade(at(10) + 1, -1, 10000, 1000))
    engine.compute()
    assert engine.value("tfi_5") == 1.0
    assert engine.tick(START_S + 11).value("tfi_5") == 0.0


def test_a_record_exactly_at_the_windows_start_is_outside_it() -> None:
    engine = Engine().feed(*quiet(10), Trade(at(5), 1, 10000, 1000), Trade(at(6), -1, 10000, 1000))
    assert engine.tick(START_S + 10).value("tfi_5") == -1.0


@pytest.mark.parametrize(
    ("column", "warm_s"),
    [("ofi_5", 5), ("r_5", 6), ("r_60", 61), ("tfi_60", 60), ("spread_q50_300", 300), ("trade_rate_60", 60)],
)
def test_a_feature_is_invalid_until_its_warm_up_is_over(column: str, warm_s: int) -> None:
    engine = Engine().feed(*quiet(warm_s))
    assert engine.tick(START_S + warm_s - 1).value(column) is None
    assert engine.tick(START_S + warm_s).value(column) is not None


def test_a_gap_within_the_allowed_share_costs_nothing_and_one_above_it_voids_the_window() -> None:
    bids, asks = ladder(100.0)
    for gap_s, valid in ((2.9, True), (3.1, False)):
        engine = Engine().feed(*quiet(120), Break(at(70)), Book(at(70 + gap_s), bids, asks, snapshot=True))
        assert (engine.tick(START_S + 120).value("ofi_60") is not None) is valid
        assert engine.tick(START_S + 134).value("ofi_60") is not None


def test_a_break_leaves_nothing_of_the_live_book_valid() -> None:
    engine = Engine().feed(*quiet(70), Break(at(69.5))).tick(START_S + 70)
    row = engine.row()
    for column in ("spread", "cost_to_trade", "qi_best", "qi_5bps", "microprice_minus_mid", "log_depth_5bps", "r_5"):
        assert row[column] is None, column
    assert row["proof_ok"] == 0.0
    assert row["gap_fraction_60"] == pytest.approx(0.5 / 60, rel=1e-6)


def test_a_mismatch_takes_back_the_seconds_since_the_last_match() -> None:
    bids, asks = ladder(100.0)
    engine = Engine().feed(*quiet(100), Book(at(81), *ladder(105.0)), Wrong(at(90), at(80.5)))
    engine.feed(Book(at(90.25), bids, asks, snapshot=True)).tick(START_S + 100)
    assert engine.value("gap_fraction_60") == pytest.approx(10.25 / 60, rel=1e-6)
    assert engine.value("ofi_60") is None
    assert engine.value("r_60") == 0.0
    assert engine.state.bin(0, START_S + 79)["sums"][0] == 1e9
    assert engine.state.bin(0, START_S + 80)["sums"][0] == 0.0
    assert math.isnan(engine.state.bin(0, START_S + 85)["log_mid"])
    assert not math.isnan(engine.state.bin(0, START_S + 90)["log_mid"])


def test_a_mismatch_reaches_back_into_minutes_already_summed() -> None:
    events: list[Event] = [*quiet(700), Book(at(100.5), *ladder(140.0)), Book(at(101.5), *ladder(100.0))]
    engine = Engine()
    engine.tick_every = 1
    engine.feed(*events).tick(START_S + 700)
    assert engine.value("rv_300_over_rv_3600") is None
    before = engine.state.bins[0]["minute_high"].copy()
    engine.feed(Wrong(at(700) + 1, at(90)), Book(at(700) + 2, *ladder(100.0), snapshot=True)).tick(START_S + 701)
    assert 140.0 in before
    assert 140.0 not in engine.state.bins[0]["minute_high"]


def test_an_instrument_without_a_book_still_has_trade_features() -> None:
    engine = Engine()
    engine.primary[0] = -1
    engine.feed(Trade(at(0) + 1, 1, 10000, 1000)).tick(START_S + 60)
    row = engine.row()
    valid = {name for name, value in row.items() if value is not None}
    assert valid == {"tfi_5", "tfi_60", "trade_rate_60", "hour_sin", "hour_cos"}


def test_an_instrument_without_trades_still_has_book_features() -> None:
    engine = Engine().feed(quiet(60)[0]).tick(START_S + 61)
    row = engine.row()
    assert row["tfi_5"] is None
    assert row["trade_rate_60"] is None
    assert row["ofi_60"] == 0.0
    assert row["r_60"] == 0.0


def test_a_broken_trade_feed_voids_trade_features_only() -> None:
    engine = Engine().feed(*quiet(61), TradesLost(at(58.5)), Trade(at(58.7), 1, 10000, 1)).tick(START_S + 61)
    assert engine.value("tfi_5") is None
    assert engine.value("tfi_60") is not None
    assert engine.value("ofi_5") is not None


def test_the_leaders_return_is_seen_by_all_and_by_itself() -> None:
    engine = Engine(Market(2))
    engine.state.lead(1)
    for i, mid in ((0, 100.0), (1, 50.0)):
        engine.feed(Book(at(0) + 1, *ladder(mid), snapshot=True), i=i)
    engine.feed(Book(at(7.5), *ladder(50.1)), i=1).tick(START_S + 10)
    expected = np.float32(1e4 * (math.log(50.1) - math.log(50.0)))
    assert engine.value("leader_r_5", 0) == pytest.approx(expected, rel=1e-6)
    assert engine.value("leader_r_5", 1) == engine.value("r_5", 1)
    assert engine.value("r_5", 0) == 0.0


def test_without_a_leader_its_column_is_invalid() -> None:
    assert Engine().feed(*quiet(10)).tick(START_S + 10).value("leader_r_5") is None


def test_a_leader_without_a_book_makes_its_column_invalid() -> None:
    engine = Engine(Market(2))
    engine.state.lead(1)
    assert engine.feed(*quiet(10)).tick(START_S + 10).value("leader_r_5") is None


def test_realised_volatility_of_a_staircase_is_the_closed_form() -> None:
    events: list[Event] = quiet(61)
    step = 1.0001
    events += [Book(at(s), *ladder(100.0 * step**s, half=0.001)) for s in range(1, 62)]
    engine = Engine().feed(*events).tick(START_S + 61)
    # Every 5 s return is 5 ln(step), so the variance of 60 s is 12 of them squared; prices are rounded to 1e-6.
    assert engine.value("rv_60") == pytest.approx(1e4 * 5 * math.log(step) * math.sqrt(12), rel=1e-3)
    assert engine.value("r_60") == pytest.approx(1e4 * 60 * math.log(step), rel=1e-4)


def test_vwap_of_two_trades_is_weighted_by_their_size() -> None:
    trades = [Trade(at(10), 1, 10000, 1000), Trade(at(20), -1, 10100, 3000)]
    engine = Engine().feed(*quiet(300), *trades).tick(START_S + 300)
    assert engine.value("vwap_distance_300") == pytest.approx(1e4 * math.log(100.0 / 100.75), rel=1e-6)


def test_kyle_lambda_recovers_the_slope_that_made_the_market() -> None:
    """Each 5 s step moves the mid by 40 bps per million of signed quote volume."""
    rng = np.random.default_rng(5)
    events: list[Event] = [Book(at(0) + 1, *ladder(100.0, half=0.001), snapshot=True)]
    log_mid = math.log(100.0)
    for k in range(1, 182):
        size = int(rng.integers(1, 1000)) * 1000
        side = int(rng.choice([-1, 1]))
        log_mid += side * 40e-4 * (size / 1000 * 100.0 / 1e6)
        events.append(Trade(at(5 * k - 2), side, 10000, size))
        events.append(Book(at(5 * k - 2), *ladder(math.exp(log_mid), half=0.001)))
    engine = Engine().feed(*events).tick(START_S + 905)
    assert engine.value("kyle_lambda_900") == pytest.approx(40.0, rel=1e-3)


def test_an_unexpected_value_stays_valid_and_is_counted() -> None:
    engine = Engine().feed(*quiet(10), Book(at(7), *ladder(110.0))).tick(START_S + 10)
    assert engine.value("r_5") == pytest.approx(1e4 * math.log(1.1), rel=1e-6)
    assert engine.state.abnormal()["r_5"] == 1
    assert sum(engine.state.abnormal().values()) == 1


def test_columns_are_as_many_as_the_arrays_have() -> None:
    assert Engine().state.values.shape == (1, len(COLUMNS))
