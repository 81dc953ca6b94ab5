"""The command line and the coverage of all fuzz targets; imports nothing of ours: a target says what is instrumented.

PYTHONPATH=src python -m tests.fuzz.fuzz_journal_reader --runs 1000000 [-- libFuzzer's options, a corpus folder]
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import atheris
import numpy as np
from numpy.typing import NDArray

_BUCKETS = 8
_BUCKET_OF = [0, 0, 1, 2, *[3] * 4, *[4] * 8, *[5] * 16, *[6] * 96, 7]
"""libFuzzer tells 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127 and more times apart."""


class Coverage:
    """What an input reached, kept in a list while it runs and told to libFuzzer once at its end.

    atheris's own tracer costs 0.3 us a branch, more than most of the code between two of them; a list's append costs a
    tenth. A branch and how often it was taken, as libFuzzer tells it apart, is one counter here, so that
    libFuzzer learns what it would have learned.
    """

    def __init__(self, places: int) -> None:
        """Reserves counters for all branches instrumented so far and for `places` of the target's own."""
        self._taken: list[int] = []
        self._tell: Any = None
        self._own = atheris._reserve_counter() + 1
        first, *others = [atheris._reserve_counter() for _ in range(_BUCKETS * (self._own + places))]
        if others[-1] != first + len(others):
            raise RuntimeError("expected counters that follow each other, were others")
        self._first = first

    def begin(self) -> None:
        """Forget what the input before reached."""
        if self._tell is None:
            # atheris.Fuzz chooses the tracer when it starts; code looks it up by name at each branch.
            self._tell, atheris._trace_branch = atheris._trace_branch, self._taken.append
        self._taken.clear()

    def end(self, counts: NDArray[np.int64] | None) -> None:
        """Tell libFuzzer what was reached; `counts` [places] are the target's own."""
        reached = Counter(self._taken)
        if counts is not None:
            for place in counts.nonzero()[0].tolist():
                reached[self._own + place] = int(counts[place])
        for place, times in reached.items():
            self._tell(self._first + _BUCKETS * place + _BUCKET_OF[times if times < 128 else 128])


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that `module`'s own text defines, compiled ones left out."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    for value in [value for owner in (module, *classes) for value in vars(owner).values()]:
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(inner, FunctionType) and inner.__code__.co_filename == module.__file__:
            yield inner


def instrument(*modules: ModuleType) -> None:
    """Make every branch of the Python functions of `modules` known to the fuzzer.

    Comparisons are not traced, as atheris would: what they find is words for the input, and our inputs are recipes.
    """
    for module in modules:
        for function in functions_of(module):
            function.__code__ = atheris.patch_code(function.__code__, trace_dataflow=False, nested=True)


def fuzz(one_input: Callable[[bytes], Any], max_bytes: int, places: int = 0) -> None:
    """Run libFuzzer on `one_input`; it ends the process, with 0 where nothing was found.

    `one_input` may return counts [places] of what it reached where no branch of Python tells: they guide like branches.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("rest", nargs="*", help="libFuzzer's own options and folders, behind --")
    options = parser.parse_args()
    own = [f"-runs={options.runs}", f"-seed={options.seed}", f"-max_len={max_bytes}"]
    coverage = Coverage(places)

    def one(data: bytes) -> None:
        coverage.begin()
        counts = one_input(data)
        coverage.end(counts)

    gc.freeze()  # what is loaded by now stays; collections need not look at it
    atheris.Setup([sys.argv[0], *own, *options.rest], one)
    atheris.Fuzz()
