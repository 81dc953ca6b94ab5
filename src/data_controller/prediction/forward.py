"""The forward pass, written once against the array API, so that numpy and mlx.core run the same lines.

Nothing here calls BLAS: products are summed by halving, in an order that depends on the number of inputs alone, so
a row's bits do not depend on the rows beside it, on threads or on the backend's matrix kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTPUTS = ("p_up", "p_down", "mean_bps", "sd_bps")
"""Last axis of the outputs: P(return > 0), P(return < 0), mean and standard deviation of the mid's log return."""

MAX_LOGIT = 30.0
MAX_LOG_SD = 10.0


class Parameters(NamedTuple):
    """A linear model's arrays, float32 (bool where said), of the backend that runs it."""

    centre: Any  # [features]
    scale: Any  # [features] > 0
    clip: Any  # [features] > 0, in scaled units
    log: Any  # [features] bool: taken as sign(x) log(1 + |x|) before it is scaled
    weight: Any  # [window * features, horizons, outputs, 1]
    bias: Any  # [horizons, outputs, 1]
    needed: Any  # [window, features] bool: a column with any weight that is not zero


def prepare(normalisation: Any, weight: NDArray[np.float32], bias: NDArray[np.float32], window: int) -> Parameters:
    """A bundle's `normalisation`, `weight` [horizons, outputs, window * features] and `bias` as numpy parameters."""
    return Parameters(
        centre=np.asarray(normalisation.centre, np.float32),
        scale=np.asarray(normalisation.scale, np.float32),
        clip=np.asarray(normalisation.clip, np.float32),
        log=np.asarray(normalisation.log, np.bool_),
        weight=np.ascontiguousarray(np.moveaxis(weight, 2, 0))[..., None],
        bias=bias[..., None],
        needed=(weight != 0).any(axis=(0, 1)).reshape(window, -1),
    )


def normalise(xp: Any, parameters: Parameters, features: Any, valid: Any) -> Any:
    """Scaled and clipped inputs, float32 [batch, window, features]; invalid cells are 0, the centre."""
    logs = xp.sign(features) * xp.log1p(xp.abs(features))
    scaled = (xp.where(parameters.log, logs, features) - parameters.centre) / parameters.scale
    clipped = xp.minimum(xp.maximum(scaled, -parameters.clip), parameters.clip)
    return xp.where(valid, clipped, xp.zeros_like(clipped))


def fold(values: Any) -> Any:
    """Sum over the first axis by repeated halving: elementwise additions only, in an order fixed by its length."""
    odd = None
    n = values.shape[0]
    while n > 1:
        if n % 2:
            last = values[n - 1]
            odd = last if odd is None else odd + last
        n //= 2
        values = values[:n] + values[n : 2 * n]
    return values[0] if odd is None else values[0] + odd


def linear(xp: Any, parameters: Parameters, features: Any, valid: Any) -> tuple[Any, Any]:
    """Outputs float32 [batch, horizons, 4] as `OUTPUTS` names them, and `usable` bool [batch].

    `features` is raw float32 [batch, window, features], `valid` bool of the same shape. A row is usable where every
    input that carries weight is valid and finite; the outputs of the others are NaN. Heads: logits of up and of down
    (their probabilities are scaled back where they exceed 1 together), mean in bps, log of the standard deviation.
    """
    ok = valid & xp.isfinite(features)
    inputs = normalise(xp, parameters, features, ok)
    batch, window, width = features.shape
    columns = xp.reshape(xp.transpose(xp.reshape(inputs, (batch, window * width))), (window * width, 1, 1, batch))
    heads = fold(columns * parameters.weight) + parameters.bias
    odds = 1.0 / (1.0 + xp.exp(xp.minimum(xp.maximum(-heads[:, 0:2], -MAX_LOGIT), MAX_LOGIT)))
    up, down = odds[:, 0], odds[:, 1]
    excess = xp.maximum(up + down, xp.ones_like(up))
    sd = xp.exp(xp.minimum(xp.maximum(heads[:, 3], -MAX_LOG_SD), MAX_LOG_SD))
    stacked = xp.stack([up / excess, down / excess, heads[:, 2], sd], axis=-1)
    outputs = xp.transpose(stacked, (1, 0, 2))
    usable = xp.all(xp.reshape(ok | ~parameters.needed, (batch, window * width)), axis=1)
    blank = xp.full(outputs.shape, float("nan"), dtype=outputs.dtype)
    return xp.where(xp.reshape(usable, (batch, 1, 1)), outputs, blank), usable
