"""Writes docs/benchmarks.md from the JSON files of benchmarks/results/: every promise beside its measured figure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks._verdicts import amount, verdict  # noqa: E402 - the repository's root is no package

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make benchmarks-page` from the JSON files of `make bench`; do not edit it by hand. Ratios are taken within
one run, against a peer that got the same frames. Latency counts every frame, from the simulator's own stamp before the
send to the end of the step that held the frame, and stands between two runs of a null client (receives, stamps,
discards) and beside a hiccup meter, because machines stall by themselves. The first seconds of a load are left out.
"""


def rows(result: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A result as (dotted name, text)."""
    out: list[tuple[str, str]] = []
    for key, value in result.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict):
            out += rows(value, name)
        elif isinstance(value, float):
            out.append((name, f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"))
        elif type(value) is int:
            out.append((name, f"{value:,}"))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, inner in enumerate(value):
                out += rows(inner, f"{name}.{number}")
        else:
            out.append((name, json.dumps(value) if isinstance(value, list) else str(value)))
    return out


def knee(result: dict[str, Any]) -> list[str]:
    """The knee as a table by rate."""
    lines = ["| rate | client | sent per s | lost | p99 us | median us by fifth of the run | CPU s | sustained |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for rate, clients in result["rates"].items():
        for client, each in clients.items():
            figures = (each["sent_per_s"], each["lost"], each["p99_us"], each["median_latency_us_by_fifth"])
            cells = [f"{int(rate):,}", client, *map(str, figures), str(each["process_cpu_s"])]
            lines.append(f"| {' | '.join(cells)} | {'yes' if each['sustained'] else 'no'} |")
    return lines


def main() -> int:
    """Write the page; 1 where nothing was measured."""
    envelopes = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    if not envelopes:
        print("expected results in benchmarks/results/, was none: run make bench", file=sys.stderr)
        return 1
    lines = [HEAD, "| what | promised | measured | verdict | command | commit |", "|---|---|---|---|---|---|"]
    for envelope in envelopes:
        for target in envelope["result"].get("targets", []):
            promised = f"{'≤' if target['better'] == 'less' else '≥'} {amount(target['target'], target['unit'])}"
            if "stretch" in target:
                promised += f" (stretch {amount(target['stretch'], target['unit'])})"
            measured = amount(target["measured"], target["unit"])
            where = f"`{envelope['command']}` | {envelope['commit']}"
            lines.append(f"| {target['what']} | {promised} | {measured} | {verdict(target)} | {where} |")
    for envelope in envelopes:
        result = {key: value for key, value in envelope["result"].items() if key != "targets"}
        machine = ", ".join(f"{key} {value}" for key, value in envelope["machine"].items())
        lines += ["", f"## {envelope['name']}", ""]
        lines.append(f"`{envelope['command']}`, {envelope['measured_at']}, commit {envelope['commit']}; {machine}.")
        lines.append("")
        if envelope["name"] == "knee":
            lines += knee(result)
            continue
        lines += ["| figure | value |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows(result))]
    PAGE.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
