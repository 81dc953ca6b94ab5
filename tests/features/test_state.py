from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data_controller.errors import ConfigError
from data_controller.features.parameters import load_parameters
from data_controller.features.settings import FeatureSettings
from data_controller.features.state import FeatureState, make_params
from tests.features.stream import START_S, Book, Engine, Market, at, ladder, random_events


def test_a_hundred_instruments_fit_in_200_mb() -> None:
    assert FeatureState(100, FeatureSettings(), load_parameters()).nbytes() < 200e6


def test_growing_keeps_every_row_and_adds_closed_ones() -> None:
    events = random_events(4, 70, 3.0, 0.0)
    plain, grown = Engine(), Engine(Market(2))
    grown.state.grow(1)
    plain.feed(*[e for e in events if e.ns <= at(40)])
    grown.feed(*[e for e in events if e.ns <= at(40)])
    grown.state.grow(3)
    plain.feed(*[e for e in events if e.ns > at(40)]).tick(START_S + 70)
    grown.feed(*[e for e in events if e.ns > at(40)]).tick(START_S + 70)
    assert grown.state.values.shape == (3, plain.state.values.shape[1])
    assert grown.state.values[0].tobytes() == plain.state.values[0].tobytes()
    assert grown.state.valid[0].tobytes() == plain.state.valid[0].tobytes()
    assert grown.state.valid[2].sum() == 0


def test_reset_forgets_all_but_the_parameters() -> None:
    engine = Engine().feed(Book(at(0), *ladder(100.0), snapshot=True)).tick(START_S + 10)
    engine.state.lead(0)
    engine.state.reset()
    fresh = FeatureState(1, FeatureSettings(), load_parameters())
    fresh.lead(0)
    for name in ("acc", "bins", "hist", "obs", "values", "valid", "params"):
        assert getattr(engine.state, name).tobytes() == getattr(fresh, name).tobytes(), name


def test_more_levels_than_weights_are_refused() -> None:
    few = dataclasses.replace(load_parameters(), integrated_ofi_weights=(1.0, 1.0))
    with pytest.raises(ConfigError, match=r"at least 3 .*features.levels.*, was 2"):
        make_params(FeatureSettings(levels=3), few)


def test_levels_whose_weights_are_all_zero_are_refused() -> None:
    zero_first = dataclasses.replace(load_parameters(), integrated_ofi_weights=(0.0, 1.0))
    with pytest.raises(ConfigError, match="other than 0"):
        make_params(FeatureSettings(levels=1), zero_first)


def test_weights_enter_with_an_absolute_sum_of_one() -> None:
    mixed = dataclasses.replace(load_parameters(), integrated_ofi_weights=(3.0, -1.0))
    weights = make_params(FeatureSettings(levels=2), mixed)["weights"][0]
    assert list(weights[:3]) == [0.75, -0.25, 0.0]


def test_the_zero_state_is_closed() -> None:
    state = FeatureState(2, FeatureSettings(), load_parameters())
    assert not state.valid.any()
    assert not np.any(state.acc["live"])
    assert state.params["leader"][0] == -1


def test_a_bin_outside_the_ring_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        FeatureState(1, FeatureSettings(), load_parameters()).bin(0, 0)
