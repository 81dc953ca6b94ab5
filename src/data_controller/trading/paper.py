"""The paper exchange: orders arrive after a latency, walk the live book, pay fees, and are booked to the cent."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.trading.expected_value import walk_base
from data_controller.trading.rows import NEVER_NS, Leg, Reason, Status
from data_controller.trading.watch import arm, disarm

_ENTRY = int(Leg.ENTRY)
_EXIT = int(Leg.EXIT)
_REJECTED = int(Status.REJECTED)
_FILLED = int(Status.FILLED)
_PARTIAL = int(Status.PARTIAL)
_NONE = int(Reason.NONE)


@kernel
def usable(books: NDArray[Any], b: int) -> bool:
    """True where row `b` is a book that may be acted on: proved as the config asks, both sides there, not crossed."""
    return b >= 0 and b < books.shape[0] and books[b]["depth"] != 0 and books[b]["usable"] == 1


@kernel
def quotes(books: NDArray[Any], b: int, levels: NDArray[Any]) -> tuple[float, float]:
    """Best bid and ask of a usable book, NaN both where it is not usable, empty on a side, crossed or locked."""
    if not usable(books, b) or books[b]["n_bid"] < 1 or books[b]["n_ask"] < 1:
        return math.nan, math.nan
    bid = levels[books[b]["bid0"]]["price"]
    ask = levels[books[b]["ask0"]]["price"]
    if not 0.0 < bid < ask < math.inf:
        return math.nan, math.nan
    return bid, ask


@kernel
def book_fill(position: Any, side: int, size: float, quote: float, fee: float) -> float:
    """Book a fill of `size` for `quote` on a POSITION row; returns the profit it realised, before fees.

    Increasing averages the entry price; reducing realises against it; what goes through zero opens at the fill's price.
    """
    held = position["position"]
    signed = side * size
    realised = 0.0
    if held * signed >= 0.0:
        position["average_price"] = (abs(held) * position["average_price"] + quote) / (abs(held) + size)
    else:
        price = quote / size
        closing = min(size, abs(held))
        realised = closing * (price - position["average_price"]) * (1.0 if held > 0.0 else -1.0)
        if size > abs(held):
            position["average_price"] = price
    position["position"] = held + signed
    if position["position"] == 0.0:
        position["average_price"] = 0.0
    position["cash_quote"] -= side * quote
    position["fees_quote"] += fee
    position["realised_quote"] += realised
    position["turnover_quote"] += quote
    return realised


@kernel
def fill(
    i: int,
    seq: int,
    now_ns: int,
    books: NDArray[Any],
    b: int,
    levels: NDArray[Any],
    terms: Any,
    portfolio: NDArray[Any],
    orders: NDArray[Any],
    watch: NDArray[Any],
    row: Any,
) -> int:
    """Settle the pending order of instrument `i` against book `b` as it stands, into FILL `row`; returns its Status.

    Without a usable book it is rejected. What the book's levels do not hold is cancelled; an exit that did not fill
    completely is remembered and tried again after `exit_retry_ns`.
    """
    order = orders[i]
    p = portfolio[i]
    side = order["side"]
    bid, ask = quotes(books, b, levels)
    quote, size = 0.0, 0.0
    if bid > 0.0:
        if side > 0:
            quote, size = walk_base(levels, books[b]["ask0"], books[b]["n_ask"], order["size"])
        else:
            quote, size = walk_base(levels, books[b]["bid0"], books[b]["n_bid"], order["size"])
    status = _REJECTED
    price = math.nan
    realised = 0.0
    fee = 0.0
    if size > 0.0:
        status = _FILLED if size == order["size"] else _PARTIAL
        price = quote / size
        fee = quote * terms["fee_bps"] * 1e-4
        realised = book_fill(p, side, size, quote, fee)
        p["mark"] = 0.5 * (bid + ask)
    row["seq"] = seq
    row["now_ns"] = now_ns
    row["decision_seq"] = order["seq"]
    row["placed_ns"] = order["placed_ns"]
    row["due_ns"] = order["due_ns"]
    row["instrument"] = i
    row["side"] = side
    row["leg"] = order["leg"]
    row["reason"] = order["reason"]
    row["status"] = status
    row["attempt"] = order["attempt"]
    row["zero"] = 0
    row["requested"] = order["size"]
    row["size"] = size
    row["price"] = price if size > 0.0 else math.nan
    row["quote"] = quote
    row["fee_quote"] = fee
    shortfall = 1e4 * side * (price - order["mid"]) / order["mid"]
    row["shortfall_bps"] = shortfall if shortfall == shortfall else math.nan
    row["realised_quote"] = realised
    row["position"] = p["position"]
    row["average_price"] = p["average_price"]
    if order["leg"] == _ENTRY:
        if size > 0.0:
            p["opened_ns"] = now_ns
            p["exits"] = 0
            p["timeout_ns"] = now_ns + order["horizon_ns"]
            arm(watch, i, side, p["average_price"], order["stop_bps"], order["take_profit_bps"])
    elif p["position"] == 0.0:
        p["exit_reason"] = _NONE
        p["opened_ns"] = 0
        p["timeout_ns"] = 0
        p["retry_ns"] = 0
        p["last_exit_ns"] = now_ns
        disarm(watch, i)
    else:
        p["retry_ns"] = now_ns + terms["exit_retry_ns"]
    order["pending"] = 0
    return status


@kernel
def place(
    order: Any,
    seq: int,
    now_ns: int,
    terms: Any,
    leg: int,
    attempt: int,
    side: int,
    reason: int,
    size: float,
    stake: float,
    mid: float,
    horizon_ns: int,
) -> None:
    """Send one order on its way: it arrives `latency_ns` from now."""
    order["seq"] = seq
    order["placed_ns"] = now_ns
    order["due_ns"] = now_ns + terms["latency_ns"]
    order["horizon_ns"] = horizon_ns
    order["size"] = size
    order["stake_quote"] = stake
    order["mid"] = mid
    order["stop_bps"] = terms["stop_bps"]
    order["take_profit_bps"] = terms["take_profit_bps"]
    order["leg"] = leg
    order["attempt"] = attempt
    order["side"] = side
    order["reason"] = reason
    order["pending"] = 1


@kernel
def next_due(portfolio: NDArray[Any], orders: NDArray[Any]) -> int:
    """Earliest time at which an order arrives, a position times out or an exit is tried again; NEVER_NS for none."""
    due = NEVER_NS
    for i in range(portfolio.shape[0]):
        if orders[i]["pending"] == 1:
            due = min(due, orders[i]["due_ns"])
        elif portfolio[i]["position"] != 0.0:
            if portfolio[i]["exit_reason"] != _NONE:
                due = min(due, portfolio[i]["retry_ns"])
            else:
                due = min(due, portfolio[i]["timeout_ns"])
    return due


@kernel
def equity(portfolio: NDArray[Any], start: float) -> float:
    """Account value: start, plus cash, plus positions at their marks, less fees; NaN where a held mark is unknown."""
    total = start
    for i in range(portfolio.shape[0]):
        p = portfolio[i]
        total += p["cash_quote"] - p["fees_quote"]
        if p["position"] != 0.0:
            total += p["position"] * p["mark"]
    return total
