from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.trading.paper import book_fill, quotes
from data_controller.trading.rows import POSITION, Reason, Status
from tests.trading.helpers import MS, T0, Books, S, answer, open_trader, outputs, terms

LATENCY_NS = 100 * MS
FEE_BPS = 10.0
START = 10_000.0


@dataclass
class Account:
    """The paper exchange once more, with exact arithmetic and no regard for speed."""

    cash: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    position: Fraction = Fraction(0)
    pending: list[tuple[int, Any]] = field(default_factory=list)

    def arrive(self, now_ns: int, bids: list, asks: list, usable: bool) -> list[tuple[float, float]]:
        done = []
        for due_ns, order in self.pending:
            assert due_ns <= now_ns
            left, quote = Fraction(order.size), Fraction(0)
            if usable and bids and asks and bids[0][0] < asks[0][0]:
                for price, size in asks if order.side > 0 else bids:
                    take = min(left, Fraction(size))
                    quote += take * Fraction(price)
                    left -= take
            filled = Fraction(order.size) - left
            self.position += order.side * filled
            self.cash -= order.side * quote
            self.fees += quote * Fraction(FEE_BPS) / 10_000
            done.append((float(filled), float(quote)))
        self.pending = []
        return done


def sides(step: int) -> Any:
    """Up to four levels, each a few ticks away from 100.00, sizes in 1/64."""
    gaps = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 128)), max_size=4)
    return gaps.map(
        lambda levels: [
            (100 + step * sum(g for g, _ in levels[: k + 1]) / 64, n / 64) for k, (_, n) in enumerate(levels)
        ]
    )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("book"), sides(-1), sides(1), st.sampled_from([True, True, True, False])),
        st.tuples(st.just("tick"), st.sampled_from([0.05, 0.5, 0.95]), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 100 * MS, 900 * MS, 61 * S])),
        st.tuples(st.just("watch"), st.sampled_from([Reason.STOP, Reason.TAKE_PROFIT])),
    ),
    max_size=40,
)


def play(script: list, allow_short: bool) -> dict[str, int]:
    """Run `script` on a Trader and on an Account side by side, compare at each step; the Trader's counters."""
    trading = terms(fee_bps=FEE_BPS, latency_ms=100, allow_short=allow_short, start_equity_quote=START)
    trader = open_trader(1, (60,), trading, max_spread_bps=1e4, max_daily_loss_quote=1e6, max_drawdown_quote=1e6)
    books, account, now, seq = Books(1), Account(), T0, 0
    bids, asks, usable = [(99.9, 4.0)], [(100.1, 4.0)], True
    books.put(0, bids, asks, usable)
    names = set()
    for action, *given_ in script:
        seq += 1
        if action == "book":
            bids, asks, usable = given_
            books.put(0, bids, asks, usable)
        elif action == "tick":
            p_up, late = given_
            out = outputs(1, 1, 200.0 * (p_up - 0.5), 50.0, p_up)
            answer(trader, books, out, seq, now, now - (5 * S if late else 0))
        elif action == "wait":
            now += given_[0]
        else:
            trader.on_watch(0, given_[0], seq, now, *books.view)
        if trader.next_due_ns <= now:
            held = float(account.position)
            expected = account.arrive(now, bids, asks, usable)
            trader.on_time(seq, now, *books.view)
            fills = trader.fills()
            assert len(fills) == len(expected)
            for row, (size, quote) in zip(fills, expected, strict=True):
                assert row["size"] == pytest.approx(size, rel=1e-12)
                assert row["quote"] == pytest.approx(quote, rel=1e-12)
                assert row["due_ns"] <= now
                status = Status.REJECTED if size == 0 else Status.PARTIAL if size < row["requested"] else Status.FILLED
                assert row["status"] == status
                if row["leg"] == 1:
                    assert abs(row["position"]) <= abs(held) and row["position"] * held >= 0
        for order in trader.actions():
            assert order.command_id not in names
            names.add(order.command_id)
            account.pending.append((now + LATENCY_NS, order))
        assert len(account.pending) == int(trader.orders["pending"].sum()) <= 1
        p = trader.portfolio[0]
        assert p["position"] == pytest.approx(float(account.position), abs=1e-12)
        assert allow_short or p["position"] >= 0
        assert p["cash_quote"] == pytest.approx(float(account.cash), abs=1e-8)
        assert p["fees_quote"] == pytest.approx(float(account.fees), abs=1e-8)
        assert (p["position"] == 0) == (p["average_price"] == 0)
        unrealised = p["position"] * (p["mark"] - p["average_price"]) if p["position"] else 0.0
        gross = p["cash_quote"] + (p["position"] * p["mark"] if p["position"] else 0.0)
        assert p["realised_quote"] + unrealised == pytest.approx(gross, abs=1e-8)
        assert bool(trader.watch[0]["armed"]) <= (p["position"] != 0)
    trader.on_time(seq + 1, now, *books.view)
    value = START + float(account.cash - account.fees)
    if account.position:
        value += float(account.position) * trader.portfolio[0]["mark"]
    assert trader.risk[0]["equity"] == pytest.approx(value, abs=1e-7)
    return trader.counters


@given(steps, st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_paper_account_agrees_with_exact_arithmetic_and_conserves_cash(script: list, allow_short: bool) -> None:
    play(script, allow_short)


def test_the_comparison_with_exact_arithmetic_sees_every_kind_of_order_and_fill() -> None:
    rng = np.random.default_rng(5)

    def ladder(step: int) -> list[tuple[float, float]]:
        gaps = np.cumsum(rng.integers(1, 12, rng.integers(0, 5)))
        return [(100 + step * int(g) / 64, int(rng.integers(1, 60)) / 64) for g in gaps]

    seen: dict[str, int] = {}
    for _ in range(20):
        script: list = []
        for _ in range(60):
            if rng.random() < 0.5:
                script.append(("book", ladder(-1), ladder(1), rng.random() < 0.9))
            script.append(("tick", float(rng.choice([0.05, 0.95])), False))
            script.append(("wait", int(rng.choice([100 * MS, 900 * MS, 61 * S]))))
            if rng.random() < 0.2:
                script.append(("watch", Reason(int(rng.integers(1, 3)))))
        for name, count in play(script, bool(rng.random() < 0.5)).items():
            seen[name] = seen.get(name, 0) + count
    for name in ("fills", "fills_partial", "orders_rejected"):
        assert seen[name] > 20, name
    for reason in ("entry", "exit", "stop", "take_profit", "time_out"):
        assert seen[f"orders_{reason}"] > 5, reason


def test_positions_average_in_realise_out_and_turn_through_zero() -> None:
    p = np.zeros(1, POSITION)[0]
    assert book_fill(p, 1, 2.0, 200.0, 0.2) == 0.0
    assert book_fill(p, 1, 2.0, 220.0, 0.2) == 0.0
    assert (p["position"], p["average_price"]) == (4.0, 105.0)
    assert book_fill(p, -1, 1.0, 110.0, 0.1) == 5.0
    assert (p["position"], p["average_price"]) == (3.0, 105.0)
    assert book_fill(p, -1, 5.0, 500.0, 0.5) == -15.0
    assert (p["position"], p["average_price"]) == (-2.0, 100.0)
    assert book_fill(p, 1, 2.0, 180.0, 0.1) == 20.0
    assert (p["position"], p["average_price"], p["realised_quote"]) == (0.0, 0.0, 10.0)
    assert p["cash_quote"] == 10.0
    assert p["fees_quote"] == pytest.approx(1.1)
    assert p["turnover_quote"] == 1210.0


@pytest.mark.parametrize("fault", ["unusable", "no bids", "no asks", "crossed", "locked", "no book", "unknown row"])
def test_an_order_that_meets_no_usable_book_is_rejected(fault: str) -> None:
    books = Books(1)
    books.put(0, [(99.0, 9.0)], [(100.0, 9.0)])
    trader = open_trader(trading=terms(), max_spread_bps=1e4)
    answer(trader, books, outputs(mean=500.0, sd=100.0))
    assert len(trader.actions()) == 1
    if fault == "unusable":
        books.books["usable"] = 0
    elif fault in ("no bids", "no asks"):
        books.books["n_bid" if fault == "no bids" else "n_ask"] = 0
    elif fault in ("crossed", "locked"):
        books.put(0, [(100.0 if fault == "locked" else 101.0, 9.0)], [(100.0, 9.0)])
    else:
        books.book_of[0] = -1 if fault == "no book" else 7
    assert all(map(math.isnan, quotes(books.books, int(books.book_of[0]), books.levels)))
    trader.on_time(2, T0 + LATENCY_NS, *books.view)
    (row,) = trader.fills()
    assert (row["status"], row["size"], row["quote"]) == (Status.REJECTED, 0.0, 0.0)
    assert math.isnan(row["price"])
    assert trader.portfolio[0]["position"] == 0.0
    assert trader.counters["orders_rejected"] == 1


def test_a_fill_walks_the_book_of_its_due_time_and_pays_the_fee() -> None:
    books = Books(1)
    books.put(0, [(99.0, 9.0)], [(100.0, 9.0)])
    trader = open_trader(trading=terms(fee_bps=10.0, stake_quote=200.0), max_spread_bps=1e4)
    answer(trader, books, outputs(mean=500.0, sd=100.0))
    books.put(0, [(100.0, 9.0)], [(101.0, 0.5), (103.0, 1.0)])
    trader.on_time(2, T0 + LATENCY_NS + 7, *books.view)
    (row,) = trader.fills()
    assert (row["status"], row["requested"], row["size"]) == (Status.PARTIAL, 2.0, 1.5)
    assert row["quote"] == 0.5 * 101 + 103
    assert row["fee_quote"] == pytest.approx(153.5 * 0.001)
    assert row["price"] == 153.5 / 1.5
    assert row["shortfall_bps"] == pytest.approx(1e4 * (153.5 / 1.5 - 99.5) / 99.5)
    assert (row["now_ns"], row["due_ns"], row["decision_seq"]) == (T0 + LATENCY_NS + 7, T0 + LATENCY_NS, 1)
    assert len(trader.fills()) == 0


def test_nothing_fills_before_its_due_time() -> None:
    books = Books(1)
    books.put(0, [(99.0, 9.0)], [(100.0, 9.0)])
    trader = open_trader(max_spread_bps=1e4)
    answer(trader, books, outputs(mean=500.0, sd=100.0))
    assert trader.next_due_ns == T0 + LATENCY_NS
    trader.on_time(2, T0 + LATENCY_NS - 1, *books.view)
    assert len(trader.fills()) == 0
    trader.on_time(3, T0 + LATENCY_NS, *books.view)
    assert len(trader.fills()) == 1
