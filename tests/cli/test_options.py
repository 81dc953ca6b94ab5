"""Durations as people write them."""

from __future__ import annotations

import pytest
import typer

from data_controller.cli._options import duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1d", 86400),
        ("12", 12),
        (" 1.5H ", 5400),
    ],
)
def test_a_duration_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "3x", "-5s", "0s", "0", "1m 30s", "5 minutes", "1e3", "nan", "30ss"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected a duration"):
        duration_s(text)
