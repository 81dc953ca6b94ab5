from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

from data_controller.features import catalogue
from data_controller.features.catalogue import COLUMNS, FEATURES, LONGEST_HISTORY_S, N_COLUMNS, catalogue_hash, column
from data_controller.features.declarations import NORMALISATIONS
from data_controller.features.layout import WINDOWS_S
from data_controller.features.parameters import load_parameters
from data_controller.features.settings import FeatureSettings

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_names_and_columns_are_their_own() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES) == 32
    assert len(set(COLUMNS)) == N_COLUMNS == 35
    assert [column(name) for name in COLUMNS] == list(range(N_COLUMNS))


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_declaration_is_whole(feature: catalogue.Feature) -> None:
    assert feature.formula and feature.unit and feature.source and feature.group
    assert len(feature.expected) == len(feature.column_names)
    assert all(low < high for low, high in feature.expected)
    assert feature.normalisation in NORMALISATIONS
    assert set(feature.inputs) <= {"book", "trades", "mid", "leader", "time"}
    assert 0.0 <= feature.max_gap_fraction <= 1.0
    assert feature.warm_up_s <= LONGEST_HISTORY_S
    assert feature.window_s in (0, *WINDOWS_S)


def test_the_page_is_what_the_catalogue_makes() -> None:
    assert PAGE.read_text() == catalogue.page(), "write it anew with catalogue.page()"


def test_the_page_names_every_column() -> None:
    page = catalogue.page()
    assert all(f"`{name}`" in page for name in COLUMNS)


def test_the_hash_is_of_everything_that_gives_a_value_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, parameters = FeatureSettings(), load_parameters()
    hashes = {
        catalogue_hash(settings, parameters),
        catalogue_hash(FeatureSettings(grid_interval_s=2), parameters),
        catalogue_hash(FeatureSettings(levels=5), parameters),
        catalogue_hash(FeatureSettings(order_size_quote=5.0), parameters),
        catalogue_hash(settings, dataclasses.replace(parameters, revision="other")),
    }
    monkeypatch.setattr(catalogue, "FEATURES", FEATURES[1:])
    hashes.add(catalogue_hash(settings, parameters))
    assert len(hashes) == 6


def test_the_hash_leaves_out_who_leads() -> None:
    parameters = load_parameters()
    assert catalogue_hash(FeatureSettings(), parameters) == catalogue_hash(FeatureSettings(leader="a:b"), parameters)


def test_bounded_features_say_so() -> None:
    for feature in FEATURES:
        if feature.normalisation == "u":
            assert all(math.isclose(high, 1.0) for _, high in feature.expected)


def test_reading_the_catalogue_does_not_load_the_compiler() -> None:
    code = "import sys, data_controller.features.catalogue; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": "src"}).returncode == 0
