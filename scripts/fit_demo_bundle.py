"""Fit the small linear bundle that ships with the package, on the features table of a run on simulated data.

    python scripts/fit_demo_bundle.py --simulate 8 --seed 11
    python scripts/fit_demo_bundle.py --features DIR --out DIR

The first simulates hours of the exchange without sockets and makes the bundle that ships. DIR holds the table
`features` (tick_ns, instrument, values, valid, mid) as the engine writes it. Heads by horizon: ridge for the mean of
the mid's log return, ridge on log |residual| for its standard deviation, and P(up) and P(down) as logistic functions
of that mean. Split by time, with a purge and an embargo of the longest horizon; every metric is of the later part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_controller import __version__
from data_controller.prediction.bundle import FORMAT, Golden, Manifest, Normalisation, save, shipped
from data_controller.prediction.forward import OUTPUTS, linear, normalise, prepare

HORIZONS_S = (60, 300, 900)
TRAIN_SHARE = 0.7
CLIP = 5.0
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # a row; the least squared error on the last quarter of training decides
LOGIT_ROUNDS = 8
NOTICE = (
    "Fitted on simulated data only: a demonstration of the chain that knows nothing of any real market. "
    "Not for live money."
)

Floats = NDArray[np.float64]


class Samples(NamedTuple):
    """Feature rows of all instruments, ordered by instrument and then by time."""

    tick_ns: NDArray[np.int64]  # [n]
    instrument: NDArray[np.int32]  # [n]
    values: NDArray[np.float32]  # [n, features], raw
    valid: NDArray[np.bool_]  # [n, features]
    mid: Floats  # [n], NaN where the book gave none


@dataclass(frozen=True)
class Fitted:
    """What `fit` found: the bundle's arrays, its metrics and its golden vectors."""

    normalisation: Normalisation
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    golden: Golden
    metrics: dict[str, Any]
    training: dict[str, Any]


def ordered(samples: Samples) -> Samples:
    """The same rows by instrument, then time."""
    order = np.lexsort((samples.tick_ns, samples.instrument))
    return Samples(*(column[order] for column in samples))


def labels(samples: Samples, horizon_s: int, step_ns: int) -> Floats:
    """1e4 ln(mid(T + horizon) / mid(T)) of each row in bps; NaN where a tick between is missing or a mid is."""
    ahead = horizon_s * 1_000_000_000 // step_ns
    out = np.full(len(samples.tick_ns), np.nan)
    if ahead < 1 or ahead >= len(out):
        return out
    whole = samples.tick_ns[ahead:] - samples.tick_ns[:-ahead] == ahead * step_ns
    whole &= samples.instrument[ahead:] == samples.instrument[:-ahead]
    with np.errstate(all="ignore"):
        returns = 1e4 * np.log(samples.mid[ahead:] / samples.mid[:-ahead])
    out[:-ahead] = np.where(whole & np.isfinite(returns), returns, np.nan)
    return out


def scaling(values: NDArray[np.float32], valid: NDArray[np.bool_], log: list[bool]) -> Normalisation:
    """Median and 1.4826 MAD a column (standard deviation, then 1, where that is 0), of valid training cells."""
    centre, scale = [], []
    for j, logged in enumerate(log):
        cells = values[valid[:, j], j].astype(np.float64)
        cells = np.sign(cells) * np.log1p(np.abs(cells)) if logged else cells
        middle = float(np.median(cells)) if len(cells) else 0.0
        spread = 1.4826 * float(np.median(np.abs(cells - middle))) if len(cells) else 0.0
        spread = spread if spread > 1e-9 else float(cells.std()) if len(cells) else 0.0
        centre.append(float(np.float32(middle)))
        scale.append(float(np.float32(spread)) if spread > 1e-9 else 1.0)
    return Normalisation(centre=centre, scale=scale, clip=[CLIP] * len(log), log=log)


def ridge(x: Floats, y: Floats, penalty: float, intercept: bool = True) -> Floats:
    """Weights and, last, the intercept (not penalised, 0 where not wanted); `penalty` is a row."""
    centre, level = (x.mean(axis=0), y.mean()) if intercept else (np.zeros(x.shape[1]), 0.0)
    z = x - centre
    weights = np.linalg.solve(z.T @ z + penalty * len(x) * np.eye(x.shape[1]), z.T @ (y - level))
    return np.append(weights, level - centre @ weights)


def logit_slope(mean: Floats, r: Floats) -> float:
    """Slope k of P(up | r is not 0) = 1 / (1 + exp(-k mean)), by Newton's method; 0 where the mean says nothing."""
    moved = r != 0
    x, y = mean[moved], 1.0 * (r[moved] > 0)
    slope = 0.0
    for _ in range(LOGIT_ROUNDS):
        p = 1.0 / (1.0 + np.exp(-np.clip(slope * x, -30, 30)))
        curvature = float(np.sum(p * (1 - p) * x * x))
        if curvature < 1e-12:
            return 0.0
        slope += float(np.sum((y - p) * x)) / curvature
    return slope


def apply(x: Floats, weights: Floats) -> Floats:
    """x @ weights + intercept."""
    out: Floats = x @ weights[:-1] + weights[-1]
    return out


def choose_penalty(x: Floats, y: Floats, tick_ns: NDArray[np.int64], purge_ns: int) -> float:
    """The penalty with the least squared error on the last quarter of the training span, the purge left out."""
    split = np.quantile(tick_ns, 0.75)
    early, late = tick_ns + purge_ns < split, tick_ns >= split
    if early.sum() < 10 * x.shape[1] or not late.any():
        return PENALTIES[-1]
    errors = [float(np.mean((y[late] - apply(x[late], ridge(x[early], y[early], p, False))) ** 2)) for p in PENALTIES]
    return PENALTIES[int(np.argmin(errors))]


def score(r: Floats, out: Floats, rate: float, overlap: int) -> dict[str, Any]:
    """Scores of outputs [n, 4] against returns [n] of the later part, beside those of no skill.

    No skill is a return of 0, and the training span's `rate` of returns that are not 0, half up and half down.
    """
    up, down, mean, sd = out.T
    ic = float(np.corrcoef(mean, r)[0, 1]) if mean.std() > 0 and r.std() > 0 else 0.0
    return {
        "rows": len(r),
        "rows_not_overlapping": len(r) // max(1, overlap),
        "ic": ic,
        "r2": 1.0 - float(np.sum((r - mean) ** 2) / np.sum(r**2)) if r.any() else 0.0,
        "brier_up": float(np.mean((up - (r > 0)) ** 2)),
        "brier_up_no_skill": float(np.mean((0.5 * rate - (r > 0)) ** 2)),
        "brier_down": float(np.mean((down - (r < 0)) ** 2)),
        "brier_down_no_skill": float(np.mean((0.5 * rate - (r < 0)) ** 2)),
        "standardised_residual_sd": float(np.std((r - mean) / sd)),
        "return_sd_bps": float(r.std()),
    }


def fit(
    samples: Samples,
    log: list[bool],
    horizons_s: tuple[int, ...] = HORIZONS_S,
    min_valid: float = 0.95,
    barred: Sequence[int] = (),
) -> Fitted:
    """Fit all heads; the columns `barred`, and those valid in less than `min_valid` of the rows, carry no weight.

    Raises SystemExit where there is too little to fit on.
    """
    samples = ordered(samples)
    steps = np.diff(samples.tick_ns)
    steps = steps[steps > 0]
    if not len(steps):
        raise SystemExit("expected at least two ticks in the features table, was fewer")
    step_ns = int(np.median(steps))
    longest_ns = max(horizons_s) * 1_000_000_000
    first, last = int(samples.tick_ns.min()), int(samples.tick_ns.max())
    split = first + int(TRAIN_SHARE * (last - first - longest_ns))
    usable_cells = samples.valid & np.isfinite(samples.values)
    in_train = samples.tick_ns < split
    kept = np.flatnonzero(usable_cells[in_train].mean(axis=0) >= min_valid) if in_train.any() else np.zeros(0, int)
    kept = np.setdiff1d(kept, np.asarray(barred, int))
    kept = kept[[float(np.std(samples.values[usable_cells[:, j], j])) > 1e-12 for j in kept]] if len(kept) else kept
    if not len(kept):
        raise SystemExit(f"expected columns valid in {min_valid:.0%} of the training rows, was none; record for longer")
    norm = scaling(samples.values[in_train], usable_cells[in_train], log)
    width = samples.values.shape[1]
    weight = np.zeros((len(horizons_s), len(OUTPUTS), width), np.float32)
    bias = np.zeros((len(horizons_s), len(OUTPUTS)), np.float32)
    parameters = prepare(norm, weight, bias, 1)
    with np.errstate(all="ignore"):
        x = normalise(np, parameters, samples.values, usable_cells)[:, kept].astype(np.float64)
    whole = usable_cells[:, kept].all(axis=1)
    tests, metrics = [], {}
    for h, horizon_s in enumerate(horizons_s):
        r = labels(samples, horizon_s, step_ns)
        ready = whole & np.isfinite(r)
        train = ready & (samples.tick_ns + horizon_s * 1_000_000_000 < split)
        test = ready & (samples.tick_ns >= split + longest_ns)
        if train.sum() < 20 * (len(kept) + 1) or test.sum() < 100:
            raise SystemExit(
                f"expected {20 * (len(kept) + 1)} training and 100 test rows for {horizon_s} s, "
                f"was {train.sum()} and {test.sum()}; record for longer"
            )
        xt, rt = x[train], r[train]
        penalty = choose_penalty(xt, rt, samples.tick_ns[train], horizon_s * 1_000_000_000)
        # The drift of the training span is no forecast: no head that has a side gets an intercept of its own.
        mean = ridge(xt, rt, penalty, intercept=False)
        residual = rt - apply(xt, mean)
        # A tenth of the deviation is the floor: returns of exactly 0 would pull the logarithm without bound.
        spread = ridge(xt, np.log(np.abs(residual) + 0.1 * residual.std()), penalty)
        spread[-1] += 0.5 * np.log(np.mean((residual / np.exp(apply(xt, spread))) ** 2))
        side = 0.5 * min(max(float((rt != 0).mean()), 1e-4), 1 - 1e-4)
        lean = logit_slope(apply(xt, mean), rt) * mean
        level = np.log(side / (1 - side)) * (np.arange(len(mean)) == len(mean) - 1)
        for o, head in enumerate((level + lean, level - lean, mean, spread)):
            weight[h, o, kept] = head[:-1]
            bias[h, o] = head[-1]
        metrics[str(horizon_s)] = {"penalty": penalty, "rows_train": int(train.sum())}
        tests.append((test, r, float((rt != 0).mean())))

    parameters = prepare(norm, weight, bias, 1)
    with np.errstate(all="ignore"):
        outputs, usable = linear(np, parameters, samples.values[:, None, :], usable_cells[:, None, :])
    for h, (test, r, rate) in enumerate(tests):
        overlap = horizons_s[h] * 1_000_000_000 // step_ns
        found = score(r[test], outputs[test, h].astype(np.float64), rate, overlap)
        metrics[str(horizons_s[h])] |= found
    sound = np.flatnonzero(usable)
    chosen = np.concatenate([sound[:: max(1, len(sound) // 15)][:15], np.flatnonzero(~usable)[:1]])
    golden_outputs, golden_usable = linear(
        np, parameters, samples.values[chosen, None, :], usable_cells[chosen, None, :]
    )
    return Fitted(
        normalisation=norm,
        weight=weight,
        bias=bias,
        golden=Golden(
            samples.values[chosen, None, :],
            usable_cells[chosen, None, :].astype(np.uint8),
            golden_outputs,
            golden_usable.astype(np.uint8),
        ),
        metrics=metrics,
        training={
            "rows": len(samples.tick_ns),
            "instruments": len(np.unique(samples.instrument)),
            "first_tick_ns": first,
            "last_tick_ns": last,
            "step_ns": step_ns,
            "split_ns": split,
            "purge_s": max(horizons_s),
            "embargo_s": max(horizons_s),
            "columns_with_weight": [int(j) for j in kept],
        },
    )


def manifest(fitted: Fitted, columns: list[str], catalogue_hash: str, horizons_s: tuple[int, ...]) -> Manifest:
    """The manifest of a demo bundle, which says what it is and is not."""
    return Manifest(
        format=FORMAT,
        name="demo-linear",
        architecture="linear",
        sizes={"features": len(columns), "horizons": len(horizons_s), "outputs": len(OUTPUTS)},
        catalogue_hash=catalogue_hash,
        columns=columns,
        window=1,
        horizons_s=list(horizons_s),
        outputs=list(OUTPUTS),
        normalisation=fitted.normalisation,
        label="1e4 ln(mid(T + horizon) / mid(T)); up: > 0, down: < 0; no row across a missing tick or mid",
        trained_on="simulator",
        live_money=False,
        notice=NOTICE,
        training=fitted.training,
        metrics=fitted.metrics,
        code_version=__version__,
    )


def read(directory: Path) -> Samples:
    """The features table in `directory`."""
    from data_controller.lake.tables import read_table

    table = read_table(directory, "features")
    n = len(table)

    def matrix(name: str) -> Any:
        return table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(n, -1)

    return Samples(
        table["tick_ns"].to_numpy().astype(np.int64),
        table["instrument"].to_numpy().astype(np.int32),
        matrix("values").astype(np.float32),
        matrix("valid").astype(bool),
        table["mid"].to_numpy(zero_copy_only=False).astype(np.float64),
    )


def simulated(seed: int, hours: float) -> Samples:
    """Feature rows of the simulated exchange."""
    from simulate_features import simulate

    return Samples(**simulate(seed, hours))


def catalogue() -> tuple[list[str], list[bool], list[int], str]:
    """Columns, which of them are taken as logarithms, which are barred, and the hash with the parameters that ship.

    Barred are the hour, which within a few hours of data is but a name for the drift of each, and the quality masks.
    """
    from data_controller.features.catalogue import COLUMNS, FEATURES, catalogue_hash
    from data_controller.features.parameters import load_parameters
    from data_controller.features.settings import FeatureSettings

    settings = FeatureSettings()
    owners = [feature for feature in FEATURES for _ in feature.column_names]
    log = [owner.normalisation == "l" for owner in owners]
    barred = [j for j, owner in enumerate(owners) if owner.inputs == ("time",) or owner.normalisation == "m"]
    return list(COLUMNS), log, barred, catalogue_hash(settings, load_parameters(settings.parameters))


def main(argv: list[str] | None = None) -> None:
    """Read, fit, save, print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--features", type=Path, help="directory that holds the table `features`")
    source.add_argument("--simulate", type=float, metavar="HOURS", help="hours of the simulated exchange to fit on")
    parser.add_argument("--seed", type=int, default=11, help="of the simulated exchange (default: 11)")
    parser.add_argument("--out", type=Path, default=shipped(), help="bundle directory (default: the shipped one)")
    parser.add_argument("--min-valid", type=float, default=0.95, help="share of rows in which a column must be valid")
    given = parser.parse_args(argv)
    columns, log, barred, catalogue_hash = catalogue()
    samples = simulated(given.seed, given.simulate) if given.features is None else read(given.features)
    if samples.values.shape[1] != len(columns):
        raise SystemExit(f"expected {len(columns)} columns in the features table, was {samples.values.shape[1]}")
    fitted = fit(samples, log, HORIZONS_S, given.min_valid, barred)
    described = manifest(fitted, columns, catalogue_hash, HORIZONS_S)
    name = save(given.out, described, fitted.weight, fitted.bias, fitted.golden)
    json.dump({"bundle": name, "out": str(given.out), "metrics": fitted.metrics}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
