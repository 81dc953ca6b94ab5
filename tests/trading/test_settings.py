from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_controller.settings import Section
from data_controller.trading.rows import LIMITS
from data_controller.trading.settings import RiskSettings, TradingSettings


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        (TradingSettings, "mode", "live"),
        (TradingSettings, "stake_quote", 0),
        (TradingSettings, "fee_bps", -1),
        (TradingSettings, "fee_bps", float("nan")),
        (TradingSettings, "probability_haircut", 0.5),
        (TradingSettings, "latency_ms", -1),
        (TradingSettings, "stop_bps", 0),
        (RiskSettings, "max_orders_minute", 4096),
        (RiskSettings, "max_stake_quote", float("inf")),
        (RiskSettings, "cooldown_s", -1),
        (RiskSettings, "max_stakes", 1),
    ],
)
def test_a_wrong_value_is_refused(section: type[Section], field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        section(**{field: value})


@pytest.mark.parametrize("section", [TradingSettings, RiskSettings])
def test_every_field_says_whether_a_reload_may_change_it_and_what_it_is(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        assert field.json_schema_extra in ({"reload": "hot"}, {"reload": "restart"}), name
        assert field.description, name


def test_the_gate_reads_exactly_the_limits_of_the_config() -> None:
    assert set(LIMITS.names or ()) - {"min_edge_bps"} == set(RiskSettings.model_fields)
