"""Arrays that take memory as they are touched."""

from __future__ import annotations

import resource
import sys

import numpy as np

from data_controller.market.layout import LEVEL
from data_controller.market.pages import pages


def test_they_are_zero_and_can_be_written() -> None:
    array = pages(1000, LEVEL)
    assert array.shape == (1000,)
    assert array.dtype == LEVEL
    assert not array.view(np.uint8).any()
    array[999]["price"] = 1.5
    assert array[999]["price"] == 1.5
    assert pages(0, LEVEL).shape == (0,)


def test_what_is_not_touched_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    arrays = [pages(1 << 28, np.uint8) for _ in range(4)]
    for array in arrays:
        array[:4096] = 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 1 << 26
