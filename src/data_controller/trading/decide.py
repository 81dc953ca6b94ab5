"""The decision of one moment for all instruments: measure, value, judge, order; one compiled call each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.trading.expected_value import expected_value, moves, round_trip
from data_controller.trading.gate import judge
from data_controller.trading.paper import equity, fill, place, quotes
from data_controller.trading.rows import Leg, Reason, Verdict
from data_controller.trading.watch import disarm

_ACCEPTED = int(Verdict.ACCEPTED)
_NO_EDGE = int(Verdict.NO_EDGE)
_UNJUDGED = int(Verdict.REFUSED_UNJUDGED)
_ENTRY_LEG = int(Leg.ENTRY)
_EXIT_LEG = int(Leg.EXIT)
_NONE = int(Reason.NONE)
_TIME_OUT = int(Reason.TIME_OUT)
_EXIT = int(Reason.EXIT)
_ENTRY = int(Reason.ENTRY)
_DAY_NS = 86_400 * 10**9
_MINUTE_NS = 60 * 10**9


@kernel
def mark(
    now_ns: int, books: NDArray[Any], book_of: NDArray[Any], levels: NDArray[Any], terms: Any, risk: Any, portfolio: Any
) -> None:
    """Mark positions at the mid of their usable books and roll equity, its peak and the UTC day's start."""
    for i in range(portfolio.shape[0]):
        bid, ask = quotes(books, book_of[i], levels)
        if bid > 0.0:
            portfolio[i]["mark"] = 0.5 * (bid + ask)
    value = equity(portfolio, terms["start_equity_quote"])
    risk["equity"] = value if value == value else math.nan
    if value > risk["peak_equity"]:
        risk["peak_equity"] = value
    day = now_ns // _DAY_NS
    if day != risk["day"] and value == value:
        risk["day"] = day
        risk["day_equity"] = value


@kernel
def count_order(risk: Any, order_times: NDArray[Any], now_ns: int) -> None:
    """Write one order to the order clock; when full it forgets the oldest, and the count stays at its capacity."""
    capacity = order_times.shape[0]
    order_times[risk["order_head"] % capacity] = now_ns
    risk["order_head"] += 1
    if risk["order_head"] - risk["order_tail"] > capacity:
        risk["order_tail"] = risk["order_head"] - capacity


@kernel
def orders_in_minute(risk: Any, order_times: NDArray[Any], now_ns: int) -> int:
    """Orders in the 60 s up to `now_ns`."""
    capacity = order_times.shape[0]
    tail = risk["order_tail"]
    while tail < risk["order_head"] and order_times[tail % capacity] <= now_ns - _MINUTE_NS:
        tail += 1
    risk["order_tail"] = tail
    return int(risk["order_head"] - tail)


@kernel
def _open_row(
    row: Any,
    seq: int,
    now_ns: int,
    tick_ns: int,
    i: int,
    books: NDArray[Any],
    b: int,
    levels: NDArray[Any],
    terms: Any,
    risk: Any,
    portfolio: NDArray[Any],
    orders: NDArray[Any],
) -> None:
    bid, ask = quotes(books, b, levels)
    p = portfolio[i]
    row["seq"] = seq
    row["now_ns"] = now_ns
    row["tick_ns"] = tick_ns
    row["instrument"] = i
    row["book"] = b
    row["horizon"] = -1
    row["horizon_s"] = 0
    row["side"] = 0
    row["leg"] = _ENTRY_LEG
    row["reason"] = _NONE
    row["verdict"] = _UNJUDGED
    row["state"] = risk["state"]
    row["clear"] = risk["clear"]
    row["journal_ok"] = risk["journal_ok"]
    row["feature_ok"] = 0
    row["prediction_ok"] = 0
    row["book_usable"] = 1 if bid > 0.0 else 0
    row["book_proof"] = books[b]["proof"] if 0 <= b < books.shape[0] else 0
    row["pending"] = orders[i]["pending"]
    row["attempt"] = 0
    row["p"] = math.nan
    row["p_low"] = math.nan
    row["mean_bps"] = math.nan
    row["sd_bps"] = math.nan
    row["gain_bps"] = math.nan
    row["loss_bps"] = math.nan
    row["ev_bps"] = math.nan
    row["cost_bps"] = math.nan
    row["fee_in_bps"] = terms["fee_bps"]
    row["fee_out_bps"] = terms["fee_bps"]
    row["half_spread_bps"] = math.nan
    row["slippage_in_bps"] = math.nan
    row["slippage_out_bps"] = math.nan
    row["drift_bps"] = terms["latency_drift_bps"]
    row["bid"] = bid
    row["ask"] = ask
    row["spread_bps"] = 2e4 * (ask - bid) / (ask + bid) if bid > 0.0 else math.nan
    row["stake_quote"] = 0.0
    row["size"] = 0.0
    row["stop_bps"] = terms["stop_bps"]
    row["take_profit_bps"] = terms["take_profit_bps"]
    row["prediction_age_s"] = math.nan
    row["position"] = p["position"]
    row["since_exit_s"] = math.inf if p["last_exit_ns"] == 0 else (now_ns - p["last_exit_ns"]) * 1e-9
    row["instrument_exposure_quote"] = math.nan
    row["total_exposure_quote"] = math.nan
    row["open_positions"] = math.nan
    row["orders_minute"] = math.nan
    row["daily_loss_quote"] = risk["day_equity"] - risk["equity"]
    row["drawdown_quote"] = risk["peak_equity"] - risk["equity"]
    row["rule_value"] = math.nan
    row["rule_limit"] = math.nan


@kernel
def _value(row: Any, books: NDArray[Any], levels: NDArray[Any], terms: Any, outputs: Any, horizons_s: Any) -> None:
    """Put the best horizon and side into `row`; without depth or with a bad number no candidate is left."""
    book = books[row["book"]]
    best = -math.inf
    for s in range(2):
        side = 1 - 2 * s
        if side < 0 and not (row["position"] > 0.0 or terms["allow_short"] == 1):
            continue
        size, half, slip_in, slip_out = round_trip(book, levels, side, terms["stake_quote"])
        cost = 2.0 * terms["fee_bps"] + 2.0 * half + slip_in + slip_out + terms["latency_drift_bps"]
        if not cost < math.inf:
            continue
        for h in range(outputs.shape[0]):
            p = float(outputs[h, s])
            q = float(outputs[h, 1 - s])
            gain, loss = moves(side * float(outputs[h, 2]), float(outputs[h, 3]))
            ev, p_low = expected_value(p, q, gain, loss, cost, terms["probability_haircut"])
            if not ev > best:
                continue
            best = ev
            row["side"] = side
            row["horizon"] = h
            row["horizon_s"] = horizons_s[h]
            row["p"] = p
            row["p_low"] = p_low
            row["mean_bps"] = outputs[h, 2]
            row["sd_bps"] = outputs[h, 3]
            row["gain_bps"] = gain
            row["loss_bps"] = loss
            row["ev_bps"] = ev
            row["cost_bps"] = cost
            row["half_spread_bps"] = half
            row["slippage_in_bps"] = slip_in
            row["slippage_out_bps"] = slip_out
            row["size"] = size
            row["stake_quote"] = terms["stake_quote"]


@kernel
def _prediction_ok(outputs: Any) -> int:
    if outputs.shape[0] == 0:
        return 0
    for h in range(outputs.shape[0]):
        up, down, mean, sd = outputs[h, 0], outputs[h, 1], outputs[h, 2], outputs[h, 3]
        if not (0.0 <= up <= 1.0 and 0.0 <= down <= 1.0 and up + down <= 1.0 + 1e-5):
            return 0
        if not (-math.inf < mean < math.inf and 0.0 < sd < math.inf):
            return 0
    return 1


@kernel
def _exit_row(row: Any, reason: int, size: float) -> None:
    row["leg"] = _EXIT_LEG
    row["reason"] = reason
    row["verdict"] = _ACCEPTED
    row["side"] = -1 if row["position"] > 0.0 else 1
    row["size"] = size
    row["stake_quote"] = 0.0
    row["rule_value"] = math.nan
    row["rule_limit"] = math.nan


@kernel
def order_exit(
    row: Any,
    i: int,
    reason: int,
    terms: Any,
    risk: Any,
    order_times: NDArray[Any],
    portfolio: NDArray[Any],
    orders: NDArray[Any],
    watch: NDArray[Any],
) -> None:
    """Turn an opened `row` into the exit of all that instrument `i` holds, and send the order.

    Exits reduce risk: no state, latch or limit refuses them.
    """
    p = portfolio[i]
    size = abs(p["position"])
    _exit_row(row, reason, size)
    p["exit_reason"] = reason
    disarm(watch, i)
    mid = 0.5 * (row["bid"] + row["ask"])
    attempt = p["exits"]
    row["attempt"] = attempt
    p["exits"] = attempt + 1
    place(orders[i], row["seq"], row["now_ns"], terms, _EXIT_LEG, attempt, row["side"], reason, size, 0.0, mid, 0)
    count_order(risk, order_times, row["now_ns"])


@kernel
def decide(
    seq: int,
    now_ns: int,
    tick_ns: int,
    outputs: NDArray[Any],
    answer_valid: NDArray[Any],
    feature_ok: NDArray[Any],
    books: NDArray[Any],
    book_of: NDArray[Any],
    levels: NDArray[Any],
    horizons_s: NDArray[Any],
    terms: Any,
    limits: Any,
    risk: Any,
    order_times: NDArray[Any],
    portfolio: NDArray[Any],
    orders: NDArray[Any],
    watch: NDArray[Any],
    rows: NDArray[Any],
    verdicts: NDArray[Any],
) -> int:
    """Decide for every instrument at once; returns how many DECISION rows were written to `rows`, in instrument order.

    All are valued first and then judged, best expected value first (ties: lower row first), so that limits which
    hold over all instruments are spent on the best. Accepted entries and exits become pending orders.
    """
    n = portfolio.shape[0]
    mark(now_ns, books, book_of, levels, terms, risk, portfolio)
    minute = orders_in_minute(risk, order_times, now_ns)
    total = 0.0
    held = 0
    keys = np.empty(n, np.float64)
    for i in range(n):
        row = rows[i]
        _open_row(row, seq, now_ns, tick_ns, i, books, book_of[i], levels, terms, risk, portfolio, orders)
        row["prediction_age_s"] = (now_ns - tick_ns) * 1e-9
        row["feature_ok"] = 1 if feature_ok[i] == 1 else 0
        row["prediction_ok"] = _prediction_ok(outputs[i]) if answer_valid[i] == 1 else 0
        if row["prediction_ok"] == 1 and row["book_usable"] == 1:
            _value(row, books, levels, terms, outputs[i], horizons_s)
        keys[i] = -row["ev_bps"] if row["ev_bps"] == row["ev_bps"] else math.inf
        p = portfolio[i]
        if p["position"] != 0.0:
            total += abs(p["position"]) * p["mark"]
            held += 1
        elif orders[i]["pending"] == 1:
            total += orders[i]["stake_quote"]
            held += 1
    for i in np.argsort(keys, kind="mergesort"):
        row = rows[i]
        p = portfolio[i]
        own = 0.0
        if p["position"] != 0.0:
            own = abs(p["position"]) * p["mark"]
        elif orders[i]["pending"] == 1:
            own = orders[i]["stake_quote"]
        row["instrument_exposure_quote"] = own + row["stake_quote"]
        row["total_exposure_quote"] = total + row["stake_quote"]
        row["open_positions"] = held + 1
        row["orders_minute"] = minute + 1
        verdict = judge(row, limits)
        if verdict == _ACCEPTED:
            row["reason"] = _ENTRY
            mid = 0.5 * (row["bid"] + row["ask"])
            horizon_ns = row["horizon_s"] * 1_000_000_000
            stake = row["stake_quote"]
            place(
                orders[i], seq, now_ns, terms, _ENTRY_LEG, 0, row["side"], _ENTRY, row["size"], stake, mid, horizon_ns
            )
            count_order(risk, order_times, now_ns)
            total += stake
            held += 1
            minute += 1
        elif terms["exit_on_reversal"] == 1 and reversal(row, limits):
            order_exit(row, i, _EXIT, terms, risk, order_times, portfolio, orders, watch)
            minute += 1
    kept = 0
    for i in range(n):
        verdict = rows[i]["verdict"]
        verdicts[verdict] += 1
        if verdict == _NO_EDGE and terms["record_no_edge"] != 1:
            continue
        if kept != i:
            rows[kept] = rows[i]
        kept += 1
    return kept


@kernel
def reversal(row: Any, limits: Any) -> Any:
    """True where what `row` holds should be left because a sound forecast gives the other side an edge."""
    return (
        row["feature_ok"] == 1
        and row["prediction_ok"] == 1
        and row["book_usable"] == 1
        and 0.0 <= row["prediction_age_s"] <= limits["max_prediction_age_s"]
        and row["pending"] == 0
        and row["position"] * row["side"] < 0.0
        and row["ev_bps"] > limits["min_edge_bps"]
    )


@kernel
def settle(
    seq: int,
    now_ns: int,
    books: NDArray[Any],
    book_of: NDArray[Any],
    levels: NDArray[Any],
    terms: Any,
    risk: Any,
    order_times: NDArray[Any],
    portfolio: NDArray[Any],
    orders: NDArray[Any],
    watch: NDArray[Any],
    rows: NDArray[Any],
    fills: NDArray[Any],
    n_fills: int,
    statuses: NDArray[Any],
) -> tuple[int, int]:
    """Fill what is due, then order the exits whose time has come; returns the new ends of `fills` and of `rows`.

    An order for which `fills` has no room stays due until the fills are drained.
    """
    n = portfolio.shape[0]
    for i in range(n):
        if orders[i]["pending"] == 1 and orders[i]["due_ns"] <= now_ns and n_fills < fills.shape[0]:
            b = book_of[i]
            status = fill(i, seq, now_ns, books, b, levels, terms, portfolio, orders, watch, fills[n_fills])
            statuses[status] += 1
            n_fills += 1
    mark(now_ns, books, book_of, levels, terms, risk, portfolio)
    n_rows = 0
    for i in range(n):
        p = portfolio[i]
        if p["position"] == 0.0 or orders[i]["pending"] == 1:
            continue
        reason = _NONE
        if p["exit_reason"] != _NONE:
            if p["retry_ns"] <= now_ns:
                reason = p["exit_reason"]
        elif p["timeout_ns"] <= now_ns:
            reason = _TIME_OUT
        if reason != _NONE:
            row = rows[n_rows]
            _open_row(row, seq, now_ns, 0, i, books, book_of[i], levels, terms, risk, portfolio, orders)
            order_exit(row, i, reason, terms, risk, order_times, portfolio, orders, watch)
            n_rows += 1
    return n_fills, n_rows


@kernel
def leave(
    i: int,
    reason: int,
    seq: int,
    now_ns: int,
    books: NDArray[Any],
    book_of: NDArray[Any],
    levels: NDArray[Any],
    terms: Any,
    risk: Any,
    order_times: NDArray[Any],
    portfolio: NDArray[Any],
    orders: NDArray[Any],
    watch: NDArray[Any],
    rows: NDArray[Any],
) -> int:
    """Order the exit of instrument `i`; returns 1, or 0 where nothing is held or an order is on its way already."""
    if portfolio[i]["position"] == 0.0 or orders[i]["pending"] == 1:
        return 0
    row = rows[0]
    _open_row(row, seq, now_ns, 0, i, books, book_of[i], levels, terms, risk, portfolio, orders)
    order_exit(row, i, reason, terms, risk, order_times, portfolio, orders, watch)
    return 1
