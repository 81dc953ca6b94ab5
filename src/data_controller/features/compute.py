"""The tick: every feature of an instrument from its closed bins and what the tick saw of its book."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data_controller.features.catalogue import column
from data_controller.features.closing import seal
from data_controller.features.layout import (
    BUY_BASE,
    BUY_QUOTE,
    DEPTH_NS,
    LEVELS_NS,
    OFI,
    QI_SIGN_NS,
    RETURN_STEP_S,
    SECOND_NS,
    SELL_BASE,
    SELL_QUOTE,
    SPREAD_BINS,
    STEP_SQUARED,
    STEPS,
    TRADES,
    TRADES_VALID_NS,
    VALID_NS,
    WINDOWS_S,
)
from data_controller.features.quality import put
from data_controller.features.windows import (
    kyle_lambda,
    mid_range,
    spread_quantile,
    spread_times,
    volume_over_median,
    window_pair,
    window_sum,
)
from data_controller.kernels import brief_kernel, kernel

_R_5, _R_60, _R_300, _R_900 = column("r_5"), column("r_60"), column("r_300"), column("r_900")
_VWAP_DISTANCE_300 = column("vwap_distance_300")
_RANGE_POSITION_3600 = column("range_position_3600")
_SPREAD = column("spread")
_SPREAD_Q50_300, _SPREAD_Q90_300 = column("spread_q50_300"), column("spread_q90_300")
_COST_TO_TRADE = column("cost_to_trade")
_QI_BEST, _QI_5BPS, _QI_25BPS = column("qi_best"), column("qi_5bps"), column("qi_25bps")
_MICROPRICE_MINUS_MID = column("microprice_minus_mid")
_LOG_DEPTH_5BPS = column("log_depth_5bps")
_QI_PERSISTENCE_900 = column("qi_persistence_900")
_OFI_5, _OFI_60, _OFI_300 = column("ofi_5"), column("ofi_60"), column("ofi_300")
_INTEGRATED_OFI_60 = column("integrated_ofi_60")
_TFI_5, _TFI_60, _TFI_900 = column("tfi_5"), column("tfi_60"), column("tfi_900")
_TRADE_RATE_60 = column("trade_rate_60")
_VOLUME_300_OVER_MEDIAN = column("volume_300_over_median")
_KYLE_LAMBDA_900 = column("kyle_lambda_900")
_RV_60, _RV_900, _RV_RATIO = column("rv_60"), column("rv_900"), column("rv_300_over_rv_3600")
_LEADER_R_5 = column("leader_r_5")
_HOUR_SIN, _HOUR_COS = column("hour_sin"), column("hour_cos")
_FEED_AGE_MS, _GAP_FRACTION_60, _PROOF_OK = column("feed_age_ms"), column("gap_fraction_60"), column("proof_ok")

_W_60, _W_900 = WINDOWS_S.index(60), WINDOWS_S.index(900)
_DAY_S = 86_400


@brief_kernel
def compute_all(
    bins: NDArray[np.void],
    hist: NDArray[np.void],
    obs: NDArray[np.void],
    first: int,
    stop: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> None:
    """`compute` for instruments first..stop - 1: one slice of a tick."""
    for i in range(first, stop):
        compute(bins, hist, obs, i, second, params, values, valid)


@kernel
def compute(
    bins: NDArray[np.void],
    hist: NDArray[np.void],
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> None:
    """Fill `values[i]` (raw units, 0 where invalid) and `valid[i]` for the tick that ends `second`, its last bin.

    `values` and `valid` are [instruments, columns]. Depends on closed bins and `obs[i]` only, so a tick may be
    computed in slices or in another thread.
    """
    for c in range(values.shape[1]):
        values[i, c] = 0.0
        valid[i, c] = 0
    _time(obs, i, second, params, values, valid)
    _book_now(obs, i, params, values, valid)
    if bins[i].newest >= second:
        seal(bins, hist, i, second)
    _know_windows(bins, obs, i, second)
    if bins[i].newest >= second:
        _returns(bins, obs, i, second, params, values, valid)
        _book_windows(bins, hist, obs, i, second, params, values, valid)
        _trade_windows(bins, obs, i, second, params, values, valid)
    _quality(bins, obs, i, second, params, values, valid)
    leader = params[0].leader
    if 0 <= leader < bins.shape[0]:
        move = log_return(bins, leader, second, 5, params, _LEADER_R_5)
        put(obs, i, params, values, valid, _LEADER_R_5, move)


@kernel
def _warm(bins: NDArray[np.void], i: int, second: int, params: NDArray[np.void], c: int) -> bool:
    """True where all the closed seconds that column `c` needs are there."""
    return bool(bins[i].newest >= second and bins[i].first <= second - params[0].warm_up_s[c] + 1)


@kernel
def _know_windows(bins: NDArray[np.void], obs: NDArray[np.void], i: int, second: int) -> None:
    """Set the time that book and trade feed were there in each of WINDOWS_S; what was never closed is gap."""
    for w in range(len(WINDOWS_S)):
        book = 0.0
        trades = 0.0
        if bins[i].newest >= second:
            begin = max(second - WINDOWS_S[w] + 1, bins[i].first)
            book, trades = window_pair(bins, i, VALID_NS, TRADES_VALID_NS, begin, second + 1)
        obs[i].book_ns[w] = book
        obs[i].trades_ns[w] = trades


@kernel
def usable(
    bins: NDArray[np.void], obs: NDArray[np.void], i: int, second: int, params: NDArray[np.void], c: int
) -> bool:
    """True where column `c` is warm and no feed that it needs has more gap in its window than it allows."""
    if not _warm(bins, i, second, params, c):
        return False
    p = params[0]
    w = p.window[c]
    whole = float(WINDOWS_S[w] * SECOND_NS)
    allowed = p.max_gap_fraction[c] * whole
    if p.needs_book[c] == 1 and whole - obs[i].book_ns[w] > allowed:
        return False
    return bool(p.needs_trades[c] == 0 or whole - obs[i].trades_ns[w] <= allowed)


@kernel
def log_return(bins: NDArray[np.void], i: int, second: int, window: int, params: NDArray[np.void], c: int) -> float:
    """The mid's log return over `window` in bps, NaN where either end is unknown."""
    if not _warm(bins, i, second, params, c):
        return np.nan
    log_mid = bins[i].log_mid
    mask = log_mid.shape[0] - 1
    return float(1e4 * (log_mid[second & mask] - log_mid[(second - window) & mask]))


@kernel
def _time(
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> None:
    angle = 2.0 * math.pi * ((second + 1) % _DAY_S) / _DAY_S
    put(obs, i, params, values, valid, _HOUR_SIN, math.sin(angle))
    put(obs, i, params, values, valid, _HOUR_COS, math.cos(angle))


@kernel
def _book_now(
    obs: NDArray[np.void], i: int, params: NDArray[np.void], values: NDArray[np.float32], valid: NDArray[np.uint8]
) -> None:
    o = obs[i]
    if o.live == 0:
        return
    put(obs, i, params, values, valid, _SPREAD, o.spread_bps)
    put(obs, i, params, values, valid, _COST_TO_TRADE, 0.5 * (o.cost_buy_bps + o.cost_sell_bps))
    put(obs, i, params, values, valid, _QI_BEST, o.qi_best)
    put(obs, i, params, values, valid, _QI_5BPS, o.qi_narrow)
    put(obs, i, params, values, valid, _QI_25BPS, o.qi_wide)
    put(obs, i, params, values, valid, _MICROPRICE_MINUS_MID, o.microprice_bps)
    put(obs, i, params, values, valid, _LOG_DEPTH_5BPS, math.log1p(o.depth_narrow))


@kernel
def _quality(
    bins: NDArray[np.void],
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> None:
    o = obs[i]
    if o.has_book == 0:
        return
    put(obs, i, params, values, valid, _FEED_AGE_MS, o.feed_age_ms)
    put(obs, i, params, values, valid, _GAP_FRACTION_60, 1.0 - o.book_ns[_W_60] / (60.0 * SECOND_NS))
    put(obs, i, params, values, valid, _PROOF_OK, float(o.proof_ok))


@kernel
def _returns(
    bins: NDArray[np.void],
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> None:
    put(obs, i, params, values, valid, _R_5, log_return(bins, i, second, 5, params, _R_5))
    put(obs, i, params, values, valid, _R_60, log_return(bins, i, second, 60, params, _R_60))
    put(obs, i, params, values, valid, _R_300, log_return(bins, i, second, 300, params, _R_300))
    put(obs, i, params, values, valid, _R_900, log_return(bins, i, second, 900, params, _R_900))
    if usable(bins, obs, i, second, params, _RANGE_POSITION_3600):
        high, low = mid_range(bins, i, second - 3599, second + 1)
        position = 0.5
        if high != low:
            position = (obs[i].mid - low) / (high - low)
        put(obs, i, params, values, valid, _RANGE_POSITION_3600, position if obs[i].live == 1 else np.nan)
    if usable(bins, obs, i, second, params, _RV_60):
        variance = step_variance(bins, i, second, 60)
        put(obs, i, params, values, valid, _RV_60, math.sqrt(60 / RETURN_STEP_S * variance))
    if usable(bins, obs, i, second, params, _RV_900):
        variance = step_variance(bins, i, second, 900)
        put(obs, i, params, values, valid, _RV_900, math.sqrt(900 / RETURN_STEP_S * variance))
    if usable(bins, obs, i, second, params, _RV_RATIO):
        long = step_variance(bins, i, second, 3600)
        if long > 0.0:
            ratio = math.sqrt(step_variance(bins, i, second, 300) / long)
            put(obs, i, params, values, valid, _RV_RATIO, ratio)


@kernel
def step_variance(bins: NDArray[np.void], i: int, second: int, window: int) -> float:
    """Mean squared 5 s return (bps^2) over the returns that lie inside the last `window` seconds; NaN without one.

    Zhang, Mykland, Ait-Sahalia 2005: all sub-grids of 5 s averaged.
    """
    begin = second - window + RETURN_STEP_S
    squares, steps = window_pair(bins, i, STEP_SQUARED, STEPS, begin, second + 1)
    return squares / steps if steps > 0.0 else np.nan


@kernel
def _book_windows(
    bins: NDArray[np.void],
    hist: NDArray[np.void],
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> None:
    end = second + 1
    if usable(bins, obs, i, second, params, _SPREAD_Q50_300):
        times = np.empty(SPREAD_BINS, np.int64)
        spread_times(hist, i, end - 300, end, times)
        put(obs, i, params, values, valid, _SPREAD_Q50_300, spread_quantile(times, 0.5))
        put(obs, i, params, values, valid, _SPREAD_Q90_300, spread_quantile(times, 0.9))
    if usable(bins, obs, i, second, params, _QI_PERSISTENCE_900):
        mean = window_sum(bins, i, QI_SIGN_NS, end - 900, end) / obs[i].book_ns[_W_900]
        put(obs, i, params, values, valid, _QI_PERSISTENCE_900, mean)
    _order_flow(bins, obs, i, second, params, values, valid, _OFI_5, 5)
    _order_flow(bins, obs, i, second, params, values, valid, _OFI_60, 60)
    _order_flow(bins, obs, i, second, params, values, valid, _OFI_300, 300)
    if usable(bins, obs, i, second, params, _INTEGRATED_OFI_60):
        flow = 0.0
        for m in range(0, params[0].levels, 2):
            near, far = window_pair(bins, i, OFI + m, OFI + m + 1, end - 60, end)
            flow += params[0].weights[m] * near
            flow += params[0].weights[m + 1] * far
        depth = window_sum(bins, i, LEVELS_NS, end - 60, end) / obs[i].book_ns[_W_60]
        put(obs, i, params, values, valid, _INTEGRATED_OFI_60, flow / depth)


@kernel
def _order_flow(
    bins: NDArray[np.void],
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
    c: int,
    window: int,
) -> None:
    if usable(bins, obs, i, second, params, c):
        flow, depth_ns = window_pair(bins, i, OFI, DEPTH_NS, second - window + 1, second + 1)
        depth = depth_ns / obs[i].book_ns[params[0].window[c]]
        put(obs, i, params, values, valid, c, flow / depth)


@kernel
def _trade_flow(
    bins: NDArray[np.void],
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
    c: int,
    window: int,
) -> None:
    if usable(bins, obs, i, second, params, c):
        buys, sells = window_pair(bins, i, BUY_BASE, SELL_BASE, second - window + 1, second + 1)
        total = buys + sells
        put(obs, i, params, values, valid, c, (buys - sells) / total if total > 0.0 else 0.0)


@kernel
def _trade_windows(
    bins: NDArray[np.void],
    obs: NDArray[np.void],
    i: int,
    second: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> None:
    end = second + 1
    _trade_flow(bins, obs, i, second, params, values, valid, _TFI_5, 5)
    _trade_flow(bins, obs, i, second, params, values, valid, _TFI_60, 60)
    _trade_flow(bins, obs, i, second, params, values, valid, _TFI_900, 900)
    if usable(bins, obs, i, second, params, _TRADE_RATE_60):
        put(obs, i, params, values, valid, _TRADE_RATE_60, window_sum(bins, i, TRADES, end - 60, end) / 60.0)
    if usable(bins, obs, i, second, params, _VOLUME_300_OVER_MEDIAN):
        put(obs, i, params, values, valid, _VOLUME_300_OVER_MEDIAN, volume_over_median(bins, i, end, 300, 12))
    if usable(bins, obs, i, second, params, _VWAP_DISTANCE_300) and obs[i].live == 1:
        bought, sold = window_pair(bins, i, BUY_BASE, SELL_BASE, end - 300, end)
        paid, got = window_pair(bins, i, BUY_QUOTE, SELL_QUOTE, end - 300, end)
        base = bought + sold
        quote = paid + got
        if base > 0.0:
            put(obs, i, params, values, valid, _VWAP_DISTANCE_300, 1e4 * math.log(obs[i].mid * base / quote))
    if usable(bins, obs, i, second, params, _KYLE_LAMBDA_900):
        put(obs, i, params, values, valid, _KYLE_LAMBDA_900, kyle_lambda(bins, i, end, 900))
