from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.prediction.forward import OUTPUTS, Parameters, fold, linear, normalise, prepare
from tests.prediction.bundles import WINDOW, parts


def parameters() -> Parameters:
    made = parts()
    return prepare(made["manifest"].normalisation, made["weight"], made["bias"], WINDOW)


def rows(n: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, WINDOW, 3)).astype(np.float32), rng.random((n, WINDOW, 3)) < 0.9


@given(st.integers(1, 70), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_folding_is_a_sum(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-1000, 1000, (n, 3)).astype(np.float32)
    assert fold(values).tolist() == values.sum(axis=0).tolist()


def test_the_outputs_are_the_formulas_of_their_heads() -> None:
    made = parts()
    features, valid = rows(5)
    valid[:] = True
    outputs, usable = linear(np, parameters(), features, valid)
    assert usable.all()
    norm = made["manifest"].normalisation
    for row, found in zip(features.astype(float), outputs, strict=True):
        x = row.copy()
        x[:, 2] = np.sign(x[:, 2]) * np.log1p(np.abs(x[:, 2]))
        x = np.clip((x - norm.centre) / norm.scale, -3, 3).ravel()
        for h in range(2):
            up, down, mean, log_sd = made["weight"][h].astype(float) @ x + made["bias"][h]
            up, down = 1 / (1 + math.exp(-up)), 1 / (1 + math.exp(-down))
            whole = max(1.0, up + down)
            assert found[h] == pytest.approx([up / whole, down / whole, mean, math.exp(log_sd)], rel=1e-4, abs=1e-5)


def test_probabilities_are_probabilities_and_deviations_positive_whatever_goes_in() -> None:
    features, valid = rows(400)
    features *= np.float32(1e30)
    with np.errstate(all="ignore"):
        outputs, usable = linear(np, parameters(), features, valid)
    sound = outputs[usable]
    assert np.isfinite(sound).all()
    assert (sound[..., :2] >= 0).all() and (sound[..., :2].sum(axis=-1) <= 1 + 1e-6).all()
    assert (sound[..., 3] > 0).all()


def test_invalid_cells_count_as_the_centre() -> None:
    features, valid = rows(2)
    features[0, 0, 0] = 1e9
    valid[:] = True
    valid[0, 0, 0] = False
    assert normalise(np, parameters(), features, valid)[0, 0, 0] == 0.0


def test_a_row_is_usable_where_all_that_carries_weight_is_valid_and_finite() -> None:
    features, valid = rows(5)
    valid[:] = True
    valid[0, 1, 0] = False  # carries weight
    valid[1, :, 1] = False  # carries none
    features[2, 0, 2] = np.nan
    features[3, 0, 1] = np.inf
    with np.errstate(all="ignore"):
        outputs, usable = linear(np, parameters(), features, valid)
    assert usable.tolist() == [False, True, False, True, True]
    assert np.isnan(outputs[[0, 2]]).all()
    assert np.isfinite(outputs[[1, 3, 4]]).all()


@given(st.integers(1, 130), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(n: int, seed: int) -> None:
    features, valid = rows(n, seed)
    together, usable = linear(np, parameters(), features, valid)
    order = np.random.default_rng(seed).permutation(n)
    shuffled, _ = linear(np, parameters(), features[order], valid[order])
    assert np.ascontiguousarray(shuffled).tobytes() == np.ascontiguousarray(together[order]).tobytes()
    for k in range(0, n, 7):
        alone, ok = linear(np, parameters(), features[k : k + 1], valid[k : k + 1])
        assert np.ascontiguousarray(alone).tobytes() == np.ascontiguousarray(together[k : k + 1]).tobytes()
        assert ok[0] == usable[k]


def test_outputs_are_float32_in_the_order_of_their_names() -> None:
    outputs, _ = linear(np, parameters(), *rows(3))
    assert outputs.dtype == np.float32
    assert outputs.shape == (3, 2, len(OUTPUTS))
    assert OUTPUTS == ("p_up", "p_down", "mean_bps", "sd_bps")
