"""kernels: the machine code behind a compiled function."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_controller.kernels import closure, kernel, kernel_sources, machine_code, sources_hash


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


def test_a_function_is_kept_under_the_name_of_what_it_can_reach():
    from data_controller.market import books, numbers

    stored = [Path(f._cache.cache_path) for f in (numbers.scan_number, books.set_level)]
    assert [path.name for path in stored] == [sources_hash(Path(m.__file__))[:16] for m in (numbers, books)]
    reached = {path.name for path in closure([Path(numbers.__file__)])}
    assert reached == {"numbers.py", "_words.py", "kernels.py"}
