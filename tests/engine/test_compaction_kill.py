"""kill -9 in compaction, five rounds of the torture that runs a hundred."""

from __future__ import annotations

import pytest

from torture.issue3_compaction import attempt


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_lake_and_journal_agree_after_a_kill_anywhere(seed: int) -> None:
    attempt(seed)
