"""Seeded fault schedules of each proof style without sockets: no book says PROVED and differs from the true one."""

from __future__ import annotations

from typing import Any

from tests.faults.schedules import STYLES, run

ROUNDS = 10_000


def attempt(seed: int) -> dict[str, Any]:
    """One schedule, styles in turn; the samples are virtual seconds from a book's break, or start, to its proof.

    They hold what the fault itself takes: a maintenance, a venue that refuses connections, the silence of a stream.
    """
    style = list(STYLES)[seed % len(STYLES)]
    result = run(seed // len(STYLES), style=style)
    if result["violations"]:
        raise AssertionError(f"{style} {result['faults']}: {result['violations']}")
    found: dict[str, Any] = {
        f"{style} {key}": result[key]
        for key in ("frames", "compared", "breaks", "checks_ok", "checks_bad", "resyncs", "reconnects")
    }
    found[f"{style} schedules"] = 1
    found[f"proved after, s: {style}"] = [round(took_s, 1) for took_s in result["proof_s"]]
    return found
