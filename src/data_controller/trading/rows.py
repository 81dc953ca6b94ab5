"""Rows of trading: what was decided, ordered, filled and held; little-endian, no hidden padding; zero is safe."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

NEVER_NS = (1 << 63) - 1
"""A due time that does not come."""


class State(IntEnum):
    """What the gate lets through; positions are guarded by their stops and time-outs in all three."""

    HALTED = 0  # no entries
    REDUCING = 1  # no entries, until what caused it is resolved
    ACTIVE = 2


class Verdict(IntEnum):
    """What the gate said. Refusals are numbered rules; `gate.RULES` gives their names and figures."""

    REFUSED_UNJUDGED = 0
    ACCEPTED = 1
    NO_EDGE = 2
    REFUSED_FEATURES = 10
    REFUSED_PREDICTION = 11
    REFUSED_STALE = 12
    REFUSED_BOOK = 13
    REFUSED_SPREAD = 14
    REFUSED_DEPTH = 15
    REFUSED_LATCHED = 20
    REFUSED_JOURNAL = 21
    REFUSED_STATE = 22
    REFUSED_OCCUPIED = 23
    REFUSED_COOLDOWN = 24
    REFUSED_STAKE = 30
    REFUSED_INSTRUMENT_EXPOSURE = 31
    REFUSED_TOTAL_EXPOSURE = 32
    REFUSED_OPEN_POSITIONS = 33
    REFUSED_ORDER_RATE = 34
    REFUSED_DAILY_LOSS = 35
    REFUSED_DRAWDOWN = 36


INVALID = (
    Verdict.REFUSED_FEATURES,
    Verdict.REFUSED_PREDICTION,
    Verdict.REFUSED_STALE,
    Verdict.REFUSED_BOOK,
    Verdict.REFUSED_DEPTH,
)
"""Refused because something the decision rests on was invalid, missing or unproved."""


class Reason(IntEnum):
    """Why an order exists; 1 and 2 are what `watch.touched` returns."""

    NONE = 0
    STOP = 1
    TAKE_PROFIT = 2
    TIME_OUT = 3
    EXIT = 4  # the forecast turned
    ENTRY = 5


class Leg(IntEnum):
    """Which order of a decision."""

    ENTRY = 0
    EXIT = 1


class Status(IntEnum):
    """How an order ended."""

    REJECTED = 0  # no usable book at its due time, or no depth at all
    FILLED = 1
    PARTIAL = 2  # the book was too short; the rest is cancelled


TERMS = np.dtype(
    [
        ("stake_quote", "<f8"),
        ("fee_bps", "<f8"),
        ("latency_drift_bps", "<f8"),
        ("probability_haircut", "<f8"),
        ("stop_bps", "<f8"),
        ("take_profit_bps", "<f8"),
        ("latency_ns", "<i8"),
        ("exit_retry_ns", "<i8"),
        ("start_equity_quote", "<f8"),
        ("exit_on_reversal", "<u1"),
        ("allow_short", "<u1"),
        ("record_no_edge", "<u1"),
        ("zero", "<u1", (5,)),
    ]
)
"""TradingSettings as kernels read it."""

LIMITS = np.dtype(
    [
        ("min_edge_bps", "<f8"),
        ("max_stake_quote", "<f8"),
        ("max_instrument_quote", "<f8"),
        ("max_total_quote", "<f8"),
        ("max_open_positions", "<f8"),
        ("max_orders_minute", "<f8"),
        ("max_daily_loss_quote", "<f8"),
        ("max_drawdown_quote", "<f8"),
        ("max_spread_bps", "<f8"),
        ("max_prediction_age_s", "<f8"),
        ("cooldown_s", "<f8"),
    ]
)
"""What the gate compares with."""

RISK = np.dtype(
    [
        ("state", "<u1"),  # State
        ("clear", "<u1"),  # 1: the kill switch is not latched
        ("journal_ok", "<u1"),  # 1: the journal records
        ("zero", "<u1", (5,)),
        ("equity", "<f8"),
        ("peak_equity", "<f8"),
        ("day_equity", "<f8"),  # at the first look of the UTC day
        ("day", "<i8"),  # days since 1970
        ("order_head", "<i8"),  # orders ever written to the order clock
        ("order_tail", "<i8"),  # first of them within the last 60 s
    ]
)

DECISION = np.dtype(
    [
        # id: record and instrument; where a record brings several, leg and attempt tell them apart
        ("seq", "<i8"),  # last record the decision used
        ("now_ns", "<i8"),
        ("tick_ns", "<i8"),  # the tick predicted from; 0 for exits that used no forecast
        ("instrument", "<i4"),
        ("book", "<i4"),  # row of its book, -1 none
        ("horizon", "<i4"),  # index, -1 none
        ("horizon_s", "<i4"),
        ("side", "<i1"),  # +1 buy, -1 sell, 0 none
        ("leg", "<u1"),  # Leg
        ("reason", "<u1"),  # Reason of its order
        ("verdict", "<u1"),  # Verdict
        # what the gate saw
        ("state", "<u1"),
        ("clear", "<u1"),
        ("journal_ok", "<u1"),
        ("feature_ok", "<u1"),
        ("prediction_ok", "<u1"),
        ("book_usable", "<u1"),
        ("book_proof", "<u1"),
        ("pending", "<u1"),  # an order of the instrument is on its way
        ("attempt", "<u4"),  # exits ordered for this position before
        ("p", "<f8"),  # forecast probability of the good outcome
        ("p_low", "<f8"),  # the same after the haircut: what the expected value uses
        ("mean_bps", "<f8"),
        ("sd_bps", "<f8"),
        ("gain_bps", "<f8"),  # expected move, given the good outcome
        ("loss_bps", "<f8"),
        ("ev_bps", "<f8"),  # after costs
        ("cost_bps", "<f8"),  # the sum of the next six, the half spread twice
        ("fee_in_bps", "<f8"),
        ("fee_out_bps", "<f8"),
        ("half_spread_bps", "<f8"),  # paid going in, and again going out
        ("slippage_in_bps", "<f8"),
        ("slippage_out_bps", "<f8"),
        ("drift_bps", "<f8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("spread_bps", "<f8"),
        ("stake_quote", "<f8"),
        ("size", "<f8"),  # base units
        ("stop_bps", "<f8"),
        ("take_profit_bps", "<f8"),
        ("prediction_age_s", "<f8"),
        ("position", "<f8"),  # before the order
        ("since_exit_s", "<f8"),
        ("instrument_exposure_quote", "<f8"),  # these four include the order
        ("total_exposure_quote", "<f8"),
        ("open_positions", "<f8"),
        ("orders_minute", "<f8"),
        ("daily_loss_quote", "<f8"),
        ("drawdown_quote", "<f8"),
        ("rule_value", "<f8"),  # figures of the rule that decided, NaN where accepted
        ("rule_limit", "<f8"),
    ]
)

ORDER = np.dtype(
    [
        ("seq", "<i8"),  # its decision
        ("placed_ns", "<i8"),
        ("due_ns", "<i8"),  # arrival at the exchange
        ("horizon_ns", "<i8"),
        ("size", "<f8"),
        ("stake_quote", "<f8"),
        ("mid", "<f8"),  # at the decision, NaN unknown
        ("stop_bps", "<f8"),
        ("take_profit_bps", "<f8"),
        ("pending", "<u1"),
        ("leg", "<u1"),
        ("side", "<i1"),
        ("reason", "<u1"),
        ("attempt", "<u4"),
    ]
)
"""The one order of an instrument that may be on its way, by instrument."""

POSITION = np.dtype(
    [
        ("position", "<f8"),  # base units, signed
        ("average_price", "<f8"),  # 0 where flat
        ("cash_quote", "<f8"),  # sold less bought, before fees
        ("fees_quote", "<f8"),
        ("realised_quote", "<f8"),  # before fees
        ("mark", "<f8"),  # mid when its book was last usable
        ("turnover_quote", "<f8"),
        ("opened_ns", "<i8"),
        ("timeout_ns", "<i8"),
        ("retry_ns", "<i8"),  # when an unfinished exit is tried again
        ("last_exit_ns", "<i8"),  # 0 never
        ("exits", "<u4"),  # exits ordered since it was opened
        ("exit_reason", "<u1"),  # Reason of an unfinished exit, NONE otherwise
        ("zero", "<u1", (3,)),
    ]
)
"""What is held, by instrument."""

WATCH = np.dtype(
    [
        ("stop", "<f8"),
        ("take_profit", "<f8"),
        ("armed", "<u1"),
        ("side", "<i1"),  # of the position
        ("zero", "<u1", (6,)),
    ]
)
"""Prices that the compiled loop looks at after every change of a book, by instrument."""

FILL = np.dtype(
    [
        ("seq", "<i8"),  # record at which it was settled
        ("now_ns", "<i8"),
        ("decision_seq", "<i8"),
        ("placed_ns", "<i8"),
        ("due_ns", "<i8"),
        ("instrument", "<i4"),
        ("side", "<i1"),
        ("leg", "<u1"),
        ("reason", "<u1"),
        ("status", "<u1"),
        ("attempt", "<u4"),
        ("zero", "<u4"),
        ("requested", "<f8"),
        ("size", "<f8"),
        ("price", "<f8"),  # average over the levels walked, NaN where rejected
        ("quote", "<f8"),
        ("fee_quote", "<f8"),
        ("shortfall_bps", "<f8"),  # price worse than the mid at the decision; fees not counted
        ("realised_quote", "<f8"),  # by this fill, before fees
        ("position", "<f8"),  # after it
        ("average_price", "<f8"),
    ]
)


def decision_id(seq: int, instrument: int) -> str:
    """The name of a decision: derived from its record and instrument, never drawn."""
    return f"{seq:016x}-{instrument}"


def command_id(seq: int, instrument: int, leg: int, attempt: int = 0) -> str:
    """The name of one order of a decision; an exit tried again while no record came has its number behind it."""
    name = f"{decision_id(seq, instrument)}-{leg}"
    return f"{name}.{attempt}" if attempt else name
