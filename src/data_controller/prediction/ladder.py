"""The ladder: tiers in order, the first good answer counts, and the answer says who gave it and who did not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_controller.errors import BundleError
from data_controller.prediction.bundle import GOLDEN_TOLERANCE, Bundle
from data_controller.prediction.compiled import CompiledTier
from data_controller.prediction.forward import OUTPUTS, linear, prepare
from data_controller.prediction.settings import PredictionSettings

NONE = "none"
"""Name of the lowest rung: no prediction; positions are still managed."""


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """One answer for every instrument: the columns of records.Answer."""

    bundle: str
    tier: str
    failed: dict[str, str]  # tier above the one that answered -> why it did not
    outputs: NDArray[np.float32]  # [instruments, horizons, 4] as forward.OUTPUTS; NaN where not valid
    valid: NDArray[np.uint8]  # [instruments]


class Tier(Protocol):
    """One way to run a bundle."""

    name: str

    def predict(
        self, features: NDArray[np.float32], valid: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Outputs [batch, horizons, 4] and usable [batch] for raw features [batch, window, features]."""
        ...


class NumpyTier:
    """The forward pass on numpy, in the caller's thread."""

    name = "numpy"

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._parameters = prepare(manifest.normalisation, bundle.weight, bundle.bias, manifest.window)

    def predict(
        self, features: NDArray[np.float32], valid: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        with np.errstate(all="ignore"):
            outputs, usable = linear(np, self._parameters, features, valid != 0)
        return outputs, usable.astype(np.uint8)


_MAKERS: dict[str, Any] = {"compiled": CompiledTier, "numpy": NumpyTier}


class Ladder:
    """Runs one bundle on the tiers of the config, in their order; below the last there is `none`.

    A tier that does not reproduce the golden vectors is left out, and every reply says so. `horizons_s` are those the
    config acts on; replies hold only these, in this order. A function of its inputs: it keeps no state between calls.
    """

    def __init__(self, settings: PredictionSettings, bundle: Bundle, tiers: list[Tier] | None = None) -> None:
        """`tiers` replaces those that the config names. Raises BundleError where the bundle lacks a horizon."""
        self.bundle = bundle
        self.horizons_s = settings.horizons_s or bundle.horizons_s
        missing = [h for h in self.horizons_s if h not in bundle.horizons_s]
        if missing:
            raise BundleError(
                f"expected horizons among {list(bundle.horizons_s)}, was {missing} (`prediction.horizons_s`)"
            )
        self._pick = [bundle.horizons_s.index(h) for h in self.horizons_s]
        self._all = self.horizons_s == bundle.horizons_s
        self.refused: dict[str, str] = {}  # tier -> why it was left out at load
        self.tiers: list[Tier] = []
        self.counters: dict[str, int] = {}  # answers by tier
        for tier in [_MAKERS[name](bundle) for name in settings.tiers] if tiers is None else tiers:
            self.counters[tier.name] = 0
            fault = self._golden_fault(tier)
            if fault:
                self.refused[tier.name] = fault
            else:
                self.tiers.append(tier)
        self.counters[NONE] = 0

    def predict(self, features: NDArray[np.float32], valid: NDArray[np.uint8]) -> Reply:
        """The first good answer of a tier, or one of tier `none` in which nothing is valid.

        `features` is raw float32 [instruments, window, features], `valid` uint8 of the same shape (0: do not use).
        Raises ValueError on another shape: that is a fault of the caller, not of a tier.
        """
        manifest = self.bundle.manifest
        expected = (manifest.window, len(manifest.columns))
        if features.ndim != 3 or features.shape[1:] != expected or valid.shape != features.shape:
            raise ValueError(
                f"expected features and validity of shape [instruments, {expected[0]}, {expected[1]}], "
                f"was {features.shape} and {valid.shape}"
            )
        failed = dict(self.refused)
        for tier in self.tiers:
            try:
                outputs, usable = tier.predict(features, valid)
            except Exception as error:  # whatever a backend raises costs this rung, never the tick
                failed[tier.name] = f"{type(error).__name__}: {error}"
                continue
            fault = self._reply_fault(outputs, usable, len(features))
            if fault:
                failed[tier.name] = fault
                continue
            self.counters[tier.name] += 1
            picked = np.ascontiguousarray(outputs if self._all else outputs[:, self._pick])
            return Reply(self.bundle.hash, tier.name, failed, picked, usable)
        self.counters[NONE] += 1
        nothing = np.full((len(features), len(self._pick), len(OUTPUTS)), np.nan, np.float32)
        return Reply(self.bundle.hash, NONE, failed, nothing, np.zeros(len(features), np.uint8))

    def _golden_fault(self, tier: Tier) -> str:
        golden = self.bundle.golden
        try:
            outputs, usable = tier.predict(golden.features, golden.valid)
        except Exception as error:  # a backend may raise anything; at load it costs the rung
            return f"golden vectors: {type(error).__name__}: {error}"
        fault = self._reply_fault(outputs, usable, len(golden.usable))
        if fault:
            return f"golden vectors: {fault}"
        if not np.array_equal(usable, golden.usable):
            return "golden vectors: another set of rows is usable"
        rows = golden.usable != 0
        wanted = golden.outputs[rows].astype(np.float64)
        apart = np.abs(outputs[rows].astype(np.float64) - wanted) / np.maximum(1.0, np.abs(wanted))
        worst = float(apart.max())
        return (
            "" if worst <= GOLDEN_TOLERANCE else f"golden vectors: expected within {GOLDEN_TOLERANCE}, was {worst:.3g}"
        )

    def _reply_fault(self, outputs: Any, usable: Any, batch: int) -> str:
        expected = (batch, len(self.bundle.horizons_s), len(OUTPUTS))
        if getattr(outputs, "shape", None) != expected or outputs.dtype != np.float32:
            return f"expected outputs float32{list(expected)}, was {_described(outputs)}"
        if getattr(usable, "shape", None) != (batch,) or usable.dtype != np.uint8:
            return f"expected usable uint8[{batch}], was {_described(usable)}"
        rows = outputs[usable != 0].reshape(-1, len(OUTPUTS))
        if not len(rows):
            return ""
        least, most = rows.min(axis=0).tolist(), rows.max(axis=0).tolist()
        if not all(map(math.isfinite, least + most)):
            return "expected finite outputs, was NaN or infinite"
        if min(least[:2]) < 0 or max(most[:2]) > 1 or least[3] <= 0:
            return "expected probabilities in 0..1 and a positive standard deviation"
        return ""


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{value.dtype}{list(shape)}"
