"""The one door to numba: every compiled function is made here, and its cache folder is named by all kernel sources.

numba recompiles when the file of a cached function changes, but not when a file that it calls does, nor when a
constant that it took from another module does; so the cache lives in a folder whose name is a hash over every
module of every folder in which one imports this module.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs

F = TypeVar("F", bound=Callable[..., Any])

_MARK = b"data_controller.kernels import"


def sources_hash() -> str:
    """Hex digest over the text of every module that compiles kernels or lies beside one that does, in path order.

    `market` always counts: its layouts and enums are constants in every room's kernels.
    """
    package = Path(__file__).parent
    texts = {path: path.read_bytes() for path in sorted(package.rglob("*.py"))}
    folders = {path.parent for path, text in texts.items() if _MARK in text and path.parent != package}
    folders.add(package / "market")
    digest = hashlib.sha256()
    for path, text in texts.items():
        if path.parent in folders or path == Path(__file__):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + text)
    return digest.hexdigest()


if "NUMBA_CACHE_DIR" not in os.environ:
    _base = os.environ.get("DATA_CONTROLLER_CACHE") or platformdirs.user_cache_dir("data-controller")
    os.environ["NUMBA_CACHE_DIR"] = str(Path(_base) / "kernels" / sources_hash()[:16])

import numba  # noqa: E402 - the cache folder must be named before numba reads its settings

_njit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False, boundscheck=False)


def kernel(function: F) -> F:
    """Compile `function` at its first call; cached on disk, runs without the GIL, IEEE arithmetic, no fastmath."""
    return cast(F, _njit(function))


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
