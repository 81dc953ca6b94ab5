"""The linear model's forward pass as one compiled loop: the tier that a tick waits least for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import brief_kernel
from data_controller.prediction.bundle import Bundle
from data_controller.prediction.forward import MAX_LOG_SD, MAX_LOGIT, OUTPUTS

_N_OUTPUTS = len(OUTPUTS)


@brief_kernel
def linear_rows(
    features: NDArray[np.float32],
    valid: NDArray[np.uint8],
    scaling: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    needed: NDArray[np.uint8],
    inputs: NDArray[np.float64],
    heads: NDArray[np.float64],
    outputs: NDArray[np.float32],
    usable: NDArray[np.uint8],
) -> None:
    """`forward.linear`, row by row, summed in float64 over the inputs in their order.

    `scaling` [4, features] is centre, scale, clip and 1 where logarithms are taken; `weight` [window * features,
    horizons * 4]; `inputs` and `heads` are room for one row.
    """
    width = features.shape[2]
    for b in range(features.shape[0]):
        usable[b] = 1
        for k in range(inputs.shape[0]):
            x = float(features[b, k // width, k % width])
            if valid[b, k // width, k % width] == 0 or not -math.inf < x < math.inf:
                inputs[k] = 0.0
                if needed[k] == 1:
                    usable[b] = 0
                continue
            c = k % width
            if scaling[3, c] != 0.0:
                x = math.copysign(math.log1p(abs(x)), x)
            x = (x - scaling[0, c]) / scaling[1, c]
            inputs[k] = min(max(x, -scaling[2, c]), scaling[2, c])
        for h in range(heads.shape[0]):
            heads[h] = bias[h]
        for k in range(inputs.shape[0]):
            for h in range(heads.shape[0]):
                heads[h] += inputs[k] * weight[k, h]
        for h in range(outputs.shape[1]):
            up = 1.0 / (1.0 + math.exp(min(max(-heads[4 * h], -MAX_LOGIT), MAX_LOGIT)))
            down = 1.0 / (1.0 + math.exp(min(max(-heads[4 * h + 1], -MAX_LOGIT), MAX_LOGIT)))
            excess = max(up + down, 1.0)
            outputs[b, h, 0] = up / excess
            outputs[b, h, 1] = down / excess
            outputs[b, h, 2] = heads[4 * h + 2]
            outputs[b, h, 3] = math.exp(min(max(heads[4 * h + 3], -MAX_LOG_SD), MAX_LOG_SD))
        if usable[b] == 0:
            outputs[b] = np.nan


class CompiledTier:
    """A linear bundle on `linear_rows`, in the caller's thread; a row's bits do not depend on the rows beside it."""

    name = "compiled"

    def __init__(self, bundle: Bundle) -> None:
        n, by = bundle.manifest.window * len(bundle.manifest.columns), bundle.manifest.normalisation
        flat = bundle.weight.reshape(-1, n)
        self._horizons = len(bundle.horizons_s)
        self._scaling = np.array([by.centre, by.scale, by.clip, by.log], np.float32)
        self._weight = np.ascontiguousarray(flat.T, np.float32)
        self._bias = np.ascontiguousarray(bundle.bias.reshape(-1), np.float32)
        self._needed = (flat != 0).any(axis=0).astype(np.uint8)
        self._inputs, self._heads = np.zeros(n), np.zeros(len(flat))

    def predict(
        self, features: NDArray[np.float32], valid: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Outputs [batch, horizons, 4] and usable [batch] for raw features [batch, window, features]."""
        outputs = np.empty((len(features), self._horizons, _N_OUTPUTS), np.float32)
        usable = np.empty(len(features), np.uint8)
        linear_rows(
            np.ascontiguousarray(features),
            np.ascontiguousarray(valid),
            self._scaling,
            self._weight,
            self._bias,
            self._needed,
            self._inputs,
            self._heads,
            outputs,
            usable,
        )
        return outputs, usable
