"""Bitfinex's config section."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from data_controller.exchanges.bitfinex.settings import BitfinexSettings


def test_the_defaults_ask_for_one_book_trades_and_ticker() -> None:
    settings = BitfinexSettings(instruments=("tBTCUSD", "tETH2X:ETH"))
    assert [(b.precision, b.frequency, b.length) for b in settings.books] == [("P0", "F0", 25)]
    assert (settings.trades, settings.tickers, settings.candles) == (True, True, ())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"books": [{"length": 30}]}, "expected 1, 25, 100 or 250, was 30"),
        ({"books": [{"length": True}]}, "expected 1, 25, 100 or 250, was True"),
        ({"books": [{"precision": "P5"}]}, "expected P0, P1, P2, P3, P4 or R0, was P5"),
        ({"books": [{"frequency": "F2"}]}, "expected F0 or F1, was F2"),
        ({"instruments": ["btcusd"]}, "expected symbols as Bitfinex writes them (tBTCUSD, tETH2X:ETH), was 'btcusd'"),
        ({"instruments": ["tBTCUSD", "tBTCUSD"]}, "expected each entry once, was twice: tBTCUSD"),
        (
            {"instruments": [f"tX{i:04d}USD" for i in range(129)], "max_channels_per_connection": 3},
            "expected at most 128 connections, was 129: 129 instruments of 3 channels, 3 channels a connection",
        ),
        ({"candles": ["2m"]}, "was '2m'"),
        ({"max_channels_per_connection": 26}, "less than or equal to 25"),
        ({"url": "https://example.org"}, "^wss?://"),
    ],
)
def test_a_wrong_value_says_what_was_expected(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BitfinexSettings(**values)
    assert text in str(caught.value)


def test_every_field_says_whether_a_reload_may_change_it() -> None:
    properties = BitfinexSettings.model_json_schema()["properties"]
    assert {name: field["reload"] for name, field in properties.items() if field["reload"] == "restart"} == {
        "url": "restart",
        "max_channels_per_connection": "restart",
    }
    assert all(field["reload"] in ("hot", "restart") for field in properties.values())
