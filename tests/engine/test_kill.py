"""A sample of the long run that kills an engine at random moments: `make torture-2 NAME=kill` does fifty."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_a_killed_engine_leaves_a_journal_that_lost_at_most_one_flush_interval_and_replays(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    found = importlib.import_module("torture.issue2_kill").attempt(seed)
    assert found["records"] > 0 or found["before_the_first_record"]
