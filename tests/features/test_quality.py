from __future__ import annotations

import numpy as np
import pytest

from data_controller.features.catalogue import column
from data_controller.features.quality import put
from tests.features.stream import new_state


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_float32_cannot_hold_is_zero_and_invalid(value: float) -> None:
    state = new_state()
    state.values[:], state.valid[:] = 9.0, 1
    put(state.obs, 0, state.params, state.values, state.valid, 3, value)
    assert (state.values[0, 3], state.valid[0, 3]) == (0.0, 0)
    assert sum(state.abnormal().values()) == 0


def test_a_finite_value_is_valid() -> None:
    state = new_state()
    put(state.obs, 0, state.params, state.values, state.valid, 3, -1.25)
    assert (state.values[0, 3], state.valid[0, 3]) == (-1.25, 1)


def test_only_values_beyond_the_bounds_are_abnormal() -> None:
    state = new_state()
    for value in (1.0, -1.0, 1.0000001, -2.0):
        put(state.obs, 0, state.params, state.values, state.valid, column("qi_best"), value)
    assert state.abnormal()["qi_best"] == 2
