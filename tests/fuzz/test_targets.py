"""Each fuzz target runs a few inputs and ends well; `make torture-2` gives each ten million."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from torture import atheris_round

TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))
pytestmark = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel here")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(atheris_round, "WORK", tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_what_was_asked_and_keeps_a_corpus(target: str, work: Path) -> None:
    assert atheris_round.fuzz(target, 200, seed=1) == {"inputs": 200}
    assert list((work / target / "corpus").iterdir()) != []


def planted(root: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a target of `text` in a tree of its own."""
    folder = root / "tests" / "fuzz"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "../__init__.py"):
        (folder / name).touch()
    (folder / "running.py").write_text((Path(__file__).parent / "running.py").read_text())
    (folder / "planted.py").write_text(text)
    monkeypatch.setattr(atheris_round, "ROOT", root)
    return "planted"


def test_what_a_target_raises_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from tests.fuzz.running import fuzz\ndef one(data):\n    raise ValueError('found')\nfuzz(one, 64)\n"
    with pytest.raises(AssertionError, match="ValueError: found"):
        atheris_round.fuzz(planted(tmp_path, text, monkeypatch), 200, seed=1)


BRANCHES = """
import sys
from tests.fuzz.running import fuzz, instrument
def one(data):
    if data[:1] == b"f":
        if data[1:2] == b"u":
            if data[2:3] == b"z":
                raise ValueError("found")
instrument(sys.modules[__name__])
fuzz(one, 8)
"""
PLACES = """
import numpy as np
from tests.fuzz.running import fuzz
def one(data):
    deep = next((i for i in range(3) if data[i:i + 1] != b"fuz"[i:i + 1]), 3)
    if deep == 3:
        raise ValueError("found")
    return np.arange(3) == deep
fuzz(one, 8, places=3)
"""


@pytest.mark.parametrize("text", [BRANCHES, PLACES])
def test_what_no_chance_finds_is_found_by_what_inputs_reach(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="ValueError: found"):
        atheris_round.fuzz(planted(tmp_path, text, monkeypatch), 60_000, seed=1)


def test_what_inputs_reach_is_why_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = BRANCHES.replace("instrument(sys.modules[__name__])\n", "")
    assert atheris_round.fuzz(planted(tmp_path, blind, monkeypatch), 60_000, seed=1) == {"inputs": 60_000}
