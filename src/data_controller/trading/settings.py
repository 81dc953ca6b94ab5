"""Config of trading and risk: costs, stakes, barriers, and the limits that the gate holds."""

from __future__ import annotations

from datetime import date
from typing import Literal

from data_controller.settings import Section, hot, restart

MAX_ORDERS_MINUTE = 4096
"""Capacity of the order clock: times of the last orders, of which the rate is counted."""


class TradingSettings(Section):
    """`trading:` in the config file; quote amounts are of the one quote currency that all instruments share."""

    mode: Literal["paper"] = restart("paper", description="who fills orders: the paper exchange inside the pipeline")
    start_equity_quote: float = restart(10_000.0, gt=0, description="paper account at its first start")
    stake_quote: float = hot(100.0, gt=0, description="notional of one entry")
    min_edge_bps: float = hot(0.5, ge=0, description="an entry needs an expected value above this, after all costs")
    fee_bps: float = hot(20.0, ge=0, description="taker fee a side; set what the venue charges you, with its date")
    fee_verified_on: date | None = hot(None, description="day on which `fee_bps` was read from the venue's own page")
    latency_ms: int = hot(50, ge=0, le=60_000, description="decision to arrival at the exchange")
    latency_drift_bps: float = hot(0.1, ge=0, description="cost of the price's drift between decision and fill")
    probability_haircut: float = hot(
        0.01, ge=0, lt=0.5, description="taken from the probability of the good outcome and added to that of the bad"
    )
    stop_bps: float = hot(60.0, gt=0, lt=10_000, description="exit where the price is this far on the wrong side")
    take_profit_bps: float = hot(
        60.0, gt=0, lt=10_000, description="exit where the price is this far on the right side"
    )
    exit_on_reversal: bool = hot(True, description="exit where the other side's expected value exceeds `min_edge_bps`")
    exit_retry_ms: int = hot(1000, ge=1, le=60_000, description="wait after an exit that did not fill completely")
    allow_short: bool = hot(False, description="enter short; spot cannot, so P(down) then only exits")
    record_no_edge: bool = hot(True, description="keep a row of each decision that found no edge, too")


class RiskSettings(Section):
    """`risk:` in the config file; a limit of 0 lets nothing through."""

    max_stake_quote: float = hot(1_000.0, ge=0, description="notional of one order")
    max_instrument_quote: float = hot(1_000.0, ge=0, description="exposure in one instrument")
    max_total_quote: float = hot(5_000.0, ge=0, description="sum of exposures, without sign")
    max_open_positions: int = hot(8, ge=0, description="instruments held or ordered at one time")
    max_orders_minute: int = hot(60, ge=0, le=MAX_ORDERS_MINUTE - 1, description="orders in any 60 s")
    max_daily_loss_quote: float = hot(200.0, ge=0, description="loss since 00:00 UTC, open positions at their mid")
    max_drawdown_quote: float = hot(500.0, ge=0, description="loss since the highest equity")
    max_spread_bps: float = hot(20.0, ge=0, description="best ask less best bid, over the mid")
    max_prediction_age_s: float = hot(2.0, ge=0, description="decision less the tick that was predicted from")
    cooldown_s: float = hot(10.0, ge=0, description="after an exit, before the next entry in the instrument")
