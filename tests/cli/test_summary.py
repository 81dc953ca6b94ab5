"""The summary's table."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from data_controller.cli.summary import KEYS, table, words


def text(result: dict[str, Any]) -> str:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table(result, "a run"))
    return captured.get()


def test_known_keys_come_in_their_own_order_and_others_after_them() -> None:
    shown = text({"other": 1, **dict.fromkeys(reversed(KEYS), 1)})
    places = [
        shown.index(f"{key.replace('_', ' ')} ") for key in ("frames", "books_proved", "fills", "digest", "other")
    ]
    assert places == sorted(places)


def test_latencies_stand_on_one_line_and_digests_below_each_other() -> None:
    shown = text(
        {
            "wire_to_decision_us": {"p50": 61.2, "p99": 190.0, "p999": None, "max": 5200.5},
            "digest": {"events": {"sha256": "aa", "rows": 1}, "books": {"sha256": "bb", "rows": 2}},
        }
    )
    assert "p50 61.2  p99 190  p999 -  max 5,200.5" in shown
    assert [line.split()[0] for line in shown.splitlines()[-2:]] == ["events", "books"]


def test_where_there_is_no_wire_its_latency_is_a_dash() -> None:
    assert text({"wire_to_decision_us": None}).splitlines()[-1].split()[-1] == "-"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (True, "yes"), (1234567, "1,234,567"), (0.25, "0.25"), ([], "-"), (["a", 1], "a, 1")],
)
def test_values_are_written_for_people(value: Any, shown: str) -> None:
    assert words(value) == shown
