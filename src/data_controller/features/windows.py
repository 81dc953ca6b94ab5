"""Reductions over closed bins: fresh at every tick, in one fixed order, float64.

The order of every sum is ascending: the seconds before the first whole minute inside the window, the whole minutes,
the seconds after them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data_controller.features.layout import (
    BUY_QUOTE,
    MINUTE_S,
    RETURN_STEP_S,
    SELL_QUOTE,
    SPREAD_BINS,
    SPREAD_HIGH_BPS,
    SPREAD_LOW_BPS,
    SPREAD_RING_MINUTES,
    SPREAD_RING_S,
)
from data_controller.kernels import kernel

_LOG_LOW = math.log(SPREAD_LOW_BPS)
_LOG_STEP = math.log(SPREAD_HIGH_BPS / SPREAD_LOW_BPS) / SPREAD_BINS

KYLE_LEAST_STEPS = 30


@kernel
def whole_minutes(begin: int, end: int) -> tuple[int, int]:
    """The minutes that lie whole inside seconds begin..end - 1, as a half-open range, empty where there are none."""
    first = (begin + MINUTE_S - 1) // MINUTE_S
    return first, max(first, end // MINUTE_S)


@kernel
def window_sum(bins: NDArray[np.void], i: int, field: int, begin: int, end: int) -> float:
    """Sum of `field` over seconds begin..end - 1, all closed and inside the ring."""
    return window_pair(bins, i, field, field, begin, end)[0]


@kernel
def window_pair(bins: NDArray[np.void], i: int, one: int, other: int, begin: int, end: int) -> tuple[float, float]:
    """Sums of two fields over seconds begin..end - 1, all closed and inside the ring.

    Two at once, because additions in order wait for each other and two chains do not.
    """
    seconds = bins[i].sums[one]
    others = bins[i].sums[other]
    mask = seconds.shape[0] - 1
    first, stop = whole_minutes(begin, end)
    head = end if first == stop else first * MINUTE_S
    total = 0.0
    total_other = 0.0
    for s in range(begin, head):
        total += seconds[s & mask]
        total_other += others[s & mask]
    if first == stop:
        return total, total_other
    minutes = bins[i].minute_sums[one]
    other_minutes = bins[i].minute_sums[other]
    minute_mask = minutes.shape[0] - 1
    for m in range(first, stop):
        total += minutes[m & minute_mask]
        total_other += other_minutes[m & minute_mask]
    for s in range(stop * MINUTE_S, end):
        total += seconds[s & mask]
        total_other += others[s & mask]
    return total, total_other


@kernel
def mid_range(bins: NDArray[np.void], i: int, begin: int, end: int) -> tuple[float, float]:
    """Highest and lowest mid over seconds begin..end - 1; NaN where the book never could be acted on."""
    ring = bins[i]
    mask = ring.mid_high.shape[0] - 1
    minute_mask = ring.minute_high.shape[0] - 1
    first, stop = whole_minutes(begin, end)
    highest = -np.inf
    lowest = np.inf
    # A comparison with NaN is false, so cells that know nothing drop out.
    for m in range(first, stop):
        if ring.minute_high[m & minute_mask] > highest:
            highest = ring.minute_high[m & minute_mask]
        if ring.minute_low[m & minute_mask] < lowest:
            lowest = ring.minute_low[m & minute_mask]
    for s in range(begin, end):
        if first < stop and first * MINUTE_S <= s < stop * MINUTE_S:
            continue
        if ring.mid_high[s & mask] > highest:
            highest = ring.mid_high[s & mask]
        if ring.mid_low[s & mask] < lowest:
            lowest = ring.mid_low[s & mask]
    if highest < lowest:
        return np.nan, np.nan
    return highest, lowest


@kernel
def spread_times(hist: NDArray[np.void], i: int, begin: int, end: int, times: NDArray[np.int64]) -> None:
    """Fill `times` [SPREAD_BINS] with the nanoseconds spent at each spread over seconds begin..end - 1."""
    first, stop = whole_minutes(begin, end)
    times[:] = 0
    for m in range(first, stop):
        minute = hist[i].minute_ns[m % SPREAD_RING_MINUTES]
        for k in range(SPREAD_BINS):
            times[k] += minute[k]
    s = begin
    while s < end:
        if first < stop and s == first * MINUTE_S:
            s = stop * MINUTE_S
            continue
        second = hist[i].second_ns[s % SPREAD_RING_S]
        for k in range(SPREAD_BINS):
            times[k] += second[k]
        s += 1


@kernel
def spread_quantile(times: NDArray[np.int64], q: float) -> float:
    """The spread in bps below which the share `q` of the time lies, log-linear inside a bin; NaN without time."""
    total = 0
    for k in range(SPREAD_BINS):
        total += times[k]
    if total == 0:
        return np.nan
    target = q * total
    below = 0
    for k in range(SPREAD_BINS):
        if times[k] > 0 and below + times[k] >= target:
            return math.exp(_LOG_LOW + (k + (target - below) / times[k]) * _LOG_STEP)
        below += times[k]
    return SPREAD_HIGH_BPS


@kernel
def volume_over_median(bins: NDArray[np.void], i: int, end: int, width: int, windows: int) -> float:
    """Quote volume of the last `width` seconds over the median of the last `windows` such; NaN where that is 0."""
    volumes = np.empty(windows)
    for k in range(windows):
        stop = end - k * width
        buys, sells = window_pair(bins, i, BUY_QUOTE, SELL_QUOTE, stop - width, stop)
        volumes[k] = buys + sells
    newest = volumes[0]
    for k in range(1, windows):
        value = volumes[k]
        place = k
        while place > 0 and volumes[place - 1] > value:
            volumes[place] = volumes[place - 1]
            place -= 1
        volumes[place] = value
    median = 0.5 * (volumes[(windows - 1) // 2] + volumes[windows // 2])
    if median <= 0.0:
        return np.nan
    return float(newest / median)


@kernel
def kyle_lambda(bins: NDArray[np.void], i: int, end: int, window: int) -> float:
    """Least-squares slope of 5 s mid returns (bps) on signed quote volume (millions), steps counted back from `end`.

    Kyle 1985. NaN below KYLE_LEAST_STEPS known steps or without variance of volume.
    """
    ring = bins[i]
    mask = ring.log_mid.shape[0] - 1
    buys = ring.sums[BUY_QUOTE]
    sells = ring.sums[SELL_QUOTE]
    count = window // RETURN_STEP_S
    moves = np.empty(count)
    flows = np.empty(count)
    n = 0
    move_sum = 0.0
    flow_sum = 0.0
    begin = end - count * RETURN_STEP_S
    old = ring.log_mid[(begin - 1) & mask]
    for k in range(count):
        last = begin + (k + 1) * RETURN_STEP_S - 1
        new = ring.log_mid[last & mask]
        move = 1e4 * (new - old)
        old = new
        if move != move:
            continue
        flow = 0.0
        for s in range(last - RETURN_STEP_S + 1, last + 1):
            flow += buys[s & mask] - sells[s & mask]
        flow *= 1e-6
        moves[n] = move
        flows[n] = flow
        move_sum += move
        flow_sum += flow
        n += 1
    if n < KYLE_LEAST_STEPS:
        return np.nan
    move_mean = move_sum / n
    flow_mean = flow_sum / n
    covariance = 0.0
    variance = 0.0
    for k in range(n):
        deviation = flows[k] - flow_mean
        covariance += deviation * (moves[k] - move_mean)
        variance += deviation * deviation
    if variance <= 0.0:
        return np.nan
    return covariance / variance
