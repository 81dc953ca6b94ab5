"""The compiled forward pass says what the array-API one says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_controller.prediction.compiled import CompiledTier
from data_controller.prediction.ladder import NumpyTier
from tests.prediction.bundles import WINDOW, bundle


def inputs(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    features = rng.normal(scale=5.0, size=(n, WINDOW, 3)).astype(np.float32)
    features[rng.random(features.shape) < 0.02] = np.nan
    features[rng.random(features.shape) < 0.02] = np.inf
    return features, (rng.random(features.shape) > 0.05).astype(np.uint8)


def test_both_tiers_agree_on_every_row_and_on_which_are_usable(tmp_path: Path) -> None:
    made = bundle(tmp_path)
    theirs, their_usable = NumpyTier(made).predict(*inputs(500))
    ours, our_usable = CompiledTier(made).predict(*inputs(500))
    assert our_usable.tolist() == their_usable.tolist()
    assert 0 < our_usable.sum() < 500
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)


def test_a_row_does_not_depend_on_the_rows_beside_it(tmp_path: Path) -> None:
    tier = CompiledTier(bundle(tmp_path))
    features, valid = inputs(40)
    together, _ = tier.predict(features, valid)
    alone = [tier.predict(features[i : i + 1], valid[i : i + 1])[0] for i in range(40)]
    assert together.tobytes() == np.concatenate(alone).tobytes()


def test_no_rows_are_no_outputs(tmp_path: Path) -> None:
    outputs, usable = CompiledTier(bundle(tmp_path)).predict(*inputs(0))
    assert (outputs.shape, usable.shape) == ((0, 2, 4), (0,))
