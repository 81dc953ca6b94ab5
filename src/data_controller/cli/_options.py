"""Options and values that several commands share: durations, --json, where the config and the state directory are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from data_controller.config import Config

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration_s(written: str | float) -> float:
    """Seconds of `30s`, `5m`, `2h`, `1m30s`, `500ms`, `1d` or a bare number of seconds (an option's default is one)."""
    text = str(written).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    else:
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise typer.BadParameter(f"expected a duration such as 30s, 5m, 2h or 1m30s, was {text!r}")
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if not seconds > 0:
        raise typer.BadParameter(f"expected a duration above 0, was {text!r}")
    return seconds


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and everything else on stderr.")]
ConfigFile = Annotated[
    Path, typer.Option("-c", "--config", metavar="FILE", help="YAML config file; examples/paper.yaml is one to copy.")
]
OptionalConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="YAML config file; without one, the defaults.")
]
StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        envvar="DATA_CONTROLLER_STATE",
        help="The engine's state directory; without it the config's, without a config `state`.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the latch, the audit and the alert.")]


def load_config(file: Path | None) -> Config:
    """The validated config of `file`, or the defaults."""
    from data_controller import config

    return config.Config() if file is None else config.load(file)


def find_state_dir(state: Path | None, config_file: Path | None) -> Path:
    """The state directory: named, or the config's, or the default."""
    if state is not None:
        return state.expanduser()
    if config_file is None:
        return Path("state")
    from data_controller import config

    # Stopping must not depend on a secret that happens to be missing here.
    return config.load(config_file, secrets=False).state_dir.expanduser()
