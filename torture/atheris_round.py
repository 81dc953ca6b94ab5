"""One round of a coverage-guided fuzz: a process of its own, and a corpus that the next round begins with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import platformdirs

ROOT = Path(__file__).parent.parent
WORK = Path(os.environ.get("TORTURE_WORK", platformdirs.user_cache_path("data-controller") / "torture"))
"""Corpora and what made a target fail; they may be thrown away."""


def fuzz(target: str, runs: int, seed: int) -> dict[str, int]:
    """Run `tests/fuzz/<target>.py`; raises AssertionError with the end of its story where it found something."""
    corpus = WORK / target / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"tests.fuzz.{target}", "--runs", str(runs), "--seed", str(seed + 1), "--"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={WORK / target}{os.sep}", str(corpus)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    counted = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    if done.returncode != 0 or counted is None:
        # Python's traceback is on stdout, libFuzzer's words, with the input in base64, are on stderr.
        raise AssertionError(f"exit code {done.returncode}: {done.stdout[-1200:]}{done.stderr[-700:]}")
    return {"inputs": int(counted[1])}
