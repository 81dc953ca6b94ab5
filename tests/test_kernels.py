"""kernels: the machine code behind a compiled function."""

from __future__ import annotations

import numpy as np

from data_controller.kernels import kernel, kernel_sources, machine_code


@kernel
def total(values, factor):
    out = 0.0
    for i in range(len(values)):
        out += values[i]["x"] * factor
    return out


@kernel
def first(values):
    return values[0]


def test_machine_code_gives_what_its_kernel_gives():
    rows = np.zeros(3, [("x", "<f8")])
    rows["x"] = 1, 2, 4
    expected = total(rows, 2)
    direct = machine_code(total)
    assert direct is not total
    assert direct(rows, 2) == expected == 14.0


def test_a_kernel_of_two_sets_of_types_comes_back_as_it_is():
    first(np.zeros(1))
    first(np.zeros(1, np.int64))
    assert machine_code(first) is first


def test_a_plain_function_comes_back_as_it_is():
    assert machine_code(len) is len


def test_the_cache_follows_what_kernels_take_from_other_modules_and_nothing_else():
    names = {path.name for path in kernel_sources()}
    assert {"loop.py", "_scanner.py", "layout.py", "rows.py", "settings.py", "kernels.py"} <= names
    assert not {"pipeline.py", "live.py", "decoder.py", "app.py"} & names
