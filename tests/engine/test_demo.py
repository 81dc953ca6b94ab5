"""The demo: pre-history and live part in one run whose replay is the same, whatever the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_controller.engine.demo import demo
from data_controller.engine.replay import replay
from data_controller.errors import SimulatorError


@pytest.mark.slow
def test_a_demo_is_warm_proved_and_replays_bit_for_bit_and_another_seed_is_another_run(tmp_path: Path) -> None:
    def short(seed: int) -> dict[str, Any]:
        return demo(
            for_s=2.0, seed=seed, instruments=2, ticks_per_second=200.0, out=tmp_path / str(seed), prehistory_s=30.0
        )

    one, other = short(7), short(8)
    for seed, summary in ((7, one), (8, other)):
        assert summary["books_proved"] == summary["books"] == 6
        assert summary["checksums_bad"] == summary["sequence_gaps"] == 0
        assert summary["frames"] > 30 * 2 * 10 and summary["ticks"] >= 30
        assert summary["wire_frames"] > 100 and summary["wire_to_decision_us"]["p50"] > 0
        again = replay([tmp_path / str(seed) / "journal"])
        assert again["digest"] == summary["digest"]
        assert again["predictions_differ"] == 0
    assert all(one["digest"][name]["sha256"] != other["digest"][name]["sha256"] for name in one["digest"])


def test_a_simulator_that_does_not_start_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_controller.engine.demo.free_port", lambda: 99_999)
    with pytest.raises(SimulatorError):
        demo(for_s=1.0, instruments=1, out=tmp_path / "o", prehistory_s=1.0)
