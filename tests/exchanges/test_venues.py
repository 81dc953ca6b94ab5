"""The table of venues."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from data_controller import exchanges
from data_controller.errors import ConfigError
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.exchanges.bitfinex.subscriptions import BitfinexSubscriptions


def test_bitfinex_is_its_three_classes() -> None:
    found = exchanges.venue("bitfinex")
    assert found.subscriptions is BitfinexSubscriptions
    assert found.settings is BitfinexSettings
    assert found.decoder.__name__ == "BitfinexDecoder"


def test_a_venue_that_nobody_has_names_its_nearest_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"was 'bitfinix': did you mean 'bitfinex'\?"):
        exchanges.venue("bitfinix")


def test_the_table_imports_no_venue_before_it_is_named() -> None:
    code = (
        "import sys; from data_controller import exchanges; exchanges.names();"
        "sys.exit(any('bitfinex' in m for m in sys.modules))"
    )
    source = {"PYTHONPATH": str(Path(exchanges.__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=source).returncode == 0


class _Point:
    name = value = "mine"

    def __init__(self, found: object) -> None:
        self._found = found

    def load(self) -> object:
        return self._found


def _offer(monkeypatch: pytest.MonkeyPatch, found: object) -> None:
    def entry_points(*, group: str, name: str | None = None) -> list[Any]:
        assert group == "data_controller.exchanges"
        return [_Point(found)] if name in (None, "mine") else []

    monkeypatch.setattr(exchanges, "entry_points", entry_points)


def test_a_plug_in_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = exchanges.Venue(object, object, BitfinexSettings)
    _offer(monkeypatch, mine)
    assert exchanges.venue("mine") is mine
    assert {"bitfinex", "mine"} <= set(exchanges.names())


def test_a_plug_in_that_offers_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _offer(monkeypatch, object())
    with pytest.raises(ConfigError, match="expected the plug-in 'mine' to be a Venue, was object"):
        exchanges.venue("mine")


def test_the_entry_point_group_is_the_one_that_packages_use() -> None:
    assert exchanges.ENTRY_POINTS == "data_controller.exchanges"
    assert list(metadata.entry_points(group=exchanges.ENTRY_POINTS)) == []
