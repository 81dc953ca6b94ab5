"""Whether a measured figure keeps what was promised, and how figures are written.

A target is an object with `what`, `target`, `measured`, `unit` and `better` ("less" or "more"), and perhaps `stretch`.
"""

from __future__ import annotations

from typing import Any


def kept(target: dict[str, Any], key: str) -> bool:
    """True where the measured figure is as good as `target[key]`."""
    if target["better"] == "less":
        return bool(target["measured"] <= target[key])
    return bool(target["measured"] >= target[key])


def verdict(target: dict[str, Any]) -> str:
    """One of met; met, stretch too; not met."""
    if not kept(target, "target"):
        return "not met"
    return "met, stretch too" if "stretch" in target and kept(target, "stretch") else "met"


def amount(value: float, unit: str) -> str:
    """A figure with its unit, four digits."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{text} {unit}".strip()
