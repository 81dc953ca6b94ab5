"""The one door to numba: every compiled function is made here, and kept in a folder named by all that it depends on.

numba recompiles when the file of a cached function changes, but not when a file that it calls does, nor when a
constant that it took from another module does. So each function is kept in a folder whose name is a hash over its
module and every module of ours that this one imports, however far: a change recompiles what it can reach and nothing
else, and copies of the same sources share what they compiled.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs

F = TypeVar("F", bound=Callable[..., Any])

_IMPORTS = re.compile(rb"^\s*from data_controller\.?([\w.]*) import ((?:\([^)]*\))|.*)$", re.MULTILINE)
_MAKES_KERNELS = re.compile(rb"^from data_controller\.kernels import .*kernel\b", re.MULTILINE)


@cache
def _read(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """The text of a module of ours, and the modules of ours that it imports."""
    text = path.read_bytes()
    package = Path(__file__).parent
    imported = []
    for module, names in _IMPORTS.findall(text):
        place = package.joinpath(*module.decode().split("."))
        candidates = [place.with_suffix(".py"), place / "__init__.py"]
        candidates += [place / f"{name}.py" for name in re.findall(r"\w+", names.decode())]
        imported += [candidate for candidate in candidates if candidate.exists()]
    return text, tuple(imported)


def closure(paths: Iterable[Path]) -> list[Path]:
    """`paths` and every module of ours that they import, however far, in path order."""
    left, found = list(paths), {Path(__file__)}
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += _read(path)[1]
    return sorted(found)


def kernel_sources() -> list[Path]:
    """Every module that makes kernels, and every module of ours that these import, in path order."""
    package = Path(__file__).parent
    return closure(path for path in package.rglob("*.py") if _MAKES_KERNELS.search(_read(path)[0]))


@cache
def sources_hash(*paths: Path) -> str:
    """Hex digest over the names and texts of `paths` and all they import; of `kernel_sources` where none is given."""
    digest = hashlib.sha256()
    for path in closure(paths) if paths else kernel_sources():
        digest.update(path.relative_to(Path(__file__).parent).as_posix().encode() + b"\0" + _read(path)[0])
    return digest.hexdigest()


_OWN_FOLDER = "NUMBA_CACHE_DIR" not in os.environ
if _OWN_FOLDER:
    _base = os.environ.get("DATA_CONTROLLER_CACHE") or platformdirs.user_cache_dir("data-controller")
    os.environ["NUMBA_CACHE_DIR"] = str(Path(_base) / "kernels" / sources_hash()[:16])
_FOLDER = Path(os.environ["NUMBA_CACHE_DIR"])
if _OWN_FOLDER:
    _FOLDER = _FOLDER.parent

import numba  # noqa: E402 - the cache folder must be named before numba reads its settings
from numba.core import caching  # noqa: E402


class SourceLocator(caching._CacheLocator):
    """Tells numba where the machine code of a function of ours lies: by what its sources say, not where they lie."""

    def __init__(self, function: Any, path: Path) -> None:
        self._line = function.__code__.co_firstlineno
        self._folder = _FOLDER / sources_hash(path)[:16]

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return ""  # the folder's name says it

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> SourceLocator | None:
        path = Path(py_file)
        if not path.is_relative_to(Path(__file__).parent):
            return None
        locator = cls(py_func, path)
        try:
            locator.ensure_cache_path()  # type: ignore[no-untyped-call]
        except OSError:
            return None
        return locator


numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.SourceLocator,UserProvidedCacheLocator"  # type: ignore[attr-defined]

_njit = partial(numba.njit, cache=True, error_model="numpy", fastmath=False, boundscheck=False)


def kernel(function: F) -> F:
    """Compile `function` at its first call; cached on disk, runs without the GIL, IEEE arithmetic, no fastmath."""
    return cast(F, _njit(nogil=True)(function))


def brief_kernel(function: F) -> F:
    """As `kernel`, for what the loop calls: keeps the GIL.

    A call of microseconds is over before another thread could use the lock, and getting it back from a thread that
    took it may cost more than all the rest of the step.
    """
    return cast(F, _njit(nogil=False)(function))


def machine_code(compiled: F) -> F:
    """What `compiled` calls in the end, without numba's look at the types of the arguments.

    That look costs up to 3 us a call where many arguments are record arrays. The result takes any arguments for those
    types, so ask only after a call of `compiled` with the very types that will come; where it knows more than one set
    of types (or is not compiled at all) it comes back as it is.
    """
    overloads = getattr(compiled, "overloads", {})
    if len(overloads) != 1:
        return compiled
    return cast(F, next(iter(overloads.values())).entry_point)
