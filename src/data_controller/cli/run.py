"""`run`: the engine, live, as a config file says."""

from __future__ import annotations

from typing import Annotated

import typer

from data_controller.cli import summary
from data_controller.cli._options import ConfigFile, Json, duration_s, load_config
from data_controller.cli._output import event_printer, show


def run(
    config: ConfigFile,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", parser=duration_s, metavar="DURATION", help="Stop after this long; without it, run until stopped."
        ),
    ] = None,
    record_only: Annotated[
        bool, typer.Option("--record-only", help="Journal and prove books; compute no features and decide nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the engine with a config file. Ctrl-C, SIGTERM and `data-controller stop` end it in order; SIGHUP reloads."""
    settings = load_config(config)
    from data_controller.engine.live import run as run_live

    result = run_live(settings, for_s=for_s, record_only=record_only, on_event=event_printer(), config_path=config)
    show(result, as_json, lambda value: summary.table(value, f"run of {config}"))
    raise typer.Exit(summary.exit_code(result))
