"""Price-time priority matching over sorted arrays of orders and levels, one instrument at a time.

Both sides are kept best first. Orders of one price stand by id, which is also their time priority: ids only grow,
and an amended order keeps its id (and so the place that its id gives it).
"""

from __future__ import annotations

from typing import Any

from data_controller.kernels import kernel
from data_controller.simulator.numbers import TU_DELAY_NS, below
from data_controller.simulator.state import ASK, BID, CANDLES, ORDERS_MAX, PENDING, TAPE, ZERO


@kernel
def key_of(k: int, side: int) -> int:
    """Sort key of grid price `k`: small is best on either side (and its own inverse)."""
    return k if side == ASK else -k


@kernel
def best(state: Any, i: int, side: int) -> Any:
    """Grid price of the best level of a side that is not empty."""
    key = state.levels[i, side, 0].key
    return key if side == ASK else -key


@kernel
def find_order(orders: Any, n: int, key: int, order_id: int) -> int:
    """Where an order of that key and id stands, or would stand."""
    lo = 0
    hi = n
    while lo < hi:
        mid = (lo + hi) >> 1
        row = orders[mid]
        if row.key < key or (row.key == key and row.id < order_id):
            lo = mid + 1
        else:
            hi = mid
    return lo


@kernel
def find_level(levels: Any, n: int, key: int) -> int:
    """Where a level of that key stands, or would stand."""
    lo = 0
    hi = n
    while lo < hi:
        mid = (lo + hi) >> 1
        if levels[mid].key < key:
            lo = mid + 1
        else:
            hi = mid
    return lo


@kernel
def add_order(state: Any, i: int, side: int, k: int, order_id: int, amount: int) -> None:
    """Rest an order; the caller has seen that the side is not full and that the price does not cross."""
    key = key_of(k, side)
    orders = state.orders[i, side]
    n = state.n_orders[i, side]
    at = find_order(orders, n, key, order_id)
    for j in range(n, at, -1):
        orders[j] = orders[j - 1]
    orders[at].key = key
    orders[at].amount = amount
    orders[at].id = order_id
    state.n_orders[i, side] = n + 1

    levels = state.levels[i, side]
    m = state.n_levels[i, side]
    at = find_level(levels, m, key)
    if at < m and levels[at].key == key:
        levels[at].amount += amount
        levels[at].count += 1
        return
    for j in range(m, at, -1):
        levels[j] = levels[j - 1]
    levels[at].key = key
    levels[at].amount = amount
    levels[at].count = 1
    state.n_levels[i, side] = m + 1


@kernel
def reduce_order(state: Any, i: int, side: int, at: int, by: int) -> None:
    """Take `by` off order number `at` of a side; it leaves the book when nothing is left."""
    orders = state.orders[i, side]
    key = orders[at].key
    left = orders[at].amount - by
    orders[at].amount = left
    levels = state.levels[i, side]
    m = state.n_levels[i, side]
    row = find_level(levels, m, key)
    levels[row].amount -= by
    if left > 0:
        return
    n = state.n_orders[i, side] - 1
    for j in range(at, n):
        orders[j] = orders[j + 1]
    state.n_orders[i, side] = n
    levels[row].count -= 1
    if levels[row].count == 0:
        m -= 1
        for j in range(row, m):
            levels[j] = levels[j + 1]
        state.n_levels[i, side] = m


@kernel
def record_trade(state: Any, i: int, k: int, amount: int, maker_id: int) -> None:
    """Put a trade on the tape, into its minute's candle and, some milliseconds later, in line as `tu`."""
    clock = state.clock[0]
    market = state.market[i]
    now = clock.now_ns
    clock.trade_id += 1
    mts = now // 1_000_000
    spot = state.tape[i, market.trades & (TAPE - 1)]
    spot.id = clock.trade_id
    spot.mts = mts
    spot.amount = amount
    spot.k = k
    state.makers[i, market.trades & (TAPE - 1)] = maker_id
    market.trades += 1
    size = amount if amount > 0 else -amount
    market.last_k = k
    market.high_k = max(market.high_k, k)
    market.low_k = min(market.low_k, k)
    market.volume += size

    minute = mts - mts % 60_000
    candle = state.candles[i, (market.minutes - 1) % CANDLES]
    if market.minutes == 0 or candle.mts != minute:
        candle = state.candles[i, market.minutes % CANDLES]
        market.minutes += 1
        candle.mts = minute
        candle.open = k
        candle.high = k
        candle.low = k
        candle.volume = 0
    candle.close = k
    candle.high = max(candle.high, k)
    candle.low = min(candle.low, k)
    candle.volume += size

    due = max(clock.due_ns, now + below(state.rng, TU_DELAY_NS))
    if clock.head - clock.tail == PENDING - 1:
        due = now
    clock.due_ns = due
    row = state.pending[clock.head & (PENDING - 1)]
    row.due_ns = due
    row.instrument = i
    row.id = clock.trade_id
    row.mts = mts
    row.amount = amount
    row.k = k
    clock.head += 1


@kernel
def take(state: Any, i: int, buys: bool, amount: int, limit_k: int) -> int:
    """Match a taker against the other side up to `limit_k`; returns what is left of `amount`.

    At least one order stays on the side, so that a best price always exists; one taker meets at most half as many
    makers as the tape holds, so that every trade is still there to be sent.
    """
    fills = 0
    side = ASK if buys else BID
    limit = key_of(limit_k, side)
    while amount > 0 and state.n_orders[i, side] > 1 and fills < TAPE // 2:
        maker = state.orders[i, side, 0]
        if maker.key > limit:
            break
        fill = min(amount, maker.amount)
        if maker.amount - fill < state.market[i].least:
            fill = maker.amount
        k = key_of(maker.key, side)
        maker_id = maker.id  # read before the order leaves its place
        reduce_order(state, i, side, ZERO, fill)
        record_trade(state, i, k, fill if buys else -fill, maker_id)
        amount -= fill
        fills += 1
    return amount


@kernel
def is_owned(state: Any, order_id: int) -> Any:
    """True where an order is a person's, whom the flow does not decide for."""
    found = False
    for j in range(len(state.owned)):
        if state.owned[j] == 0:
            break
        found |= state.owned[j] == order_id
    return found


@kernel
def room(state: Any, i: int, side: int) -> Any:
    """True where the side can take another order."""
    return state.n_orders[i, side] < ORDERS_MAX
