"""The command line of all fuzz targets; imports nothing of ours, so that a target decides what is instrumented.

PYTHONPATH=src python -m tests.fuzz.fuzz_journal_reader --runs 1000000 [-- libFuzzer's options, a corpus folder]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import atheris


def fuzz(one_input: Callable[[bytes], None], max_bytes: int) -> None:
    """Run libFuzzer on `one_input`; it ends the process, with 0 where nothing was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("rest", nargs="*", help="libFuzzer's own options and folders, behind --")
    options = parser.parse_args()
    own = [f"-runs={options.runs}", f"-seed={options.seed}", f"-max_len={max_bytes}"]
    atheris.Setup([sys.argv[0], *own, *options.rest], one_input)
    atheris.Fuzz()
