"""The one door to numba: every compiled function is made here, and its cache folder is named by all kernel sources.

numba recompiles when the file of a cached function changes, but not when a file that it calls does, nor when a
constant that it took from another module does; so the cache lives in a folder whose name is a hash over every module
that makes kernels and every module of ours that one of them imports, however far.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs

F = TypeVar("F", bound=Callable[..., Any])

_IMPORTS = re.compile(rb"^\s*from data_controller\.?([\w.]*) import ((?:\([^)]*\))|.*)$", re.MULTILINE)
_MAKES_KERNELS = re.compile(rb"^from data_controller\.kernels import .*kernel\b", re.MULTILINE)


def kernel_sources() -> list[Path]:
    """Every module that makes kernels, and every module of ours that these import, in path order."""
    package = Path(__file__).parent
    left = [path for path in package.rglob("*.py") if _MAKES_KERNELS.search(path.read_bytes())]
    found = {Path(__file__)}
    while left:
        path = left.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        for module, names in _IMPORTS.findall(path.read_bytes()):
            place = package.joinpath(*module.decode().split("."))
            left += [place.with_suffix(".py"), place / "__init__.py"]
            left += [place / f"{name}.py" for name in re.findall(r"\w+", names.decode())]
    return sorted(found)


def sources_hash() -> str:
    """Hex digest over the names and texts of `kernel_sources`."""
    digest = hashlib.sha256()
    for path in kernel_sources():
        digest.update(path.relative_to(Path(__file__).parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


if "NUMBA_CACHE_DIR" not in os.environ:
    _base = os.environ.get("DATA_CONTROLLER_CACHE") or platformdirs.user_cache_dir("data-controller")
    os.environ["NUMBA_CACHE_DIR"] = str(Path(_base) / "kernels" / sources_hash()[:16])

import numba  # noqa: E402 - the cache folder must be named before numba reads its settings

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
