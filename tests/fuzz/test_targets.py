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


def test_what_a_target_raises_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tests" / "fuzz"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "../__init__.py"):
        (folder / name).touch()
    (folder / "running.py").write_text((Path(__file__).parent / "running.py").read_text())
    (folder / "broken.py").write_text(
        "from tests.fuzz.running import fuzz\ndef one(data):\n    raise ValueError('found')\nfuzz(one, 64)\n"
    )
    monkeypatch.setattr(atheris_round, "ROOT", tmp_path)
    with pytest.raises(AssertionError, match="ValueError: found"):
        atheris_round.fuzz("broken", 200, seed=1)
