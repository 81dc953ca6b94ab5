from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_controller.prediction.settings import PredictionSettings


@pytest.mark.parametrize("horizons", [(), (300, 60), (60, 60), (0, 60), (-1,)])
def test_horizons_must_rise_and_be_positive(horizons: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="rising positive seconds"):
        PredictionSettings(horizons_s=horizons)


def test_a_tier_is_named_once() -> None:
    with pytest.raises(ValidationError, match="each tier at most once"):
        PredictionSettings(tiers=("numpy", "numpy"))
    assert PredictionSettings(tiers=()).tiers == ()


def test_every_field_says_whether_a_reload_may_change_it_and_what_it_is() -> None:
    for name, field in PredictionSettings.model_fields.items():
        assert field.json_schema_extra in ({"reload": "hot"}, {"reload": "restart"}), name
        assert field.description, name
