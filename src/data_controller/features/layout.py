"""Memory layout of the feature engine: the open second, the rings of closed bins, what a tick observes, parameters.

All zeros mean "nothing known": not live, no bin, invalid.
"""

from __future__ import annotations

import numpy as np

SECOND_NS = 1_000_000_000
MINUTE_S = 60

MAX_LEVELS = 10
"""Price levels a side that order flow is kept for."""

RETURN_STEP_S = 5
"""Sub-sampling step of returns in realised volatility and Kyle's lambda: damps bounce at one second."""

SPREAD_BINS = 128
SPREAD_LOW_BPS = 0.01
SPREAD_HIGH_BPS = 1000.0
"""The spread histogram: `SPREAD_BINS` bins of equal ratio (9.4 %); what lies outside counts in the end bins."""

SPREAD_RING_S = 512
SPREAD_RING_MINUTES = 16

BAND_NARROW_BPS = 5.0
BAND_WIDE_BPS = 25.0

MAX_SPREAD_STATES = 8
MAX_IMBALANCE_BUCKETS = 32

SUM_NAMES = (
    "valid_ns",  # time the primary book could be acted on, two-sided and uncrossed
    "qi_sign_ns",  # integral of sign(queue imbalance at the best level), ns
    "depth_ns",  # integral of (best bid size + best ask size) / 2, base units x ns
    "levels_ns",  # the same averaged over the levels
    "book_events",  # messages that reached the book while it could be acted on
    "fresh_events",  # of these, the first after a snapshot or gap: they add nothing to order flow
    "trades_valid_ns",  # time the trade feed was unbroken
    "buy_base",  # volume of taker buys, base units
    "sell_base",
    "buy_quote",
    "sell_quote",
    "trades",  # prints; those of one exchange millisecond and side count once
    "effective_quote_bps",  # sum of effective spread x quote volume, of trades that met a live book
    "effective_quote",  # their quote volume
    "step_squared",  # squared log return over the last RETURN_STEP_S, bps^2, 0 where an end is missing
    "steps",  # 1 where that return exists
)
(
    VALID_NS,
    QI_SIGN_NS,
    DEPTH_NS,
    LEVELS_NS,
    BOOK_EVENTS,
    FRESH_EVENTS,
    TRADES_VALID_NS,
    BUY_BASE,
    SELL_BASE,
    BUY_QUOTE,
    SELL_QUOTE,
    TRADES,
    EFFECTIVE_QUOTE_BPS,
    EFFECTIVE_QUOTE,
    STEP_SQUARED,
    STEPS,
) = range(len(SUM_NAMES))
OFI = len(SUM_NAMES)
"""Rows `OFI + m` hold order flow imbalance at level m, base units."""

N_SUMS = OFI + MAX_LEVELS
BOOK_SUMS = (
    *(VALID_NS, QI_SIGN_NS, DEPTH_NS, LEVELS_NS, BOOK_EVENTS, FRESH_EVENTS, EFFECTIVE_QUOTE_BPS, EFFECTIVE_QUOTE),
    *range(OFI, N_SUMS),
)
"""What rests on the book: gone when the book is proved wrong. Steps follow from `log_mid`."""

ACC = np.dtype(
    [
        ("live", "<i8"),  # 1: the book as last seen can be acted on
        ("last_ns", "<i8"),  # time up to which the integrals below reach
        ("book", "<i8"),  # row of the book that the levels below belong to
        ("snapshot_ns", "<i8"),  # and its snapshot
        ("trades_live", "<i8"),  # 1: the trade feed is unbroken
        ("trades_last_ns", "<i8"),
        ("trades_lost", "<i8"),  # 1: it broke within the open second
        ("trade_exch_ns", "<i8"),  # of the last print of the open second, to merge fills of one order
        ("trade_side", "<i8"),
        # the book as last seen
        ("mid", "<f8"),
        ("depth", "<f8"),
        ("levels_depth", "<f8"),
        ("qi_sign", "<f8"),
        ("spread_bin", "<i8"),
        ("bid_price", "<f8", (MAX_LEVELS,)),  # -inf where the side has fewer levels
        ("bid_size", "<f8", (MAX_LEVELS,)),
        ("ask_price", "<f8", (MAX_LEVELS,)),  # +inf likewise
        ("ask_size", "<f8", (MAX_LEVELS,)),
        # the open second
        ("mid_high", "<f8"),
        ("mid_low", "<f8"),
        ("has_mid", "<i8"),
        ("sums", "<f8", (N_SUMS,)),
        ("spread_ns", "<u4", (SPREAD_BINS,)),
    ]
)

BIN = np.dtype(
    [
        ("second", "<i8"),
        ("log_mid", "<f8"),  # at the second's end, NaN where the book could not be acted on
        ("mid_high", "<f8"),  # NaN where the book never could be acted on
        ("mid_low", "<f8"),
        ("sums", "<f8", (N_SUMS,)),
    ]
)
"""One closed second as a row, as `state.FeatureState.bin` hands it out; in memory the fields lie apart."""


WINDOWS_S = (5, 60, 300, 900, 3600)
"""Windows whose gap is looked at; a feature's window is one of them, or the moment of the tick."""


def ring_size(history_s: int) -> int:
    """Seconds that a ring must hold for windows reaching back `history_s`: a power of two, with a minute to spare."""
    return 1 << (history_s + MINUTE_S + RETURN_STEP_S - 1).bit_length()


def bins_dtype(ring: int) -> np.dtype[np.void]:
    """One instrument's closed bins: `ring` seconds and the whole minutes among them, each field contiguous.

    Second s lies in cell `s % ring`, minute m (seconds 60 m to 60 m + 59) in cell `m % minutes`.
    """
    minutes = 1 << (ring // MINUTE_S + 1).bit_length()
    return np.dtype(
        [
            ("first", "<i8"),  # oldest second closed without a hole up to `newest`
            ("newest", "<i8"),  # last closed second, 0 none
            ("sealed", "<i8"),  # last minute summed into its cell
            ("log_mid", "<f8", (ring,)),
            ("mid_high", "<f8", (ring,)),
            ("mid_low", "<f8", (ring,)),
            ("sums", "<f8", (N_SUMS, ring)),
            ("minute_high", "<f8", (minutes,)),
            ("minute_low", "<f8", (minutes,)),
            ("minute_sums", "<f8", (N_SUMS, minutes)),
        ]
    )


HIST = np.dtype(
    [
        ("second_ns", "<u4", (SPREAD_RING_S, SPREAD_BINS)),  # time at each spread, ns
        ("minute_ns", "<i8", (SPREAD_RING_MINUTES, SPREAD_BINS)),
    ]
)


def obs_dtype(columns: int) -> np.dtype[np.void]:
    """What a tick sees of one instrument's live book; floats are NaN where they are not defined."""
    return np.dtype(
        [
            ("now_ns", "<i8"),
            ("has_book", "<i8"),
            ("live", "<i8"),  # 1: it can be acted on, two-sided and uncrossed
            ("proof_ok", "<i8"),
            ("feed_age_ms", "<f8"),
            ("bid", "<f8"),
            ("ask", "<f8"),
            ("bid_size", "<f8"),
            ("ask_size", "<f8"),
            ("mid", "<f8"),
            ("spread_bps", "<f8"),
            ("qi_best", "<f8"),
            ("qi_narrow", "<f8"),
            ("qi_wide", "<f8"),
            ("microprice_bps", "<f8"),
            ("depth_narrow", "<f8"),  # quote currency, both sides
            ("cost_buy_bps", "<f8"),
            ("cost_sell_bps", "<f8"),
            ("book_ns", "<f8", (len(WINDOWS_S),)),  # time the book could be acted on in each window
            ("trades_ns", "<f8", (len(WINDOWS_S),)),  # time the trade feed was unbroken
            ("abnormal", "<i8", (columns,)),  # ticks on which a valid value lay outside its expected range
        ]
    )


def params_dtype(columns: int) -> np.dtype[np.void]:
    """Everything the kernels take from settings, the parameter file and the catalogue."""
    return np.dtype(
        [
            ("order_size_quote", "<f8"),
            ("leader", "<i8"),  # instrument row, -1 none
            ("levels", "<i8"),
            ("weights", "<f8", (MAX_LEVELS,)),  # of integrated OFI, absolute sum 1
            ("micro_buckets", "<i8"),
            ("micro_states", "<i8"),
            ("micro_edges_bps", "<f8", (MAX_SPREAD_STATES,)),
            ("micro_table", "<f8", (MAX_SPREAD_STATES, MAX_IMBALANCE_BUCKETS)),  # half spreads
            ("warm_up_s", "<i8", (columns,)),
            ("window", "<i8", (columns,)),  # its place in WINDOWS_S, -1 the moment of the tick
            ("needs_book", "<i8", (columns,)),  # 1: over its window
            ("needs_trades", "<i8", (columns,)),
            ("max_gap_fraction", "<f8", (columns,)),
            ("low", "<f8", (columns,)),
            ("high", "<f8", (columns,)),
        ]
    )
