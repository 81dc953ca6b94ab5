from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from data_controller.prediction.bundle import load, save
from data_controller.prediction.ladder import Ladder
from data_controller.prediction.settings import PredictionSettings

SCRIPT = Path(__file__).parents[2] / "scripts" / "fit_demo_bundle.py"
S = 1_000_000_000
COLUMNS = ["signal", "noise", "rare", "constant", "rate"]
LOG = [False, False, False, False, True]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fit_demo_bundle", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


script = _script()


def samples(strength: float, n: int = 3000, instruments: int = 2, seed: int = 1) -> Any:
    """Ticks of 1 s whose column `signal` says the drift of the next 10 s; `strength` is its share of the deviation."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(instruments):
        signal = np.repeat(rng.normal(size=n // 10), 10)
        returns = strength * signal + np.sqrt(10) * rng.normal(size=n)
        mid = 100 * np.exp(1e-4 * np.concatenate([[0.0], np.cumsum(returns)[:-1]]))
        values = np.stack([signal, rng.normal(size=n), rng.normal(size=n), np.ones(n), rng.exponential(5, n)], axis=1)
        valid = np.ones(values.shape, bool)
        valid[:, 2] = rng.random(n) < 0.5
        parts.append((np.arange(n) * S, np.full(n, i, np.int32), values.astype(np.float32), valid, mid))
    order = np.argsort(np.concatenate([p[0] for p in parts]), kind="stable")
    return script.Samples(*(np.concatenate(columns)[order] for columns in zip(*parts, strict=True)))


def test_labels_are_returns_over_the_horizon_and_never_cross_a_hole() -> None:
    tick = np.array([0, 1, 2, 3, 5, 6, 0, 1, 2]) * S
    instrument = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1], np.int32)
    mid = np.array([100, 101, 102, np.nan, 104, 105, 10, 11, 12], float)
    made = script.Samples(tick, instrument, np.zeros((9, 1), np.float32), np.ones((9, 1), bool), mid)
    found = script.labels(made, 2, S)
    expected = 1e4 * np.log([102 / 100, np.nan, np.nan, np.nan, np.nan, np.nan, 12 / 10, np.nan, np.nan])
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_planted_signal_is_found_and_scored_on_later_data_alone() -> None:
    fitted = script.fit(samples(2.0), LOG, (5,))
    scores = fitted.metrics["5"]
    assert scores["ic"] > 0.3
    assert 0.05 < scores["r2"] < 1
    assert scores["brier_up"] < scores["brier_up_no_skill"]
    assert 0.9 < scores["standardised_residual_sd"] < 1.1
    weights = np.abs(fitted.weight[0, 2])
    assert weights[0] == weights.max()


def test_without_a_signal_nothing_is_claimed() -> None:
    scores = script.fit(samples(0.0), LOG, (5,)).metrics["5"]
    assert abs(scores["ic"]) < 0.15
    assert scores["r2"] < 0.01


def test_columns_that_are_often_invalid_or_never_change_carry_no_weight() -> None:
    fitted = script.fit(samples(1.0), LOG, (5,))
    assert fitted.training["columns_with_weight"] == [0, 1, 4]
    assert not fitted.weight[..., [2, 3]].any()
    barred = script.fit(samples(1.0), LOG, (5,), barred=[0])
    assert barred.training["columns_with_weight"] == [1, 4]


def test_the_drift_of_the_training_span_is_no_forecast() -> None:
    made = samples(0.0)
    drifting = made._replace(mid=made.mid * np.exp(1e-4 * made.tick_ns / S))
    fitted = script.fit(drifting, LOG, (5,))
    up, down, mean, _ = fitted.bias[0]
    assert (up, mean) == (down, 0.0)


def test_the_last_rows_of_training_do_not_see_the_test_span() -> None:
    base = samples(1.0)
    first = script.fit(base, LOG, (5,))
    changed = base.mid.copy()
    changed[base.tick_ns >= first.training["split_ns"]] **= 2
    second = script.fit(base._replace(mid=changed), LOG, (5,))
    assert second.weight.tobytes() == first.weight.tobytes()
    assert second.metrics != first.metrics


def test_what_is_fitted_is_a_bundle_that_says_it_is_of_simulated_data(tmp_path: Path) -> None:
    fitted = script.fit(samples(1.0), LOG, (5, 20))
    described = script.manifest(fitted, COLUMNS, "c" * 64, (5, 20))
    save(tmp_path / "made", described, fitted.weight, fitted.bias, fitted.golden)
    bundle = load(tmp_path / "made", "c" * 64, COLUMNS)
    assert (bundle.manifest.trained_on, bundle.manifest.live_money) == ("simulator", False)
    assert "Not for live money" in bundle.manifest.notice
    ladder = Ladder(PredictionSettings(), bundle)
    assert ladder.refused == {}
    assert bundle.golden.usable.any()


def test_the_same_rows_give_the_same_bundle_in_any_order(tmp_path: Path) -> None:
    made = samples(1.0)
    shuffled = np.random.default_rng(2).permutation(len(made.tick_ns))
    names = []
    for k, rows in enumerate((made, script.Samples(*(column[shuffled] for column in made)))):
        fitted = script.fit(rows, LOG, (5,))
        described = script.manifest(fitted, COLUMNS, "c" * 64, (5,))
        names.append(save(tmp_path / str(k), described, fitted.weight, fitted.bias, fitted.golden))
    assert names[0] == names[1]


@pytest.mark.parametrize("fault", ["short", "invalid", "one tick"])
def test_too_little_to_fit_on_is_said(fault: str) -> None:
    made = samples(1.0, n=60 if fault == "short" else 600)
    if fault == "invalid":
        made = made._replace(valid=np.zeros_like(made.valid))
    elif fault == "one tick":
        made = script.Samples(*(column[made.tick_ns == 0] for column in made))
    with pytest.raises(SystemExit, match="expected"):
        script.fit(made, LOG, (5,))
