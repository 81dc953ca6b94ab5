"""Runs one issue's long runs, resumable: `python -m torture ISSUE [NAME...]`; evidence goes to docs/evidence/."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.__main__ import commit, machine
from torture.attempts import Result, attempt

HERE = Path(__file__).parent
EVIDENCE = Path(os.environ.get("TORTURE_EVIDENCE", HERE.parent / "docs" / "evidence"))
SAVE_EVERY_S = 5.0
SLICE_S = float(os.environ.get("TORTURE_SECONDS", "inf"))
"""How long one call may take over all modules; the next call goes on."""
JOBS = int(os.environ.get("TORTURE_JOBS", "1"))
"""Processes that share the rounds of one module."""
MAX_FAILURES = 100
"""Failures that are kept; what fails so often is known by then, and is still counted."""


def modules(issue: str) -> list[str]:
    """Names of the modules of `issue`."""
    return sorted(path.stem for path in HERE.glob(f"issue{issue}_*.py"))


def load(path: Path, name: str, rounds: int) -> dict[str, Any]:
    """What earlier runs of `name` found, or a new record."""
    record: dict[str, Any] = {
        "name": name,
        "command": f"make torture-{name.removeprefix('issue').replace('_', ' NAME=', 1)}",
        "rounds_wanted": rounds,
        "rounds_done": 0,
        "rounds_failed": 0,
        "took_s": 0.0,
        "commits": {},  # rounds by the commit they ran on
        "machine": {},
        "counts": {},
        "spread": {},  # of each sample: how many, mean, median, 99th percentile, worst
        "failures": [],
        "samples": {},  # sample -> value -> times
    }
    if path.exists():
        record |= json.loads(path.read_text())
    return record | {"rounds_wanted": rounds}


def save(path: Path, record: dict[str, Any]) -> None:
    """Write whole or not at all: a run may be stopped at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".new")
    record["spread"] = {key: spread(values) for key, values in sorted(record["samples"].items())}
    staging.write_text(json.dumps(record, indent=2) + "\n")
    staging.replace(path)


def spread(times_of: dict[str, int]) -> dict[str, float]:
    """Count, mean, median, 99th percentile and worst of values that are given with how often each was seen."""
    values = sorted(float(value) for value, times in times_of.items() for _ in range(times))
    last = len(values) - 1
    ranks = {"median": last // 2, "p99": -(-last * 99 // 100), "worst": last}
    mean = round(sum(values) / len(values), 3)
    return {"count": len(values), "mean": mean, **{key: values[rank] for key, rank in ranks.items()}}


def rounds(name: str, seeds: range) -> Iterator[Result]:
    """Results of `seeds`, in order, made by JOBS processes that are at most a few rounds ahead."""
    if JOBS == 1:
        for seed in seeds:
            yield attempt(name, seed)
        return
    with ProcessPoolExecutor(JOBS, multiprocessing.get_context("spawn")) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for seed in seeds:
                ahead.append(pool.submit(attempt, name, seed))
                if len(ahead) > 2 * JOBS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def add(record: dict[str, Any], seed: int, result: Result, head: str) -> None:
    """Put one round into the record."""
    values, error = result
    for key, value in values.items():
        if isinstance(value, int):
            record["counts"][key] = record["counts"].get(key, 0) + value
            continue
        seen = record["samples"].setdefault(key, {})
        for one in value:
            text = f"{one:.6g}"
            seen[text] = seen.get(text, 0) + 1
    if error:
        record["rounds_failed"] += 1
        if len(record["failures"]) < MAX_FAILURES:
            record["failures"].append({"seed": seed, "error": error, "commit": head})
    record["commits"][head] = record["commits"].get(head, 0) + 1
    record["rounds_done"] = seed + 1


def run(issue: str, name: str, deadline: float) -> bool:
    """Do what is left of `name` until `deadline` (monotonic); True where no round has failed, ever."""
    module = importlib.import_module(f"torture.{name}")
    path = EVIDENCE / f"issue-{issue}" / f"{name.split('_', 1)[1]}.json"
    record = load(path, name, module.ROUNDS)
    record["machine"] = machine()
    head, before, start = commit(), record["took_s"], time.monotonic()
    saved = start
    with closing(rounds(name, range(record["rounds_done"], module.ROUNDS))) as results:
        while record["rounds_done"] < module.ROUNDS and time.monotonic() < deadline:
            add(record, record["rounds_done"], next(results), head)
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
        f"{name}: {record['rounds_done']:,} rounds, {record['rounds_failed']} failures, {state}; {path.name}; "
        + ", ".join(f"{key} {count:,}" for key, count in record["counts"].items())
    )
    for key, figures in record["spread"].items():
        print(f"  {key:32} " + "  ".join(f"{what} {value:,g}" for what, value in figures.items()), flush=True)
    return not record["rounds_failed"]


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
