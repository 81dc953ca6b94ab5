from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_controller.features.settings import FeatureSettings


@pytest.mark.parametrize(
    "wrong", [{"grid_interval_s": 0}, {"grid_interval_s": 6}, {"levels": 11}, {"order_size_quote": 0.0}, {"grid": 1}]
)
def test_settings_outside_their_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FeatureSettings.model_validate(wrong)


def test_every_setting_needs_a_restart() -> None:
    extras = [field.json_schema_extra for field in FeatureSettings.model_fields.values()]
    assert all(extra == {"reload": "restart"} for extra in extras)
