"""The risk gate: a pure function of one decision row and the limits; what is missing or NaN refuses."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from data_controller.kernels import kernel
from data_controller.trading.rows import State, Verdict


class Rule(NamedTuple):
    """One numbered rule: the fields of DECISION and of LIMITS that it compares, and its words."""

    figure: str
    limit: str  # empty where the figure must be exactly what the words say
    words: str


RULES: dict[Verdict, Rule] = {
    Verdict.REFUSED_FEATURES: Rule("feature_ok", "", "features are valid"),
    Verdict.REFUSED_PREDICTION: Rule("prediction_ok", "", "a prediction is there"),
    Verdict.REFUSED_STALE: Rule("prediction_age_s", "max_prediction_age_s", "prediction age in s"),
    Verdict.REFUSED_BOOK: Rule("book_usable", "", "the book is proved"),
    Verdict.REFUSED_SPREAD: Rule("spread_bps", "max_spread_bps", "spread in bps"),
    Verdict.REFUSED_DEPTH: Rule("cost_bps", "", "the book is deep enough for the stake"),
    Verdict.NO_EDGE: Rule("ev_bps", "min_edge_bps", "expected value in bps"),
    Verdict.REFUSED_LATCHED: Rule("clear", "", "the kill switch is clear"),
    Verdict.REFUSED_JOURNAL: Rule("journal_ok", "", "the journal records"),
    Verdict.REFUSED_STATE: Rule("state", "", "the state is ACTIVE"),
    Verdict.REFUSED_OCCUPIED: Rule("position", "", "nothing is held or ordered in the instrument"),
    Verdict.REFUSED_COOLDOWN: Rule("since_exit_s", "cooldown_s", "seconds since the last exit"),
    Verdict.REFUSED_STAKE: Rule("stake_quote", "max_stake_quote", "stake"),
    Verdict.REFUSED_INSTRUMENT_EXPOSURE: Rule(
        "instrument_exposure_quote", "max_instrument_quote", "exposure in the instrument"
    ),
    Verdict.REFUSED_TOTAL_EXPOSURE: Rule("total_exposure_quote", "max_total_quote", "total exposure"),
    Verdict.REFUSED_OPEN_POSITIONS: Rule("open_positions", "max_open_positions", "open positions"),
    Verdict.REFUSED_ORDER_RATE: Rule("orders_minute", "max_orders_minute", "orders in 60 s"),
    Verdict.REFUSED_DAILY_LOSS: Rule("daily_loss_quote", "max_daily_loss_quote", "loss of the day"),
    Verdict.REFUSED_DRAWDOWN: Rule("drawdown_quote", "max_drawdown_quote", "drawdown"),
}

_ACCEPTED = int(Verdict.ACCEPTED)
_NO_EDGE = int(Verdict.NO_EDGE)
_FEATURES = int(Verdict.REFUSED_FEATURES)
_PREDICTION = int(Verdict.REFUSED_PREDICTION)
_STALE = int(Verdict.REFUSED_STALE)
_BOOK = int(Verdict.REFUSED_BOOK)
_SPREAD = int(Verdict.REFUSED_SPREAD)
_DEPTH = int(Verdict.REFUSED_DEPTH)
_LATCHED = int(Verdict.REFUSED_LATCHED)
_JOURNAL = int(Verdict.REFUSED_JOURNAL)
_STATE = int(Verdict.REFUSED_STATE)
_OCCUPIED = int(Verdict.REFUSED_OCCUPIED)
_COOLDOWN = int(Verdict.REFUSED_COOLDOWN)
_STAKE = int(Verdict.REFUSED_STAKE)
_INSTRUMENT = int(Verdict.REFUSED_INSTRUMENT_EXPOSURE)
_TOTAL = int(Verdict.REFUSED_TOTAL_EXPOSURE)
_OPEN = int(Verdict.REFUSED_OPEN_POSITIONS)
_RATE = int(Verdict.REFUSED_ORDER_RATE)
_DAILY = int(Verdict.REFUSED_DAILY_LOSS)
_DRAWDOWN = int(Verdict.REFUSED_DRAWDOWN)
_ACTIVE = int(State.ACTIVE)


@kernel
def _say(row: Any, verdict: int, value: float, limit: float) -> int:
    row["verdict"] = verdict
    row["rule_value"] = value if value == value else math.nan
    row["rule_limit"] = limit
    return verdict


@kernel
def judge(row: Any, limits: Any) -> int:
    """Verdict on the entry that `row` (DECISION) proposes under `limits` (LIMITS); written to the row with its figures.

    Each comparison is written so that NaN refuses. What the row rests on is looked at first, then the edge, then
    whether anything may be entered at all, then the limits; the first rule that refuses gives the verdict.
    """
    if row["feature_ok"] != 1:
        return _say(row, _FEATURES, row["feature_ok"], 1.0)
    if row["prediction_ok"] != 1:
        return _say(row, _PREDICTION, row["prediction_ok"], 1.0)
    if not 0.0 <= row["prediction_age_s"] <= limits["max_prediction_age_s"]:
        return _say(row, _STALE, row["prediction_age_s"], limits["max_prediction_age_s"])
    if row["book_usable"] != 1:
        return _say(row, _BOOK, row["book_usable"], 1.0)
    if not 0.0 <= row["spread_bps"] <= limits["max_spread_bps"]:
        return _say(row, _SPREAD, row["spread_bps"], limits["max_spread_bps"])
    if not (0.0 < row["size"] < math.inf and 0.0 <= row["cost_bps"] < math.inf):
        return _say(row, _DEPTH, row["cost_bps"], math.nan)
    if not limits["min_edge_bps"] < row["ev_bps"] < math.inf:
        return _say(row, _NO_EDGE, row["ev_bps"], limits["min_edge_bps"])
    if row["clear"] != 1:
        return _say(row, _LATCHED, row["clear"], 1.0)
    if row["journal_ok"] != 1:
        return _say(row, _JOURNAL, row["journal_ok"], 1.0)
    if row["state"] != _ACTIVE:
        return _say(row, _STATE, row["state"], _ACTIVE)
    if row["position"] != 0.0 or row["pending"] != 0:
        return _say(row, _OCCUPIED, row["position"], 0.0)
    if not row["since_exit_s"] >= limits["cooldown_s"]:
        return _say(row, _COOLDOWN, row["since_exit_s"], limits["cooldown_s"])
    if not 0.0 < row["stake_quote"] <= limits["max_stake_quote"]:
        return _say(row, _STAKE, row["stake_quote"], limits["max_stake_quote"])
    if not row["instrument_exposure_quote"] <= limits["max_instrument_quote"]:
        return _say(row, _INSTRUMENT, row["instrument_exposure_quote"], limits["max_instrument_quote"])
    if not row["total_exposure_quote"] <= limits["max_total_quote"]:
        return _say(row, _TOTAL, row["total_exposure_quote"], limits["max_total_quote"])
    if not row["open_positions"] <= limits["max_open_positions"]:
        return _say(row, _OPEN, row["open_positions"], limits["max_open_positions"])
    if not row["orders_minute"] <= limits["max_orders_minute"]:
        return _say(row, _RATE, row["orders_minute"], limits["max_orders_minute"])
    if not row["daily_loss_quote"] < limits["max_daily_loss_quote"]:
        return _say(row, _DAILY, row["daily_loss_quote"], limits["max_daily_loss_quote"])
    if not row["drawdown_quote"] < limits["max_drawdown_quote"]:
        return _say(row, _DRAWDOWN, row["drawdown_quote"], limits["max_drawdown_quote"])
    return _say(row, _ACCEPTED, math.nan, math.nan)


def describe(row: np.void) -> str:
    """The verdict of a judged row in words: number, name, and the figures of the rule that decided."""
    verdict = Verdict(int(row["verdict"]))
    name = f"{int(verdict)} {verdict.name}"
    rule = RULES.get(verdict)
    if rule is None:
        return name
    if not rule.limit:
        return f"{name}: expected that {rule.words}, was {row['rule_value']:g} (`{rule.figure}`)"
    bound = "at least" if verdict is Verdict.REFUSED_COOLDOWN else "above" if verdict is Verdict.NO_EDGE else "at most"
    return f"{name}: expected {rule.words} {bound} {row['rule_limit']:g} (`{rule.limit}`), was {row['rule_value']:g}"
