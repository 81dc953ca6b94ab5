"""The one door to numba: every compiled function is made here, and its cache folder is named by all kernel sources.

numba recompiles when the file of a cached function changes, but not when a file that it calls does; so the
cache lives in a folder whose name is a hash over every module that imports this one.
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
    """Hex digest over the text of every module that compiles kernels, in path order."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        text = path.read_bytes()
        if _MARK in text or path.name == "rows.py":
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
