"""Seeded fault schedules on the session without sockets: no book says PROVED and differs from the true one."""

from __future__ import annotations

from typing import Any

from tests.faults.schedules import run

ROUNDS = 2_000


def attempt(seed: int) -> dict[str, Any]:
    """One schedule; the samples are virtual seconds from a fault's start until every book was proved again."""
    result = run(seed)
    if result["violations"]:
        raise AssertionError(f"{result['faults']}: {result['violations']}")
    found: dict[str, Any] = {
        key: result[key] for key in ("frames", "compared", "checks_ok", "checks_bad", "resyncs", "reconnects")
    }
    for name, _, took_s in result["times"]:
        if took_s is None:
            found["unproved_nothing"] = found.get("unproved_nothing", 0) + 1
        else:
            found.setdefault(f"proved again, s: {name}", []).append(round(took_s, 2))
    return found
