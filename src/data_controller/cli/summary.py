"""The summary of a run as a table for people, and the exit code it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_controller.cli._exit import FAILED, LATCHED, OK

if TYPE_CHECKING:
    from rich.table import Table

KEYS = (
    "frames",
    "events",
    "instruments",
    "books_proved",
    "checksums_ok",
    "checksums_bad",
    "sequence_gaps",
    "resyncs",
    "feature_rows",
    "predictions",
    "decisions",
    "decisions_refused_invalid",
    "orders",
    "fills",
    "wire_to_decision_us",
    "tick_to_decision_us",
    "journal_bytes",
    "peak_rss_mb",
    "digest",
)
"""What `run`, `demo` and `replay` say at least, in the order in which a person reads it."""

_BAD_ABOVE_ZERO = ("checksums_bad", "sequence_gaps", "predictions_differ")


def table(result: Mapping[str, Any], title: str) -> Table:
    """Two columns, the known keys first; nested values are indented below their key."""
    from rich.table import Table
    from rich.text import Text

    view = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    view.add_column(style="cyan")
    view.add_column(overflow="fold")
    known = [key for key in KEYS if key in result]
    for key in [*known, *(key for key in result if key not in KEYS)]:
        value = result[key]
        label = key.replace("_", " ")
        if isinstance(value, Mapping):
            _nested(view, label, value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            view.add_row(label, str(len(value)))
            for item in value[:20]:
                view.add_row("", "  ".join(f"{k} {words(v)}" for k, v in item.items()))
        else:
            bad = key in _BAD_ABOVE_ZERO and bool(value)
            view.add_row(label, Text(words(value), style="bold red" if bad else ""))
    return view


def _nested(view: Table, label: str, value: Mapping[str, Any]) -> None:
    if value and all(isinstance(inner, (int, float)) or inner is None for inner in value.values()):
        view.add_row(label, "  ".join(f"{key} {words(inner)}" for key, inner in value.items()))
        return
    view.add_row(label, "" if value else "-")
    for key, inner in value.items():
        text = "  ".join(f"{k} {words(v)}" for k, v in inner.items()) if isinstance(inner, Mapping) else words(inner)
        view.add_row(f"  {key}", text)


def words(value: Any) -> str:
    """A value as a person reads it: thousands apart, four figures of a fraction, a dash for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(words(item) for item in value) or "-"
    return str(value)


def exit_code(result: Mapping[str, Any]) -> int:
    """LATCHED where the run ended latched, FAILED where it says it is not ok or a recomputed value differs, else OK."""
    if result.get("latched"):
        return LATCHED
    if not result.get("ok", True) or result.get("error") or result.get("predictions_differ"):
        return FAILED
    return OK


def verify_exit_code(result: Mapping[str, Any]) -> int:
    """FAILED where anything that was checked is bad."""
    if result.get("checksums_bad") or result.get("sequence_gaps"):
        return FAILED
    return exit_code(result)
