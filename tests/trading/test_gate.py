from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from data_controller.trading.gate import RULES, describe, judge
from data_controller.trading.rows import DECISION, LIMITS, State, Verdict

LIMIT = {
    "min_edge_bps": 1.0,
    "max_stake_quote": 100.0,
    "max_instrument_quote": 200.0,
    "max_total_quote": 500.0,
    "max_open_positions": 3.0,
    "max_orders_minute": 10.0,
    "max_daily_loss_quote": 50.0,
    "max_drawdown_quote": 80.0,
    "max_spread_bps": 5.0,
    "max_prediction_age_s": 2.0,
    "cooldown_s": 30.0,
}
SOUND: dict[str, Any] = {
    "feature_ok": 1,
    "prediction_ok": 1,
    "prediction_age_s": 0.0,
    "book_usable": 1,
    "spread_bps": 1.0,
    "size": 1.0,
    "cost_bps": 1.0,
    "ev_bps": 5.0,
    "clear": 1,
    "journal_ok": 1,
    "state": int(State.ACTIVE),
    "position": 0.0,
    "pending": 0,
    "since_exit_s": math.inf,
    "stake_quote": 50.0,
    "instrument_exposure_quote": 50.0,
    "total_exposure_quote": 50.0,
    "open_positions": 1.0,
    "orders_minute": 1.0,
    "daily_loss_quote": 0.0,
    "drawdown_quote": 0.0,
}
BOUNDS = [  # verdict, field, just inside, just outside
    (Verdict.REFUSED_STALE, "prediction_age_s", 2.0, math.nextafter(2.0, 3.0)),
    (Verdict.REFUSED_STALE, "prediction_age_s", 0.0, -1e-9),
    (Verdict.REFUSED_SPREAD, "spread_bps", 5.0, math.nextafter(5.0, 6.0)),
    (Verdict.REFUSED_SPREAD, "spread_bps", 0.0, -1e-9),
    (Verdict.REFUSED_DEPTH, "size", 1e-8, 0.0),
    (Verdict.REFUSED_DEPTH, "cost_bps", 0.0, math.inf),
    (Verdict.NO_EDGE, "ev_bps", math.nextafter(1.0, 2.0), 1.0),
    (Verdict.REFUSED_COOLDOWN, "since_exit_s", 30.0, math.nextafter(30.0, 0.0)),
    (Verdict.REFUSED_STAKE, "stake_quote", 100.0, math.nextafter(100.0, 200.0)),
    (Verdict.REFUSED_STAKE, "stake_quote", 0.01, 0.0),
    (Verdict.REFUSED_INSTRUMENT_EXPOSURE, "instrument_exposure_quote", 200.0, math.nextafter(200.0, 300.0)),
    (Verdict.REFUSED_TOTAL_EXPOSURE, "total_exposure_quote", 500.0, math.nextafter(500.0, 600.0)),
    (Verdict.REFUSED_OPEN_POSITIONS, "open_positions", 3.0, 4.0),
    (Verdict.REFUSED_ORDER_RATE, "orders_minute", 10.0, 11.0),
    (Verdict.REFUSED_DAILY_LOSS, "daily_loss_quote", math.nextafter(50.0, 0.0), 50.0),
    (Verdict.REFUSED_DRAWDOWN, "drawdown_quote", math.nextafter(80.0, 0.0), 80.0),
    (Verdict.REFUSED_OCCUPIED, "position", 0.0, 1e-8),
    (Verdict.REFUSED_OCCUPIED, "position", -0.0, -1e-8),
]
EXACT = [  # verdict, field, what passes, what does not
    (Verdict.REFUSED_FEATURES, "feature_ok", 1, [0, 2, 255]),
    (Verdict.REFUSED_PREDICTION, "prediction_ok", 1, [0, 2, 255]),
    (Verdict.REFUSED_BOOK, "book_usable", 1, [0, 2, 255]),
    (Verdict.REFUSED_LATCHED, "clear", 1, [0, 2, 255]),
    (Verdict.REFUSED_JOURNAL, "journal_ok", 1, [0, 2, 255]),
    (Verdict.REFUSED_STATE, "state", 2, [0, 1, 3, 255]),
    (Verdict.REFUSED_OCCUPIED, "pending", 0, [1, 2]),
]


def judged(**changed: Any) -> np.void:
    row, limits = np.zeros(1, DECISION), np.zeros(1, LIMITS)
    for name, value in (SOUND | {k: v for k, v in changed.items() if k in SOUND}).items():
        row[name] = value
    for name, value in (LIMIT | {k: v for k, v in changed.items() if k in LIMIT}).items():
        limits[name] = value
    assert judge(row[0], limits[0]) == row["verdict"][0]
    return row[0]


def test_a_sound_proposal_is_accepted() -> None:
    assert judged()["verdict"] == Verdict.ACCEPTED


@pytest.mark.parametrize(("verdict", "field", "inside", "outside"), BOUNDS)
def test_each_limit_passes_just_inside_and_refuses_just_outside(
    verdict: Verdict, field: str, inside: float, outside: float
) -> None:
    assert judged(**{field: inside})["verdict"] == Verdict.ACCEPTED
    row = judged(**{field: outside})
    assert row["verdict"] == verdict
    assert verdict.name in describe(row)


@pytest.mark.parametrize("field", [name for name, value in SOUND.items() if isinstance(value, float)])
def test_each_figure_refuses_when_it_is_not_a_number(field: str) -> None:
    own = {verdict for verdict, name, *_ in BOUNDS if name == field}
    assert judged(**{field: math.nan})["verdict"] in own


@pytest.mark.parametrize("limit", list(LIMIT))
def test_each_limit_refuses_when_it_is_not_a_number(limit: str) -> None:
    own = {verdict for verdict, rule in RULES.items() if rule.limit == limit}
    assert judged(**{limit: math.nan})["verdict"] in own


@pytest.mark.parametrize(("verdict", "field", "good", "bad"), EXACT)
def test_each_flag_passes_only_its_one_good_value(verdict: Verdict, field: str, good: int, bad: list[int]) -> None:
    assert judged(**{field: good})["verdict"] == Verdict.ACCEPTED
    for value in bad:
        assert judged(**{field: value})["verdict"] == verdict


def test_a_row_of_zeros_is_refused() -> None:
    row, limits = np.zeros(1, DECISION), np.zeros(1, LIMITS)
    assert judge(row[0], limits[0]) == Verdict.REFUSED_FEATURES


def test_limits_of_zero_let_nothing_through() -> None:
    row = np.zeros(1, DECISION)
    for name, value in SOUND.items():
        row[name] = value
    row["spread_bps"] = 0.0
    assert judge(row[0], np.zeros(1, LIMITS)[0]) == Verdict.REFUSED_STAKE


def test_every_verdict_but_acceptance_has_a_rule_with_its_words() -> None:
    tested = {verdict for verdict, *_ in BOUNDS} | {verdict for verdict, *_ in EXACT}
    assert tested == set(RULES) == set(Verdict) - {Verdict.ACCEPTED, Verdict.REFUSED_UNJUDGED}
    for rule in RULES.values():
        assert rule.figure in DECISION.names
        assert rule.limit == "" or rule.limit in LIMITS.names


def test_a_refusal_says_its_number_name_limit_and_figure() -> None:
    text = describe(judged(spread_bps=7.5))
    assert text == "14 REFUSED_SPREAD: expected spread in bps at most 5 (`max_spread_bps`), was 7.5"
    assert describe(judged(clear=0)) == "20 REFUSED_LATCHED: expected that the kill switch is clear, was 0 (`clear`)"
    assert describe(judged()) == "1 ACCEPTED"
