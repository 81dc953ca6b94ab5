from __future__ import annotations

import json
import math

import numpy as np
import pytest

from data_controller.actions import Submit
from data_controller.trading.rows import DECISION, NEVER_NS, Reason, State, Verdict
from data_controller.trading.settings import RiskSettings, TradingSettings
from data_controller.trading.trader import Trader
from data_controller.trading.watch import touched
from tests.trading.helpers import MS, T0, Books, S, answer, open_trader, outputs, terms

UP = outputs(mean=20.0, sd=20.0, p_up=0.9)
DOWN = outputs(mean=-20.0, sd=20.0, p_up=0.1)


def market(n: int = 1) -> Books:
    books = Books(n)
    for i in range(n):
        books.put(i, [(99.99, 50.0)], [(100.01, 50.0)])
    return books


def holding(trader: Trader, books: Books, now_ns: int = T0) -> int:
    """Buy and fill; the time of the fill."""
    rows = answer(trader, books, np.repeat(UP, len(books.books), axis=0), 1, now_ns)
    assert (rows["verdict"] == Verdict.ACCEPTED).all()
    filled_ns = trader.next_due_ns
    trader.on_time(2, filled_ns, *books.view)
    assert (trader.portfolio["position"] > 0).all()
    trader.actions(), trader.fills()
    return filled_ns


def test_a_new_trader_lets_nothing_through() -> None:
    books = market()
    trader = Trader(terms(), RiskSettings(), 1, (60,))
    opened = [
        (Verdict.REFUSED_LATCHED, lambda: trader.set_latched(False)),
        (Verdict.REFUSED_JOURNAL, lambda: trader.set_journal_ok(True)),
        (Verdict.REFUSED_STATE, lambda: trader.set_state(State.REDUCING)),
        (Verdict.REFUSED_STATE, lambda: trader.set_state(State.ACTIVE)),
    ]
    for verdict, open_one_more in opened:
        assert answer(trader, books, UP)["verdict"].tolist() == [verdict]
        assert trader.actions() == []
        open_one_more()
    assert answer(trader, books, UP)["verdict"].tolist() == [Verdict.ACCEPTED]


def test_an_accepted_entry_is_an_order_that_names_its_decision() -> None:
    trader, books = open_trader(), market()
    (row,) = answer(trader, books, UP, seq=77)
    size = math.floor(100.0 / 100.01 * 1e8) / 1e8
    assert trader.actions() == [Submit(77, "000000000000004d-0-0", 0, 1, size, "entry")]
    assert trader.actions() == []
    assert (row["seq"], row["tick_ns"], row["horizon_s"], row["side"]) == (77, T0, 60, 1)
    assert row["ev_bps"] == pytest.approx(0.9 * row["gain_bps"] - 0.1 * row["loss_bps"] - 2.0, rel=1e-5)
    assert trader.next_due_ns == T0 + 100 * MS


def test_costs_in_the_row_add_up() -> None:
    trading = terms(fee_bps=1.0, latency_drift_bps=0.25, stake_quote=150.0)
    trader, books = open_trader(trading=trading), Books(1)
    books.put(0, [(99.99, 1.0), (99.97, 9.0)], [(100.01, 1.0), (100.05, 9.0)])
    (row,) = answer(trader, books, outputs(mean=100.0, sd=50.0, p_up=0.99))
    assert row["verdict"] == Verdict.ACCEPTED
    parts = ["fee_in_bps", "fee_out_bps", "half_spread_bps", "half_spread_bps", "slippage_in_bps"]
    parts += ["slippage_out_bps", "drift_bps"]
    assert row["cost_bps"] == pytest.approx(sum(row[p] for p in parts))
    assert all(row[p] > 0 for p in parts)


def test_the_horizon_with_the_most_value_is_chosen() -> None:
    trader, books = open_trader(horizons=(60, 300, 900)), market()
    out = outputs(1, 3, mean=5.0, sd=20.0, p_up=0.6)
    out[0, 1] = (0.8, 0.2, 30.0, 40.0)
    (row,) = answer(trader, books, out)
    assert (row["horizon"], row["horizon_s"]) == (1, 300)


@pytest.mark.parametrize("allow_short", [True, False])
def test_a_falling_forecast_enters_short_only_where_that_is_allowed(allow_short: bool) -> None:
    trader, books = open_trader(trading=terms(allow_short=allow_short)), market()
    (row,) = answer(trader, books, DOWN)
    if allow_short:
        assert (row["verdict"], row["side"]) == (Verdict.ACCEPTED, -1)
        trader.on_time(2, trader.next_due_ns, *books.view)
        assert trader.portfolio[0]["position"] < 0
    else:
        assert (row["verdict"], row["side"]) == (Verdict.NO_EDGE, 1)


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("feature", Verdict.REFUSED_FEATURES),
        ("answer", Verdict.REFUSED_PREDICTION),
        ("p nan", Verdict.REFUSED_PREDICTION),
        ("p above 1", Verdict.REFUSED_PREDICTION),
        ("p below 0", Verdict.REFUSED_PREDICTION),
        ("p sum", Verdict.REFUSED_PREDICTION),
        ("mean inf", Verdict.REFUSED_PREDICTION),
        ("sd zero", Verdict.REFUSED_PREDICTION),
        ("late", Verdict.REFUSED_STALE),
        ("future", Verdict.REFUSED_STALE),
        ("book", Verdict.REFUSED_BOOK),
        ("no book", Verdict.REFUSED_BOOK),
        ("crossed", Verdict.REFUSED_BOOK),
        ("depth", Verdict.REFUSED_DEPTH),
    ],
)
def test_what_a_decision_rests_on_must_be_sound(fault: str, verdict: Verdict) -> None:
    trader, books, out = open_trader(1), market(), UP.copy()
    feature_ok, valid, tick = np.ones(1, np.uint8), np.ones(1, np.uint8), T0
    if fault == "feature":
        feature_ok[0] = 0
    elif fault == "answer":
        valid[0] = 0
    elif fault == "late":
        tick = T0 - 3 * S
    elif fault == "future":
        tick = T0 + 1
    elif fault == "book":
        books.books["usable"] = 0
    elif fault == "no book":
        books.book_of[0] = -1
    elif fault == "crossed":
        books.put(0, [(100.02, 50.0)], [(100.01, 50.0)])
    elif fault == "depth":
        books.put(0, [(99.99, 50.0)], [(100.01, 0.5)])
    else:
        column, value = {
            "p nan": (0, math.nan),
            "p above 1": (0, 1.5),
            "p below 0": (1, -0.1),
            "p sum": (1, 0.2),
            "mean inf": (2, math.inf),
            "sd zero": (3, 0.0),
        }[fault]
        out[0, 0, column] = value
    (row,) = trader.on_answer(1, T0, tick, out, valid, feature_ok, *books.view)
    assert row["verdict"] == verdict
    assert trader.actions() == []
    counters = trader.counters
    assert (counters["decisions"], counters["decisions_refused"], counters["decisions_refused_invalid"]) == (1, 1, 1)


def test_one_bad_instrument_does_not_disturb_the_others() -> None:
    trader, books, out = open_trader(3), market(3), np.repeat(UP, 3, axis=0)
    out[1] = np.nan
    rows = answer(trader, books, out)
    assert rows["instrument"].tolist() == [0, 1, 2]
    assert rows["verdict"].tolist() == [Verdict.ACCEPTED, Verdict.REFUSED_PREDICTION, Verdict.ACCEPTED]


def test_limits_over_all_instruments_are_spent_on_the_best_value() -> None:
    trader, books = open_trader(3, max_open_positions=1), market(3)
    out = np.concatenate([outputs(mean=m, sd=20.0, p_up=0.8) for m in (15.0, 30.0, 20.0)])
    rows = answer(trader, books, out)
    wanted = [Verdict.REFUSED_OPEN_POSITIONS, Verdict.ACCEPTED, Verdict.REFUSED_OPEN_POSITIONS]
    assert rows["verdict"].tolist() == wanted


def test_exposure_counts_positions_and_orders_on_their_way() -> None:
    trader, books = open_trader(3, max_total_quote=250.0), market(3)
    rows = answer(trader, books, np.repeat(UP, 3, axis=0))
    assert rows["verdict"].tolist() == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.REFUSED_TOTAL_EXPOSURE]
    trader.on_time(2, trader.next_due_ns, *books.view)
    rows = answer(trader, books, np.repeat(UP, 3, axis=0), 3, T0 + S)
    wanted = [Verdict.REFUSED_OCCUPIED, Verdict.REFUSED_OCCUPIED, Verdict.REFUSED_TOTAL_EXPOSURE]
    assert rows["verdict"].tolist() == wanted
    assert rows["total_exposure_quote"][2] == pytest.approx(300.0, rel=1e-3)


def test_orders_are_counted_over_any_sixty_seconds() -> None:
    trader, books = open_trader(4, max_orders_minute=3), market(4)
    rows = answer(trader, books, np.repeat(UP, 4, axis=0))
    assert rows["verdict"].tolist() == [Verdict.ACCEPTED] * 3 + [Verdict.REFUSED_ORDER_RATE]
    again = answer(trader, books, np.repeat(UP, 4, axis=0), 2, T0 + 60 * S - 1)
    assert again["verdict"][3] == Verdict.REFUSED_ORDER_RATE
    later = answer(trader, books, np.repeat(UP, 4, axis=0), 3, T0 + 60 * S)
    assert later["verdict"][3] == Verdict.ACCEPTED


def test_a_loss_of_the_day_stops_entries_until_the_next_day() -> None:
    trader, books = open_trader(2, max_daily_loss_quote=1.0, max_drawdown_quote=1e9), market(2)
    first = outputs(2, mean=20.0, sd=20.0, p_up=0.9)
    first[1] = np.nan
    answer(trader, books, first)
    trader.on_time(2, trader.next_due_ns, *books.view)
    books.put(0, [(98.5, 50.0)], [(98.52, 50.0)])
    both = outputs(2, mean=20.0, sd=20.0, p_up=0.9)
    rows = answer(trader, books, both, 3, T0 + 10 * S)
    assert rows["verdict"].tolist() == [Verdict.REFUSED_OCCUPIED, Verdict.REFUSED_DAILY_LOSS]
    assert rows["daily_loss_quote"][1] == pytest.approx(1.5, abs=0.02)
    midnight = (T0 // (86_400 * S) + 1) * 86_400 * S
    assert answer(trader, books, both, 4, midnight - 1)["verdict"][1] == Verdict.REFUSED_DAILY_LOSS
    assert answer(trader, books, both, 5, midnight)["verdict"][1] == Verdict.ACCEPTED


def test_a_drawdown_from_the_peak_stops_entries() -> None:
    trader, books = open_trader(2, max_daily_loss_quote=1e9, max_drawdown_quote=2.0), market(2)
    first = outputs(2, mean=20.0, sd=20.0, p_up=0.9)
    first[1] = np.nan
    answer(trader, books, first)
    trader.on_time(2, trader.next_due_ns, *books.view)
    books.put(0, [(101.5, 50.0)], [(101.52, 50.0)])
    both = outputs(2, mean=20.0, sd=20.0, p_up=0.9)
    both[1] = np.nan
    answer(trader, books, both, 3, T0 + 2 * S)
    books.put(0, [(99.0, 50.0)], [(99.02, 50.0)])
    rows = answer(trader, books, outputs(2, mean=20.0, sd=20.0, p_up=0.9), 4, T0 + 3 * S)
    assert rows["verdict"][1] == Verdict.REFUSED_DRAWDOWN
    assert rows["drawdown_quote"][1] == pytest.approx(2.5, abs=0.02)


def test_a_position_whose_worth_is_unknown_stops_entries() -> None:
    trader, books = open_trader(2), market(2)
    out = outputs(2, mean=20.0, sd=20.0, p_up=0.9)
    out[1] = np.nan
    answer(trader, books, out)
    trader.on_time(2, trader.next_due_ns, *books.view)
    trader.portfolio["mark"][0] = np.nan
    books.books["usable"][0] = 0
    rows = answer(trader, books, outputs(2, mean=20.0, sd=20.0, p_up=0.9), 3, T0 + S)
    assert rows["verdict"].tolist() == [Verdict.REFUSED_BOOK, Verdict.REFUSED_TOTAL_EXPOSURE]


def test_a_position_times_out_with_its_horizon() -> None:
    trader, books = open_trader(horizons=(60,)), market()
    filled_ns = holding(trader, books)
    assert trader.next_due_ns == filled_ns + 60 * S
    assert len(trader.on_time(3, filled_ns + 60 * S - 1, *books.view)) == 0
    (row,) = trader.on_time(4, filled_ns + 60 * S, *books.view)
    assert (row["reason"], row["side"], row["leg"]) == (Reason.TIME_OUT, -1, 1)
    (order,) = trader.actions()
    assert (order.seq, order.reason, order.command_id) == (4, "time_out", "0000000000000004-0-1")
    trader.on_time(5, trader.next_due_ns, *books.view)
    assert trader.portfolio[0]["position"] == 0.0
    assert trader.next_due_ns == NEVER_NS


@pytest.mark.parametrize(("bid", "ask", "reason"), [(99.4, 99.42, Reason.STOP), (100.62, 100.64, Reason.TAKE_PROFIT)])
@pytest.mark.parametrize("state", list(State))
def test_a_touched_price_leaves_the_position_in_every_state(
    bid: float, ask: float, reason: Reason, state: State
) -> None:
    trader, books = open_trader(), market()
    filled_ns = holding(trader, books)
    trader.set_state(state)
    trader.set_latched(True)
    trader.set_journal_ok(False)
    assert touched(trader.watch, 0, 99.99, 100.01) == Reason.NONE
    books.put(0, [(bid, 50.0)], [(ask, 50.0)])
    assert touched(trader.watch, 0, bid, ask) == reason
    (row,) = trader.on_watch(0, int(reason), 9, filled_ns + S, *books.view)
    assert (row["verdict"], row["reason"], row["tick_ns"]) == (Verdict.ACCEPTED, reason, 0)
    assert touched(trader.watch, 0, bid, ask) == Reason.NONE
    assert len(trader.on_watch(0, int(reason), 9, filled_ns + S, *books.view)) == 0
    assert [order.reason for order in trader.actions()] == [reason.name.lower()]
    trader.on_time(10, trader.next_due_ns, *books.view)
    (fill,) = trader.fills()
    assert (fill["reason"], fill["position"], fill["price"]) == (reason, 0.0, bid)
    assert (fill["realised_quote"] > 0) == (reason == Reason.TAKE_PROFIT)


def test_exits_work_while_predictions_are_missing() -> None:
    trader, books = open_trader(), market()
    filled_ns = holding(trader, books)
    nothing = np.full((1, 1, 4), np.nan, np.float32)
    for k in range(70):
        now = filled_ns + k * S
        none = np.zeros(1, np.uint8)
        rows = trader.on_answer(100 + 2 * k, now, now, nothing, none, none, *books.view)
        assert rows["verdict"].tolist() == [Verdict.REFUSED_FEATURES]
        while trader.next_due_ns <= now:
            trader.on_time(101 + 2 * k, now, *books.view)
    assert trader.portfolio[0]["position"] == 0.0
    assert trader.counters["orders_time_out"] == 1


def test_a_turned_forecast_exits_at_the_tick() -> None:
    trader, books = open_trader(), market()
    filled_ns = holding(trader, books)
    (row,) = answer(trader, books, DOWN, 5, filled_ns + S)
    assert (row["verdict"], row["reason"], row["leg"], row["side"]) == (Verdict.ACCEPTED, Reason.EXIT, 1, -1)
    assert row["ev_bps"] > 0.5
    assert [order.reason for order in trader.actions()] == ["exit"]


@pytest.mark.parametrize("fault", ["stale", "invalid", "off"])
def test_a_turned_forecast_must_be_sound_to_exit(fault: str) -> None:
    trader, books = open_trader(trading=terms(exit_on_reversal=fault != "off")), market()
    now = holding(trader, books) + S
    ok = np.array([fault != "invalid"], np.uint8)
    trader.on_answer(5, now, now - 10 * S if fault == "stale" else now, DOWN, ok, ok, *books.view)
    assert trader.actions() == []


def test_an_exit_without_a_book_is_tried_again_until_flat() -> None:
    trader, books = open_trader(trading=terms(exit_retry_ms=500)), market()
    filled_ns = holding(trader, books)
    books.books["usable"] = 0
    trader.on_watch(0, int(Reason.STOP), 9, filled_ns + S, *books.view)
    trader.on_time(10, trader.next_due_ns, *books.view)
    rejected_ns = filled_ns + S + 100 * MS
    assert trader.next_due_ns == rejected_ns + 500 * MS
    assert len(trader.on_time(11, trader.next_due_ns, *books.view)) == 1
    books.books["usable"] = 1
    trader.on_time(12, trader.next_due_ns, *books.view)
    assert trader.portfolio[0]["position"] == 0.0
    assert [order.reason for order in trader.actions()] == ["stop", "stop"]
    assert trader.fills()["status"].tolist() == [0, 1]


def test_exits_tried_again_within_one_record_have_names_of_their_own() -> None:
    trader, books = open_trader(), market()
    filled_ns = holding(trader, books)
    books.books["usable"] = 0
    trader.on_watch(0, int(Reason.STOP), 9, filled_ns + S, *books.view)
    for _ in range(600):
        trader.on_time(9, trader.next_due_ns, *books.view)
        trader.fills()
    names = [order.command_id for order in trader.actions()]
    assert names[:3] == ["0000000000000009-0-1", "0000000000000009-0-1.1", "0000000000000009-0-1.2"]
    assert len(set(names)) == len(names) == 301


def test_arrays_that_may_not_be_written_are_read() -> None:
    trader, books = open_trader(), market()
    out, ok = np.frombuffer(UP.tobytes(), "<f4").reshape(UP.shape), np.frombuffer(b"\1", np.uint8)
    rows = trader.on_answer(1, T0, T0, out, ok, ok, *books.view)
    assert rows["verdict"].tolist() == [Verdict.ACCEPTED]


def test_after_an_exit_the_instrument_cools_down() -> None:
    trader, books = open_trader(cooldown_s=30.0), market()
    filled_ns = holding(trader, books)
    trader.on_watch(0, int(Reason.STOP), 9, filled_ns + S, *books.view)
    left_ns = trader.next_due_ns
    trader.on_time(10, left_ns, *books.view)
    assert answer(trader, books, UP, 11, left_ns + 29 * S)["verdict"].tolist() == [Verdict.REFUSED_COOLDOWN]
    assert answer(trader, books, UP, 12, left_ns + 30 * S)["verdict"].tolist() == [Verdict.ACCEPTED]


def test_decisions_without_an_edge_can_be_left_out_but_are_counted() -> None:
    flat = outputs(3, mean=0.0, sd=20.0, p_up=0.5)
    flat[1] = UP[0]
    for keep, instruments in ((True, [0, 1, 2]), (False, [1])):
        trader, books = open_trader(3, trading=terms(record_no_edge=keep)), market(3)
        assert answer(trader, books, flat)["instrument"].tolist() == instruments
        assert trader.counters["verdict_no_edge"] == 2
        assert trader.counters["decisions"] == 3


def test_wrong_shapes_are_the_callers_error() -> None:
    trader, books = open_trader(2), market(2)
    with pytest.raises(ValueError, match="expected outputs"):
        answer(trader, books, outputs(1))
    with pytest.raises(ValueError, match="expected outputs"):
        answer(trader, books, outputs(2, 3))


def scenario(trader: Trader, books: Books, seed: int, ticks: int = 40, start: int = 0) -> bytes:
    """A seeded run; every decision row and fill, end to end."""
    rng = np.random.default_rng(seed)
    n = len(books.books)
    bits = b""
    for k in range(start, start + ticks):
        now = T0 + k * S
        for i in range(n):
            mid = 100 + float(rng.normal(0, 0.3))
            books.put(i, [(mid - 0.01, 5.0)], [(mid + 0.01, 5.0)], bool(rng.random() < 0.9))
        out = np.empty((n, 1, 4), np.float32)
        out[:, 0, 0] = rng.random(n)
        out[:, 0, 1] = 1 - out[:, 0, 0]
        out[:, 0, 2] = 40 * (out[:, 0, 0] - 0.5)
        out[:, 0, 3] = 20
        bits += answer(trader, books, out, 10 * k, now).tobytes()
        for step in (1, 2):
            if trader.next_due_ns <= now + step * 100 * MS:
                bits += trader.on_time(10 * k + step, now + step * 100 * MS, *books.view).tobytes()
        bits += trader.fills().tobytes()
        bits += repr(trader.actions()).encode()
    return bits


def test_the_same_calls_give_the_same_bits_and_another_seed_does_not() -> None:
    runs = [scenario(open_trader(3), Books(3), seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_rows_do_not_depend_on_what_stood_in_their_memory_before() -> None:
    fresh, used = open_trader(2), open_trader(2)
    used._rows[:] = np.frombuffer(b"\xff" * 2 * DECISION.itemsize, DECISION)
    used._fills.view(np.uint8)[:] = 0xFF
    assert scenario(fresh, Books(2), 3) == scenario(used, Books(2), 3)


def test_a_restored_trader_goes_on_as_if_it_had_not_stopped() -> None:
    whole, first = open_trader(3), open_trader(3)
    books, again = Books(3), Books(3)
    scenario(whole, books, 4, ticks=20)
    scenario(first, again, 4, ticks=20)
    while whole.orders["pending"].any():
        for trader, view in ((whole, books), (first, again)):
            trader.on_time(998, trader.next_due_ns, *view.view)
            trader.fills(), trader.actions()
    assert whole.portfolio["position"].any()
    second = open_trader(3)
    second.restore(json.loads(json.dumps(first.dump())))
    assert second.next_due_ns == whole.next_due_ns
    assert second.dump() == first.dump()
    for name in ("position", "average_price", "cash_quote", "fees_quote", "timeout_ns", "last_exit_ns"):
        assert second.portfolio[name].tolist() == whole.portfolio[name].tolist()
    assert second.watch.tobytes() == whole.watch.tobytes()
    assert scenario(second, again, 5, 20, 100) == scenario(whole, books, 5, 20, 100)


def test_an_exit_on_its_way_is_tried_again_after_a_restart() -> None:
    trader, books = open_trader(), market()
    filled_ns = holding(trader, books)
    trader.on_watch(0, int(Reason.STOP), 9, filled_ns + S, *books.view)
    later = open_trader()
    later.restore(trader.dump())
    assert later.next_due_ns <= filled_ns + S
    (row,) = later.on_time(1 << 40, filled_ns + 10 * S, *books.view)
    assert row["reason"] == Reason.STOP


def test_what_came_due_while_nobody_was_there_is_due_at_the_restart() -> None:
    trader, books = open_trader(), market()
    filled_ns = holding(trader, books)
    timed_out, leaving = open_trader(), open_trader()
    timed_out.restore(trader.dump(), filled_ns + 3600 * S)
    assert timed_out.next_due_ns == filled_ns + 3600 * S
    trader.on_watch(0, int(Reason.STOP), 9, filled_ns + S, *books.view)
    leaving.restore(trader.dump(), filled_ns + 2 * S)
    assert leaving.next_due_ns == filled_ns + 2 * S


def test_restoring_opens_no_gate_and_nothing_restores_nothing() -> None:
    trader = Trader(terms(), RiskSettings(), 1, (60,))
    trader.restore({})
    trader.restore(open_trader().dump())
    books = market()
    assert answer(trader, books, UP)["verdict"].tolist() == [Verdict.REFUSED_LATCHED]


def test_a_reload_changes_terms_and_limits_but_not_the_account() -> None:
    trader, books = open_trader(), market()
    trader.set_limits(RiskSettings(max_stake_quote=10.0))
    assert answer(trader, books, UP)["verdict"].tolist() == [Verdict.REFUSED_STAKE]
    trader.set_terms(terms(stake_quote=5.0, start_equity_quote=99.0))
    (row,) = answer(trader, books, UP)
    assert (row["verdict"], row["stake_quote"]) == (Verdict.ACCEPTED, 5.0)
    assert trader.risk[0]["equity"] == 10_000.0


def test_the_trader_grows_and_keeps_what_it_holds() -> None:
    trader, books = open_trader(1), market(1)
    holding(trader, books)
    held = trader.portfolio[0].copy()
    trader.grow(3)
    trader.grow(2)
    assert trader.portfolio[0] == held
    rows = answer(trader, market(3), np.repeat(UP, 3, axis=0), 5, T0 + S)
    assert rows["verdict"].tolist() == [Verdict.REFUSED_OCCUPIED, Verdict.ACCEPTED, Verdict.ACCEPTED]


def test_orders_wait_where_fills_are_not_drained() -> None:
    trader, books = open_trader(2), market(2)
    trader._fills = trader._fills[:1]
    answer(trader, books, np.repeat(UP, 2, axis=0))
    trader.on_time(2, trader.next_due_ns, *books.view)
    assert len(trader.fills()) == 1
    assert trader.orders["pending"].tolist() == [0, 1]
    trader.on_time(3, trader.next_due_ns, *books.view)
    assert len(trader.fills()) == 1


def test_default_terms_cost_a_known_fee_rather_than_none() -> None:
    trading = TradingSettings()
    assert (trading.fee_bps, trading.fee_verified_on, trading.allow_short) == (20.0, None, False)
