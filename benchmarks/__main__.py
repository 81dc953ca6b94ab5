"""Runs the benchmarks: `python -m benchmarks [NAME...]`; JSON to benchmarks/results/, a table of verdicts to stdout."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._verdicts import amount, verdict

HERE = Path(__file__).parent
RESULTS = Path(os.environ.get("BENCHMARK_RESULTS", HERE / "results"))


def modules() -> list[str]:
    """Names of all modules here that could hold a benchmark."""
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def machine() -> dict[str, Any]:
    """What the numbers were measured on; never its name."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    load = os.getloadavg()[0]
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": round(load, 2),
    }


def commit() -> str:
    """The commit measured, with a plus where the tree had changes; empty outside a repository."""
    git = ["git", "-C", str(HERE)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """`value` as (dotted name, text) rows."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    text = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
    return [(prefix, text)]


def run(name: str) -> dict[str, Any] | None:
    """The finished measurement of module `name`, also written to its JSON file; None where it has no `measure`."""
    measure = getattr(importlib.import_module(f"benchmarks.{name}"), "measure", None)
    if measure is None:
        return None
    before = {
        "name": name,
        "commit": commit(),
        "machine": machine(),
        "measured_at": datetime.now(UTC).isoformat("T", "seconds"),
    }
    start = time.perf_counter()
    result = measure()
    envelope = {
        **before,
        "command": f"make bench NAME={name}",
        "took_s": round(time.perf_counter() - start, 1),
        "result": result,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(envelope, indent=2, allow_nan=False) + "\n")
    return envelope


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; 1 where one could not be taken (not: missed its target), 2 for no such name."""
    known = modules()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"expected benchmarks out of {', '.join(known)}, was {', '.join(unknown)}", file=sys.stderr)
        return 2
    console, failed = Console(highlight=False, width=None if sys.stdout.isatty() else 160), False
    targets: list[dict[str, Any]] = []
    for name in names or known:
        try:
            envelope = run(name)
        except Exception as error:  # one benchmark's failure must not cost the others' numbers
            console.print(f"{name}: {type(error).__name__}: {error}", style="bold red", markup=False)
            failed = True
            continue
        if envelope is None:
            if names:
                console.print(f"{name} has no measure(): run it by hand, python -m benchmarks.{name}", markup=False)
                failed = True
            continue
        result = dict(envelope["result"])
        targets += result.pop("targets", [])
        table = Table(title=f"{name} ({envelope['took_s']} s)", title_justify="left", box=None, show_header=False)
        for row in flat(result):
            table.add_row(*row)
        console.print(table)
    if targets:
        table = Table("what", "target", "stretch", "measured", "verdict", title="targets", title_justify="left")
        for target in targets:
            said = verdict(target)
            style = "green" if said.startswith("met") else "bold red"
            unit = target["unit"]
            stretch = amount(target["stretch"], unit) if "stretch" in target else ""
            figures = amount(target["target"], unit), stretch, amount(target["measured"], unit)
            table.add_row(target["what"], *figures, f"[{style}]{said}[/]")
        console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
