"""Large arrays of which only what is touched takes memory."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import DTypeLike, NDArray


def pages(n: int, dtype: DTypeLike) -> NDArray[np.void]:
    """`n` zeroed items of `dtype`, whose pages the system gives out one by one as they are first touched.

    numpy.zeros clears memory that the process had before, all of it at once: milliseconds for some megabytes.
    """
    size = np.dtype(dtype).itemsize
    found: NDArray[np.void] = np.frombuffer(mmap.mmap(-1, max(1, n * size)), dtype, n)
    return found
