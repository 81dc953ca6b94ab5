"""Runs one issue's long runs, resumable: `python -m torture ISSUE [NAME...]`; evidence goes to docs/evidence/."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EVIDENCE = Path(os.environ.get("TORTURE_EVIDENCE", HERE.parent / "docs" / "evidence"))
SAVE_EVERY_S = 5.0
SLICE_S = float(os.environ.get("TORTURE_SECONDS", "inf"))
"""How long one call may take over all modules; the next call goes on."""


def modules(issue: str) -> list[str]:
    """Names of the modules of `issue`."""
    return sorted(path.stem for path in HERE.glob(f"issue{issue}_*.py"))


def load(path: Path, name: str, rounds: int) -> dict[str, Any]:
    """What earlier runs of `name` found, or a new record."""
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text())
        record["rounds_wanted"] = rounds
        return record
    return {"name": name, "rounds_wanted": rounds, "rounds_done": 0, "took_s": 0.0, "counts": {}, "failures": []}


def save(path: Path, record: dict[str, Any]) -> None:
    """Write whole or not at all: a run may be stopped at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".new")
    staging.write_text(json.dumps(record, indent=2) + "\n")
    staging.replace(path)


def run(issue: str, name: str, deadline: float) -> bool:
    """Do what is left of `name` until `deadline` (monotonic); True where no round has failed, ever."""
    module = importlib.import_module(f"torture.{name}")
    path = EVIDENCE / f"issue-{issue}" / f"{name.split('_', 1)[1]}.json"
    record = load(path, name, module.ROUNDS)
    before, start = record["took_s"], time.monotonic()
    saved = start
    while record["rounds_done"] < module.ROUNDS and time.monotonic() < deadline:
        seed = record["rounds_done"]
        try:
            for key, count in module.attempt(seed).items():
                record["counts"][key] = record["counts"].get(key, 0) + count
        except Exception as error:  # a finding is evidence; the rounds after it may hold others
            record["failures"].append({"seed": seed, "error": f"{type(error).__name__}: {error}"[:2000]})
        record["rounds_done"] = seed + 1
        if time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            record["took_s"] = round(before + saved - start, 1)
            save(path, record)
            print(f"{name}: {record['rounds_done']:,} of {module.ROUNDS:,}", flush=True)
    record["took_s"] = round(before + time.monotonic() - start, 1)
    save(path, record)
    left = module.ROUNDS - record["rounds_done"]
    state = f"{left:,} rounds left: run it again" if left > 0 else "complete"
    print(
        f"{name}: {record['rounds_done']:,} rounds, {len(record['failures'])} failures, {state}; {path.name}",
        flush=True,
    )
    return not record["failures"]


def main(arguments: list[str]) -> int:
    """Run `ISSUE [NAME...]`; 1 where a round failed, 2 where there is no such issue or name."""
    issue, names = (arguments[0], arguments[1:]) if arguments else ("", [])
    known = modules(issue)
    chosen = [name for name in known if not names or name.split("_", 1)[1] in names]
    if not chosen or len(chosen) < len(names):
        every = sorted(path.stem for path in HERE.glob("issue*_*.py"))
        print(f"expected an issue and names out of {', '.join(every)}, was {' '.join(arguments)}", file=sys.stderr)
        return 2
    deadline = time.monotonic() + SLICE_S
    good = [run(issue, name, deadline) for name in chosen]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
