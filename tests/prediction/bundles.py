"""A small bundle for tests: two horizons, a window of two steps, three columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data_controller.prediction.bundle import FORMAT, Bundle, Golden, Manifest, Normalisation, load, save
from data_controller.prediction.forward import OUTPUTS, linear, prepare

COLUMNS = ["spread", "ofi", "rate"]
CATALOGUE = "c" * 64
WINDOW, HORIZONS_S = 2, [60, 300]


def parts(seed: int = 1) -> dict[str, Any]:
    """Arguments of `save`; the second column carries no weight."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.3, (2, 4, WINDOW, 3)).astype(np.float32)
    weight[..., 1] = 0
    weight = weight.reshape(2, 4, -1)
    bias = rng.normal(0, 0.3, (2, 4)).astype(np.float32)
    norm = Normalisation(centre=[0.0, 1.0, 0.5], scale=[1.0, 2.0, 0.25], clip=[3.0, 3.0, 3.0], log=[False, False, True])
    features = rng.normal(size=(6, WINDOW, 3)).astype(np.float32)
    valid = np.ones(features.shape, np.uint8)
    valid[5, 0, 0] = 0
    outputs, usable = linear(np, prepare(norm, weight, bias, WINDOW), features, valid != 0)
    manifest = Manifest(
        format=FORMAT,
        name="test",
        architecture="linear",
        sizes={"features": 3},
        catalogue_hash=CATALOGUE,
        columns=COLUMNS,
        window=WINDOW,
        horizons_s=HORIZONS_S,
        outputs=list(OUTPUTS),
        normalisation=norm,
        label="none",
        trained_on="simulator",
        live_money=False,
        notice="of random weights",
        training={},
        metrics={},
        code_version="0",
    )
    golden = Golden(features, valid, np.ascontiguousarray(outputs), usable.astype(np.uint8))
    return {"manifest": manifest, "weight": weight, "bias": bias, "golden": golden}


def bundle(folder: Path, seed: int = 1) -> Bundle:
    """The test bundle, saved and loaded."""
    save(folder / "bundle", **parts(seed))
    return load(folder / "bundle", CATALOGUE, COLUMNS)
