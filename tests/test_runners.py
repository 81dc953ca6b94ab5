"""The runners of benchmarks and long runs: what they write, how they go on, what they refuse."""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def torture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The runner of long runs, with one module of five rounds whose round 3 fails."""
    monkeypatch.syspath_prepend(str(ROOT))
    runner = importlib.import_module("torture.__main__")
    module = types.ModuleType("torture.issue99_sample")
    seeds: list[int] = []

    def attempt(seed: int) -> dict[str, int]:
        seeds.append(seed)
        if seed == 3:
            raise AssertionError("a finding")
        return {"books": 2}

    module.__dict__.update(ROUNDS=5, attempt=attempt, seeds=seeds)
    monkeypatch.setitem(sys.modules, "torture.issue99_sample", module)
    monkeypatch.setattr(runner, "HERE", tmp_path)
    monkeypatch.setattr(runner, "EVIDENCE", tmp_path / "evidence")
    (tmp_path / "issue99_sample.py").touch()
    runner.sample = module
    return runner


def evidence(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "evidence" / "issue-99" / "sample.json").read_text())


def test_a_long_run_adds_up_its_rounds_and_keeps_each_failure(torture: Any, tmp_path: Path) -> None:
    assert torture.main(["99"]) == 1
    record = evidence(tmp_path)
    assert (record["rounds_done"], record["counts"]) == (5, {"books": 8})
    assert [(failure["seed"], failure["error"]) for failure in record["failures"]] == [(3, "AssertionError: a finding")]
    assert record["rounds_failed"] == 1


def test_samples_are_kept_and_their_spread_is_written(torture: Any, tmp_path: Path) -> None:
    torture.sample.attempt = lambda seed: {"took, s": [float(seed), 0.5], "rounds": 1}
    assert torture.main(["99"]) == 0
    record = evidence(tmp_path)
    assert record["samples"] == {"took, s": {"0": 1, "0.5": 5, "1": 1, "2": 1, "3": 1, "4": 1}}
    assert record["spread"] == {"took, s": {"count": 10, "mean": 1.25, "median": 0.5, "p99": 4.0, "worst": 4.0}}
    assert record["counts"] == {"rounds": 5}


def test_evidence_names_its_command_its_machine_and_the_commits_it_ran_on(torture: Any, tmp_path: Path) -> None:
    torture.main(["99"])
    record = evidence(tmp_path)
    assert record["command"] == "make torture-99 NAME=sample"
    assert list(record["commits"].values()) == [5]
    assert record["machine"]["cores"] >= 1


def test_processes_that_share_a_run_find_what_one_finds(torture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = list(torture.rounds("issue2_config", range(9)))
    monkeypatch.setattr(torture, "JOBS", 2)
    assert list(torture.rounds("issue2_config", range(9))) == alone


def test_a_long_run_goes_on_where_it_stopped(torture: Any, tmp_path: Path) -> None:
    torture.sample.ROUNDS = 2
    assert torture.main(["99"]) == 0
    torture.sample.ROUNDS = 5
    assert torture.main(["99", "sample"]) == 1
    assert torture.sample.seeds == [0, 1, 2, 3, 4]
    assert evidence(tmp_path)["rounds_done"] == 5


def test_a_long_run_out_of_time_saves_what_it_has(
    torture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torture, "SLICE_S", 0.0)
    assert torture.main(["99"]) == 0
    assert evidence(tmp_path)["rounds_done"] == 0


@pytest.mark.parametrize("arguments", [[], ["98"], ["99", "nothing"]])
def test_a_long_run_that_is_not_there_is_refused(torture: Any, arguments: list[str]) -> None:
    assert torture.main(arguments) == 2


def test_damaged_configs_are_configs_or_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("torture.issue2_config")
    counts = [next(iter(module.attempt(seed))) for seed in range(40)]
    assert set(counts) == {"refused", "accepted"}


def test_a_byte_of_the_golden_journal_is_cut_and_flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("torture.issue2_journal_bytes")
    assert module.attempt(0) == {"flips": 8, "flips_reported": 8}
    found = module.attempt(module.ROUNDS - 1)
    assert (found["cuts"], found["records_kept"]) == (1, 9)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The runner of benchmarks, with one that measures, one that fails and one that is run by hand."""
    monkeypatch.syspath_prepend(str(ROOT))
    runner = importlib.import_module("benchmarks.__main__")

    def fail() -> dict[str, Any]:
        raise RuntimeError("no such capture")

    for name, measure in (("good", lambda: {"frames": {"per_s": 3.5, "count": 7}}), ("bad", fail), ("by_hand", None)):
        module = types.ModuleType(f"benchmarks.{name}")
        if measure is not None:
            module.__dict__["measure"] = measure
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    monkeypatch.setattr(runner, "modules", lambda: ["bad", "by_hand", "good"])
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "results")
    return runner


def test_a_benchmark_leaves_its_figures_with_commit_machine_and_command(bench: Any, tmp_path: Path) -> None:
    assert bench.main(["good"]) == 0
    written = json.loads((tmp_path / "results" / "good.json").read_text())
    assert written["result"] == {"frames": {"per_s": 3.5, "count": 7}}
    assert written["command"] == "make bench NAME=good"
    assert set(written["machine"]) == {"cpu", "cores", "system", "python", "load_before"}


def test_one_failing_benchmark_costs_no_other_its_figures(bench: Any, tmp_path: Path) -> None:
    assert bench.main([]) == 1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["good.json"]


def test_an_unknown_benchmark_is_refused(bench: Any) -> None:
    assert bench.main(["nonsense"]) == 2


def test_figures_are_flat_names_and_words(bench: Any) -> None:
    assert bench.flat({"a": {"b": 12345, "c": 0.5}}) == [("a.b", "12,345"), ("a.c", "0.5")]


def test_a_round_can_be_sent_to_a_process_of_its_own() -> None:
    runner = importlib.import_module("torture.__main__")
    # `python -m torture` is `__main__` there, which a spawned process does not import.
    assert runner.attempt.__module__ == "torture.attempts"
