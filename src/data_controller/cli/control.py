"""A running engine, by its control socket and its latch file: what it does, what it collects, how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from data_controller.cli import summary
from data_controller.cli._exit import LATCHED, OK
from data_controller.cli._options import Json, OptionalConfigFile, Reason, StateDir, find_state_dir
from data_controller.cli._output import show
from data_controller.errors import ConfigError, ControlError


def _plain(result: dict[str, Any], title: str, as_json: bool) -> None:
    show(result, as_json, lambda value: summary.table(value, title))


def status(state: StateDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Say what a running engine is doing. Exit code 3 where none runs, 4 where its kill switch is latched."""
    folder = find_state_dir(state, config)
    from data_controller import control

    result = control.request(folder, "status", {})
    _plain(result, f"engine in {folder}", as_json)
    kill = result.get("kill")
    latched = kill.get("active", True) if isinstance(kill, dict) else bool(result.get("kill_switch_active", False))
    raise typer.Exit(LATCHED if latched else OK)


def reload(state: StateDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Build and validate the config file again and swap it in whole, or keep the old one and say why."""
    folder = find_state_dir(state, config)
    from data_controller import control

    _plain(control.request(folder, "reload", {}), "reloaded", as_json)


Exchange = Annotated[str, typer.Argument(help="An exchange of the config that the engine was started with.")]
Instrument = Annotated[str, typer.Argument(help="An instrument, as `exchanges.EXCHANGE.instruments` would name it.")]


def subscribe(
    exchange: Exchange,
    instrument: Instrument,
    state: StateDir = None,
    config: OptionalConfigFile = None,
    as_json: Json = False,
) -> None:
    """Collect one more instrument, until the next reload or start. No other book is touched."""
    _collect("subscribe", exchange, instrument, find_state_dir(state, config), as_json)


def unsubscribe(
    exchange: Exchange,
    instrument: Instrument,
    state: StateDir = None,
    config: OptionalConfigFile = None,
    as_json: Json = False,
) -> None:
    """Collect one instrument no more, until the next reload or start. No other book is touched."""
    _collect("unsubscribe", exchange, instrument, find_state_dir(state, config), as_json)


def _collect(
    what: Literal["subscribe", "unsubscribe"], exchange: str, instrument: str, folder: Path, as_json: bool
) -> None:
    from data_controller import control

    asked = {"exchange": exchange, "instrument": instrument}
    _plain(control.request(folder, what, asked), f"{what}d {exchange} {instrument}", as_json)


def stop(state: StateDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """End a running engine in order: drain, flush, fsync, exit. Positions stay as they are."""
    folder = find_state_dir(state, config)
    from data_controller import control

    _plain(control.request(folder, "stop", {}), "stopping", as_json)


def kill(reason: Reason, state: StateDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Latch the kill switch: the latch file first, then the engine is told. Works with the engine hung or dead."""
    folder = find_state_dir(state, config)
    if not folder.is_dir():
        raise ConfigError(f"expected a state directory, was {folder} (`--state`)")
    from data_controller import control
    from data_controller.killswitch.latch import Latch

    who = control.default_who("cli")
    Latch(folder).set(reason, who)
    try:
        control.request(folder, "kill", {"reason": reason}, who=who)
        engine = "told"
    except ControlError as error:
        engine = f"not told: {error}"
    _plain({"latched": True, "reason": reason, "who": who, "engine": engine}, "kill switch latched", as_json)


def resume(reason: Reason, state: StateDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Clear the kill switch, where nothing holds it any more. Exit code 4 where something does."""
    folder = find_state_dir(state, config)
    if not folder.is_dir():
        raise ConfigError(f"expected a state directory, was {folder} (`--state`)")
    from data_controller import control
    from data_controller.killswitch.latch import Latch

    who = control.default_who("cli")
    try:
        control.request(folder, "resume", {"reason": reason}, who=who)
        engine = "told"
    except ControlError as error:
        # A running engine that refuses knows a trigger that still holds; only where none answers is the file ours.
        if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            raise
        Latch(folder).clear(reason, who)
        engine = "not running: the latch file was cleared"
    _plain({"latched": False, "reason": reason, "who": who, "engine": engine}, "kill switch clear", as_json)
