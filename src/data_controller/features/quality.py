"""How a value enters the array: closed at zero, never imputed, counted when it lies outside what is expected."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel


@kernel
def put(
    obs: NDArray[np.void],
    i: int,
    params: NDArray[np.void],
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
    column: int,
    value: float,
) -> None:
    """Write a finite `value` as valid, counted where out of its expected range; else 0 and invalid."""
    written = np.float32(value)
    if not math.isfinite(written):
        values[i, column] = 0.0
        valid[i, column] = 0
        return
    values[i, column] = written
    valid[i, column] = 1
    if not params[0].low[column] <= value <= params[0].high[column]:
        obs[i].abnormal[column] += 1
