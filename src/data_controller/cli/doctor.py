"""`doctor`: what this machine offers the engine, and what each missing thing means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from data_controller.cli._exit import FAILED, OK
from data_controller.cli._options import Json, OptionalConfigFile, StateDir, find_state_dir
from data_controller.cli._output import show

if TYPE_CHECKING:
    from rich.table import Table

    from data_controller.cli._checks import Check

_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red", "unknown": "dim"}


def doctor(state: StateDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Look at Python, cores, clock, disk, memory, fsync and optional parts.

    Exit code 1 where something needed is missing.
    """
    from data_controller.cli import _checks

    checks = _checks.every(find_state_dir(state, config))
    failed = any(check.status == "fail" for check in checks)
    show(
        {"ok": not failed, "checks": [asdict(check) for check in checks]},
        as_json,
        lambda _: _table(checks),
    )
    raise typer.Exit(FAILED if failed else OK)


def _table(checks: Sequence[Check]) -> Table:
    from rich.table import Table
    from rich.text import Text

    view = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what", "found", "what it means"):
        view.add_column(heading, overflow="fold")
    for check in checks:
        view.add_row(Text(check.status, style=_STYLE[check.status]), check.name, check.found, check.means)
    return view
