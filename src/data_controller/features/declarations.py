"""Every feature of the engine, declared once: what it is, what it needs, and when it may be used."""

from __future__ import annotations

from dataclasses import dataclass

from data_controller.features import layout

NORMALISATIONS = {
    "b": "basis points: divided by a scale fitted on training days",
    "u": "bounded ratio: as it is",
    "z": "robust z: (x - median) / MAD, clipped to +-20",
    "l": "log1p, then robust z",
    "m": "mask: told to the model or not, never imputed",
}
"""How a model bundle scales a raw value; the feature engine itself never scales."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One name of the catalogue: what it is, what it needs, and when it may be used."""

    name: str
    group: str
    formula: str
    unit: str
    source: str
    inputs: tuple[str, ...]  # book and trades over the window, mid at the tick, leader, time
    window_s: int  # 0: the moment of the tick
    warm_up_s: int  # closed seconds without a hole that it needs; also H, the oldest second it depends on
    max_gap_fraction: float  # of the window, in any of its inputs; above it the value is invalid
    expected: tuple[tuple[float, float], ...]  # (low, high) by column; outside it a value is counted as abnormal
    normalisation: str
    columns: tuple[str, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns it fills, by default one of its own name."""
        return self.columns or (self.name,)


_GAP = 0.05
_CKS = "Cont, Kukanov, Stoikov 2014, arXiv 1011.6402"
_GB = "Gould, Bonart 2016, arXiv 1512.03492"


def _log_return(window_s: int, bound: float) -> Feature:
    return Feature(
        name=f"r_{window_s}",
        group="price",
        formula=f"1e4 ln(mid(T) / mid(T - {window_s} s)); both ends proved, a gap between them does no harm",
        unit="bps",
        source="log return of the mid",
        inputs=("book",),
        window_s=window_s,
        warm_up_s=window_s + 1,
        max_gap_fraction=1.0,
        expected=((-bound, bound),),
        normalisation="b",
    )


def _spread_quantile(percent: int) -> Feature:
    return Feature(
        name=f"spread_q{percent}_300",
        group="spread and cost",
        formula=(
            f"time-weighted {percent} % quantile of the relative spread 1e4 (ask - bid) / mid over 300 s, from "
            f"{layout.SPREAD_BINS} bins of equal ratio from {layout.SPREAD_LOW_BPS:g} to {layout.SPREAD_HIGH_BPS:g} "
            "bps, log-linear inside a bin; one-sided or crossed books count as gap"
        ),
        unit="bps",
        source="time-weighted quoted spread: Huang, Stoll 1996",
        inputs=("book",),
        window_s=300,
        warm_up_s=300,
        max_gap_fraction=_GAP,
        expected=((0.0, 500.0),),
        normalisation="b",
    )


def _queue_imbalance_band(bps: float) -> Feature:
    return Feature(
        name=f"qi_{bps:g}bps",
        group="book",
        formula=(
            f"(B - A) / (B + A), B and A the bid and ask size within {bps:g} bps of the mid as far as the book is "
            "known; invalid where both are 0"
        ),
        unit="ratio",
        source=_GB,
        inputs=("book",),
        window_s=0,
        warm_up_s=0,
        max_gap_fraction=0.0,
        expected=((-1.0, 1.0),),
        normalisation="u",
    )


def _order_flow(window_s: int) -> Feature:
    return Feature(
        name=f"ofi_{window_s}",
        group="order flow",
        formula=(
            f"sum of e_n over {window_s} s / time-weighted mean of (qb + qa) / 2 at the best level; e_n = 1[Pb_n >= "
            "Pb_n-1] qb_n - 1[Pb_n <= Pb_n-1] qb_n-1 - 1[Pa_n <= Pa_n-1] qa_n + 1[Pa_n >= Pa_n-1] qa_n-1 on every "
            "message, 0 for the first after a snapshot or gap"
        ),
        unit="ratio",
        source=_CKS,
        inputs=("book",),
        window_s=window_s,
        warm_up_s=window_s,
        max_gap_fraction=_GAP,
        expected=((-1e4, 1e4),),
        normalisation="z",
    )


def _trade_flow(window_s: int) -> Feature:
    return Feature(
        name=f"tfi_{window_s}",
        group="trades",
        formula=f"(Vbuy - Vsell) / (Vbuy + Vsell), base volume by taker side over {window_s} s; 0 without trades",
        unit="ratio",
        source="Silantyev 2019, trade flow imbalance",
        inputs=("trades",),
        window_s=window_s,
        warm_up_s=window_s,
        max_gap_fraction=_GAP,
        expected=((-1.0, 1.0),),
        normalisation="u",
    )


def _realised_volatility(window_s: int) -> Feature:
    return Feature(
        name=f"rv_{window_s}",
        group="volatility",
        formula=(
            f"sqrt({window_s} / 5 x mean of squared 5 s log returns of the mid (bps), taken at every second whose "
            f"return lies inside the {window_s} s)"
        ),
        unit="bps",
        source="Zhang, Mykland, Ait-Sahalia 2005, averaged sub-samples",
        inputs=("book",),
        window_s=window_s,
        warm_up_s=window_s + 1,
        max_gap_fraction=_GAP,
        expected=((0.0, 2000.0),),
        normalisation="l",
    )


FEATURES: tuple[Feature, ...] = (
    _log_return(5, 200.0),
    _log_return(60, 500.0),
    _log_return(300, 1000.0),
    _log_return(900, 2000.0),
    Feature(
        name="vwap_distance_300",
        group="price",
        formula="1e4 ln(mid(T) / VWAP), VWAP = quote volume / base volume over 300 s; invalid without trades",
        unit="bps",
        source="Berkowitz, Logue, Noser 1988",
        inputs=("mid", "trades"),
        window_s=300,
        warm_up_s=300,
        max_gap_fraction=_GAP,
        expected=((-1000.0, 1000.0),),
        normalisation="b",
    ),
    Feature(
        name="range_position_3600",
        group="price",
        formula="(mid(T) - low) / (high - low), highest and lowest mid of 3600 s; 0.5 where they are equal",
        unit="ratio",
        source="Lane's stochastic %K on the mid",
        inputs=("book",),
        window_s=3600,
        warm_up_s=3600,
        max_gap_fraction=_GAP,
        expected=((0.0, 1.0),),
        normalisation="u",
    ),
    Feature(
        name="spread",
        group="spread and cost",
        formula="1e4 (ask - bid) / mid at T",
        unit="bps",
        source="quoted spread: Huang, Stoll 1996",
        inputs=("book",),
        window_s=0,
        warm_up_s=0,
        max_gap_fraction=0.0,
        expected=((0.0, 500.0),),
        normalisation="b",
    ),
    _spread_quantile(50),
    _spread_quantile(90),
    Feature(
        name="cost_to_trade",
        group="spread and cost",
        formula=(
            "mean of buying and selling `order_size_quote` against the book at T: 1e4 |VWAP - mid| / mid of the walk; "
            "invalid where either side is not deep enough"
        ),
        unit="bps",
        source="Irvine, Benston, Kandel 2000, cost of a round trip",
        inputs=("book",),
        window_s=0,
        warm_up_s=0,
        max_gap_fraction=0.0,
        expected=((0.0, 1000.0),),
        normalisation="b",
    ),
    Feature(
        name="qi_best",
        group="book",
        formula="(qb - qa) / (qb + qa) at the best level",
        unit="ratio",
        source=_GB,
        inputs=("book",),
        window_s=0,
        warm_up_s=0,
        max_gap_fraction=0.0,
        expected=((-1.0, 1.0),),
        normalisation="u",
    ),
    _queue_imbalance_band(layout.BAND_NARROW_BPS),
    _queue_imbalance_band(layout.BAND_WIDE_BPS),
    Feature(
        name="microprice_minus_mid",
        group="book",
        formula=(
            "G*(I, S) x half spread, 1e4 / mid; I the bucket of qb / (qb + qa), S the spread state, G* from the "
            "parameter file"
        ),
        unit="bps",
        source="Stoikov 2018, SSRN 2970694",
        inputs=("book",),
        window_s=0,
        warm_up_s=0,
        max_gap_fraction=0.0,
        expected=((-250.0, 250.0),),
        normalisation="b",
    ),
    Feature(
        name="log_depth_5bps",
        group="book",
        formula="ln(1 + sum of price x size within 5 bps of the mid, both sides, as far as the book is known)",
        unit="ln quote",
        source="depth near the touch: Bessembinder, Panayides, Venkataraman 2009",
        inputs=("book",),
        window_s=0,
        warm_up_s=0,
        max_gap_fraction=0.0,
        expected=((0.0, 25.0),),
        normalisation="z",
    ),
    Feature(
        name="qi_persistence_900",
        group="book",
        formula="time-weighted mean of sign(qb - qa) at the best level over 900 s",
        unit="ratio",
        source=_GB + ", sign averaged",
        inputs=("book",),
        window_s=900,
        warm_up_s=900,
        max_gap_fraction=_GAP,
        expected=((-1.0, 1.0),),
        normalisation="u",
    ),
    _order_flow(5),
    _order_flow(60),
    _order_flow(300),
    Feature(
        name="integrated_ofi_60",
        group="order flow",
        formula=(
            "sum over levels of w_m OFI_m over 60 s / (sum |w_m| x mean depth), mean depth time-weighted over 60 s and "
            "averaged over the levels; w from the parameter file; a missing level has size 0"
        ),
        unit="ratio",
        source="Cont, Cucuringu, Zhang 2023, arXiv 2112.13213",
        inputs=("book",),
        window_s=60,
        warm_up_s=60,
        max_gap_fraction=_GAP,
        expected=((-1e4, 1e4),),
        normalisation="z",
    ),
    _trade_flow(5),
    _trade_flow(60),
    _trade_flow(900),
    Feature(
        name="trade_rate_60",
        group="trades",
        formula="prints over 60 s / 60; neighbours of one exchange millisecond and side count once",
        unit="1/s",
        source="Engle, Russell 1998, intensity of trades",
        inputs=("trades",),
        window_s=60,
        warm_up_s=60,
        max_gap_fraction=_GAP,
        expected=((0.0, 1000.0),),
        normalisation="l",
    ),
    Feature(
        name="volume_300_over_median",
        group="trades",
        formula="quote volume of 300 s / median of the twelve such volumes of 3600 s, itself one; invalid where 0",
        unit="ratio",
        source="relative volume",
        inputs=("trades",),
        window_s=3600,
        warm_up_s=3600,
        max_gap_fraction=_GAP,
        expected=((0.0, 1000.0),),
        normalisation="l",
    ),
    Feature(
        name="kyle_lambda_900",
        group="trades",
        formula=(
            "least-squares slope, with intercept, of 5 s mid returns (bps) on signed taker quote volume (millions) "
            "over the 180 steps of 900 s counted back from T; invalid below 30 steps or without variance"
        ),
        unit="bps / 1e6 quote",
        source="Kyle 1985; Hasbrouck 2009",
        inputs=("book", "trades"),
        window_s=900,
        warm_up_s=901,
        max_gap_fraction=_GAP,
        expected=((-1e5, 1e5),),
        normalisation="z",
    ),
    _realised_volatility(60),
    _realised_volatility(900),
    Feature(
        name="rv_300_over_rv_3600",
        group="volatility",
        formula="sqrt(mean of squared 5 s returns over 300 s / the same over 3600 s); invalid where the latter is 0",
        unit="ratio",
        source="Zhang, Mykland, Ait-Sahalia 2005",
        inputs=("book",),
        window_s=3600,
        warm_up_s=3601,
        max_gap_fraction=_GAP,
        expected=((0.0, 20.0),),
        normalisation="z",
    ),
    Feature(
        name="leader_r_5",
        group="cross-market",
        formula="r_5 of the instrument named by `leader`, for the leader itself its own; invalid without a leader",
        unit="bps",
        source="Hayashi, Yoshida 2005, lead-lag; lagged return of the leader",
        inputs=("leader",),
        window_s=5,
        warm_up_s=6,
        max_gap_fraction=1.0,
        expected=((-200.0, 200.0),),
        normalisation="b",
    ),
    Feature(
        name="hour",
        group="time and quality",
        formula="sin and cos of 2 pi x (seconds since 00:00 UTC at T) / 86400",
        unit="ratio",
        source="Admati, Pfleiderer 1988, time of day",
        inputs=("time",),
        window_s=0,
        warm_up_s=0,
        max_gap_fraction=1.0,
        expected=((-1.0, 1.0), (-1.0, 1.0)),
        normalisation="u",
        columns=("hour_sin", "hour_cos"),
    ),
    Feature(
        name="quality",
        group="time and quality",
        formula=(
            "ms since the book's last message; share of the last 60 s in which the book could not be acted on; 1 where "
            "its proof is good enough now; valid wherever the instrument has a book"
        ),
        unit="ms; ratio; 0 or 1",
        source="this project",
        inputs=("book",),
        window_s=60,
        warm_up_s=0,
        max_gap_fraction=1.0,
        expected=((0.0, 60_000.0), (0.0, 1.0), (0.0, 1.0)),
        normalisation="m",
        columns=("feed_age_ms", "gap_fraction_60", "proof_ok"),
    ),
)
