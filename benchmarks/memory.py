"""Resident memory of `demo`, where it comes from, and how long starts take: --help, cold and cached kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
DEMO_FOR = os.environ.get("MEMORY_DEMO_FOR", "10s")
INSTRUMENTS = 8
HELP_ROUNDS = 7
STAGES = """
import json, resource, sys, time
said, started = {}, time.perf_counter()
def note(name):
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * resource.getpagesize() / 2**20
    said[name] = {"rss_mb": round(resident, 1), "at_s": round(time.perf_counter() - started, 2)}
note("python")
import numpy
note("numpy")
import pyarrow, pyarrow.ipc
note("pyarrow")
import data_controller.kernels
note("numba")
import data_controller.engine.live
note("the engine's modules")
from data_controller.engine.warm_up import warm_up
warm_up()
note("kernels loaded and run once")
print(json.dumps(said))
"""


STARTER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def environment(**more: str) -> dict[str, str]:
    """For children; a cache folder named for this process is not theirs."""
    own = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    return {**own, "PYTHONPATH": str(ROOT / "src"), **more}


def timed(command: list[str], **more: str) -> dict[str, float]:
    """Wall seconds and peak resident megabytes of `command`, started by a small process: it inherits that one's."""
    started = time.perf_counter()
    starter = [sys.executable, "-P", "-c", STARTER, sys.executable, "-P", *command]
    done = subprocess.run(starter, env=environment(**more), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"expected {command} to end with 0, was {done.returncode}")
    peak = int(done.stdout) / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {"seconds": round(time.perf_counter() - started, 2), "peak_rss_mb": round(peak, 1)}


def output(command: list[str]) -> dict[str, Any]:
    """The JSON that `command` prints last."""
    done = subprocess.run(
        [sys.executable, "-P", *command], env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def measure() -> dict[str, Any]:
    """Megabytes and seconds."""
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        cold = timed(["-m", "data_controller.engine.warm_up"], DATA_CONTROLLER_CACHE=f"{name}/kernels")
        cached = timed(["-m", "data_controller.engine.warm_up"], DATA_CONTROLLER_CACHE=f"{name}/kernels")
        timed(["-m", "data_controller.engine.warm_up"])
        arguments = ["--for", DEMO_FOR, "--seed", "7", "--instruments", str(INSTRUMENTS), "--out", f"{name}/demo"]
        started = time.perf_counter()
        demo = output(["-m", "data_controller", "demo", *arguments, "--json"])
        demo_s = time.perf_counter() - started
    helps = [timed(["-m", "data_controller", "--help"])["seconds"] for _ in range(HELP_ROUNDS)]
    numba = output(["-c", "import data_controller.cli, json, sys; print(json.dumps('numba' in sys.modules))"])
    return {
        "demo": {
            "for": DEMO_FOR,
            "instruments": INSTRUMENTS,
            "frames": demo["frames"],
            "books_proved": demo["books_proved"],
            "peak_rss_mb": demo["peak_rss_mb"],
            "whole_s": round(demo_s, 1),
        },
        "resident_after": output(["-c", STAGES]) if Path("/proc/self/statm").exists() else None,
        "kernels_cold": cold,
        "kernels_cached": cached,
        "help_s": median(helps),
        "help_imports_numba": numba,
        "targets": [
            {
                "what": f"demo peak resident memory, {INSTRUMENTS} instruments",
                "target": 600,
                "measured": demo["peak_rss_mb"],
                "unit": "MB",
                "better": "less",
            },
            {
                "what": "data-controller --help",
                "target": 0.5,
                "measured": median(helps),
                "unit": "s",
                "better": "less",
            },
        ],
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
