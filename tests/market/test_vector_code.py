"""Hot kernels that scan arrays are vector code: seen in the machine code that numba made of them, on this machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ASSEMBLY = """
import numpy as np
from data_controller.exchanges.rings import RING, remember, seen
rings = np.zeros((1, 2 + RING), np.int64)
remember(rings, 0, 5)
assert seen(rings, 0, 5) and not seen(rings, 0, 4)
print("\\n".join(seen.inspect_asm().values()))
"""

PACKED = {
    # 64-bit lanes compared or added, two or four at a time
    "x86_64": re.compile(r"^\s*v?p(cmpeqq|subq|addq)\s.*%[xyz]mm\d", re.MULTILINE),
    "aarch64": re.compile(r"^\s*(cmeq|sub|add)(\.2d)?\s+v\d+(\.2d)?", re.MULTILINE),
    "arm64": re.compile(r"^\s*(cmeq|sub|add)(\.2d)?\s+v\d+(\.2d)?", re.MULTILINE),
}


def test_the_search_of_trade_ids_compares_several_at_a_time(tmp_path: Path) -> None:
    pattern = PACKED.get(platform.machine())
    if pattern is None:
        pytest.skip(f"no pattern for {platform.machine()}")
    # A fresh cache: numba shows no machine code of a function that it loaded.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", ASSEMBLY], capture_output=True, text=True, env=environment, check=True)
    packed = pattern.findall(done.stdout)
    assert len(packed) >= 4, f"expected packed compares, was {len(packed)}"
