"""How long the command line takes to say its help: nothing heavy may be imported for it."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROUNDS = 15
SOURCE = Path(__file__).parent.parent / "src"


def measure() -> dict[str, Any]:
    """Seconds of a whole process, wall and CPU."""
    lines = {"help": ("--help",), "demo_help": ("demo", "--help"), "version": ("--version",)}
    results: dict[str, Any] = {name: seconds_of(*arguments) for name, arguments in lines.items()}
    median = results["help"]["median_s"]
    target = {"what": "data-controller --help", "target": 0.5, "measured": median, "unit": "s", "better": "less"}
    return results | {"targets": [target]}


def seconds_of(*arguments: str) -> dict[str, float]:
    """Seconds of `data-controller ARGUMENTS`, ROUNDS times: first (files may not be in memory yet), median, worst."""
    command = [sys.executable, "-m", "data_controller", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    before, took = resource.getrusage(resource.RUSAGE_CHILDREN), []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        took.append(time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / ROUNDS
    figures = {"first_s": took[0], "median_s": statistics.median(took), "worst_s": max(took), "cpu_s": cpu_s}
    return {name: round(value, 3) for name, value in figures.items()}
