"""Seeded order flow with a planted signal: a latent drift that informed market orders follow.

Each instrument has a fair price that moves as  dp/p = drift dt + sigma dW - pull dt,  the drift being an
Ornstein-Uhlenbeck process. Traders who know the fair price take whatever is quoted on the wrong side of it; a part of
the other takers lean the drift's way, so that order flow tells of it; makers quote behind the best price, step into
wide spreads as long as that is no gift, move their orders and cancel them. The mid therefore follows the fair price
through orders alone, one or two grid steps behind.

With h the horizon, tau the drift's time constant and V the variance of the return over h, the correlation of the
drift at t with the return over (t, t + h] is  sd * g / sqrt(V),  g = tau (1 - exp(-h / tau)). `Plan` solves that for
the drift's sd and gives the noise what is left of V.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from data_controller.errors import SimulatorError
from data_controller.kernels import kernel
from data_controller.simulator.matching import add_order, best, is_owned, key_of, reduce_order, room, take
from data_controller.simulator.numbers import below, exponential, lognormal, normal, position, uniform
from data_controller.simulator.state import ASK, BID

_PULL_PER_S = 1.0 / 43_200.0  # the fair price is drawn to its anchor over half a day
_STEP_MAX = 0.9  # grid steps that the fair price's noise may move between two events of its instrument
_TAKEN = 0.25  # chance that an event on a mispriced instrument is an informed order
_BARE = 32  # near levels below which makers fill a side first and cancel nothing there
_NEAR = 100
_REACH = 9.0  # mean distance in grid steps at which makers rest near orders


class Plan(NamedTuple):
    """How strongly an instrument drifts and shakes, relative per second and per square root of a second."""

    drift_sd: float
    sigma: float
    tau_s: float


def plan(strength: float, horizon_s: float, tau_s: float, volatility_bps: float, grid_bps: float, gap_s: float) -> Plan:
    """Drift and noise for which the correlation of the drift with the return over `horizon_s` is `strength`.

    `volatility_bps` is the standard deviation of the return over 60 s. It is lowered, signal and noise alike, where
    events `gap_s` apart could not carry it in steps of `grid_bps`. Raises SimulatorError where no such market exists.
    """
    if not 0.0 <= strength < 1.0:
        raise SimulatorError(f"expected a strength of at least 0 and below 1, was {strength}")
    a = horizon_s / tau_s
    g = tau_s * (1.0 - math.exp(-a))
    q = 2.0 * tau_s**2 * (a - 1.0 + math.exp(-a))
    total = (volatility_bps * 1e-4) ** 2 * horizon_s / 60.0
    drift_variance = strength**2 * total / g**2
    noise = (total - drift_variance * q) / horizon_s
    if noise <= 0.0:
        top = g / math.sqrt(q)
        raise SimulatorError(f"expected a strength below {top:.3f} at a horizon of {horizon_s} s, was {strength}")
    cap = (_STEP_MAX * grid_bps * 1e-4) ** 2 / gap_s
    shrink = min(1.0, math.sqrt(cap / noise))
    # Ten digits: the last bits of exp differ between mathematical libraries, and a seed must not.
    drift_sd, sigma = (float(f"{root * shrink:.9e}") for root in (math.sqrt(drift_variance), math.sqrt(noise)))
    return Plan(drift_sd, sigma, tau_s)


@kernel
def advance_latent(state: Any, i: int, now_ns: int) -> None:
    """Move the drift and the fair price of an instrument on to `now_ns`."""
    market = state.market[i]
    dt = (now_ns - market.latent_ns) * 1e-9
    if dt <= 0.0:
        return
    market.latent_ns = now_ns
    half = dt / (2.0 * state.clock[0].tau_s)
    keep = (1.0 - half) / (1.0 + half) if half < 1.0 else 0.0
    old = market.drift
    market.drift = old * keep + market.drift_sd * (1.0 - keep * keep) ** 0.5 * normal(state.rng)
    pull = (market.fair / market.anchor - 1.0) * min(dt * _PULL_PER_S, 1.0)
    market.fair *= 1.0 + 0.5 * (old + market.drift) * dt + market.sigma * dt**0.5 * normal(state.rng) - pull


@kernel
def amount_of(state: Any, i: int) -> Any:
    """An order's amount: lognormal around the instrument's unit, sometimes round, rarely dust."""
    lot = state.market[i].lot
    lots = max(100, int(state.market[i].unit * lognormal(state.rng)) // lot)
    u = uniform(state.rng)
    if u < 0.35:
        step = 1
        while lots // step >= 100:
            step *= 10
        lots -= lots % step
    elif u > 1.0 - state.clock[0].dust:
        lots = 1 + below(state.rng, 99)
    return lots * lot


@kernel
def near(state: Any, i: int, side: int) -> int:
    """Levels of a side within `_NEAR` grid steps of its best."""
    n = state.n_levels[i, side]
    limit = state.levels[i, side, 0].key + _NEAR
    count = 0
    while count < n and state.levels[i, side, count].key < limit:
        count += 1
    return count


@kernel
def place(state: Any, i: int, fair: float) -> None:
    """A maker's new order: into a wide spread, near the best price, or deep."""
    rng = state.rng
    kb = best(state, i, BID)
    ka = best(state, i, ASK)
    bids = near(state, i, BID)
    asks = near(state, i, ASK)
    side = BID if uniform(rng) * (bids * bids + asks * asks) < asks * asks else ASK
    if min(bids, asks) < _BARE:
        side = BID if bids < asks else ASK
    if not room(state, i, side):
        return
    u = uniform(rng)
    spread = ka - kb
    if u < 0.65 and spread > 1:
        step = 1 + below(rng, spread - 1) if u < 0.35 else 1
        k = kb + step if side == BID else ka - step
        # Quoting beyond the fair price would be a gift to the informed.
        if (side == BID and k > fair + 0.5) or (side == ASK and k < fair - 0.5):
            k = kb if side == BID else ka
    else:
        mean = 60.0 if u > 0.9 else _REACH
        away = int(mean * exponential(rng))
        k = kb - away if side == BID else ka + away
    if k < 1:
        return
    state.clock[0].order_id += 1 + below(rng, 40)
    add_order(state, i, side, k, state.clock[0].order_id, amount_of(state, i))


@kernel
def cancel(state: Any, i: int, fair: float) -> None:
    """A maker's cancel: a quote that became a gift, else any order, near ones more often."""
    rng = state.rng
    side = BID if uniform(rng) * (state.n_orders[i, BID] + state.n_orders[i, ASK]) < state.n_orders[i, BID] else ASK
    if best(state, i, BID) > fair + 0.5:
        side = BID
    elif best(state, i, ASK) < fair - 0.5:
        side = ASK
    if near(state, i, side) < _BARE:
        return
    u = uniform(rng)
    n = state.n_orders[i, side]
    stale = best(state, i, side) > fair + 0.5 if side == BID else best(state, i, side) < fair - 0.5
    at = 0 if stale else int((u if u < 0.5 else 2.0 * u * u - u) * n)
    if is_owned(state, state.orders[i, side, at].id):
        return
    reduce_order(state, i, side, at, state.orders[i, side, at].amount)


@kernel
def amend(state: Any, i: int) -> None:
    """A maker moves an order a few steps, or changes its amount; the order keeps its id."""
    rng = state.rng
    side = below(rng, 2)
    n = state.n_orders[i, side]
    if n < 2:
        return
    at = below(rng, min(n, 30))
    order = state.orders[i, side, at]
    if is_owned(state, order.id):
        return
    k = key_of(order.key, side)
    order_id = order.id
    amount = order.amount
    u = uniform(rng)
    if u < 0.7:
        k += 1 + below(rng, 3) if u < 0.35 else -1 - below(rng, 3)
        k = min(k, best(state, i, ASK) - 1) if side == BID else max(k, best(state, i, BID) + 1)
    else:
        amount = amount_of(state, i)
    reduce_order(state, i, side, at, state.orders[i, side, at].amount)
    if k >= 1:
        add_order(state, i, side, k, order_id, amount)


@kernel
def step(state: Any, i: int) -> None:
    """One event of one instrument's order flow at the clock's time."""
    rng = state.rng
    market = state.market[i]
    advance_latent(state, i, state.clock[0].now_ns)
    fair = position(market.fair)
    kb = best(state, i, BID)
    ka = best(state, i, ASK)
    u = uniform(rng)
    if fair > ka + 0.5 and u < _TAKEN:
        take(state, i, True, 3 * amount_of(state, i), min(int(fair), ka + 8))
        return
    if fair < kb - 0.5 and u < _TAKEN:
        take(state, i, False, 3 * amount_of(state, i), max(int(fair) + 1, kb - 8))
        return
    v = uniform(rng)
    if v < 0.07:
        lean = 0.0
        if u < 0.6 and market.drift_sd > 0.0:
            lean = 0.45 * max(-1.0, min(1.0, market.drift / (1.5 * market.drift_sd)))
        if uniform(rng) < 0.5 + lean:
            take(state, i, True, amount_of(state, i), ka)
        else:
            take(state, i, False, amount_of(state, i), kb)
    elif v < 0.19:
        amend(state, i)
    else:
        # As many leave as come where each side holds `depth` orders.
        crowd = 0.5 * (state.n_orders[i, BID] + state.n_orders[i, ASK]) / state.clock[0].depth
        if uniform(rng) > 0.5 * crowd * crowd:
            place(state, i, fair)
        else:
            cancel(state, i, fair)


@kernel
def fill(state: Any, i: int) -> None:
    """Lay an instrument's first book around its fair price: `depth` orders a side, thinning out away from it."""
    middle = int(position(state.market[i].fair))
    for side in range(2):
        for j in range(state.clock[0].depth):
            away = j // 3 if j < 150 else int(60.0 * exponential(state.rng))
            k = middle - 1 - away if side == BID else middle + 1 + away
            if k >= 1:
                state.clock[0].order_id += 1 + below(state.rng, 40)
                add_order(state, i, side, k, state.clock[0].order_id, amount_of(state, i))
