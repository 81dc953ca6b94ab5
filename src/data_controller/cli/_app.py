"""Puts the commands together; importing this imports no part of the engine."""

from __future__ import annotations

from typing import Annotated

import typer

from data_controller import __version__
from data_controller.cli import (
    backfill,
    config,
    control,
    demo,
    doctor,
    export,
    features,
    imports,
    instruments,
    lake,
    model,
    replay,
    run,
    simulate,
    verify,
)
from data_controller.cli._exit import EPILOG

app = typer.Typer(
    name="data-controller",
    help="Trades crypto on its own over minutes to two hours: proved books, order-flow features, one pipeline for live "
    "and replay. Start with `data-controller demo`.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

RUNNING, RECORDED, SETTING_UP = "Run and control", "Recorded data", "Set up and look"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"data-controller {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Let an error's traceback through, on any command.")] = False,
) -> None:
    del version, debug  # both are looked at before a command runs


app.command("demo", rich_help_panel=RUNNING, epilog=EPILOG)(demo.demo)
app.command("run", rich_help_panel=RUNNING, epilog=EPILOG)(run.run)
app.command("status", rich_help_panel=RUNNING, epilog=EPILOG)(control.status)
app.command("reload", rich_help_panel=RUNNING, epilog=EPILOG)(control.reload)
app.command("subscribe", rich_help_panel=RUNNING, epilog=EPILOG)(control.subscribe)
app.command("unsubscribe", rich_help_panel=RUNNING, epilog=EPILOG)(control.unsubscribe)
app.command("stop", rich_help_panel=RUNNING, epilog=EPILOG)(control.stop)
app.command("kill", rich_help_panel=RUNNING, epilog=EPILOG)(control.kill)
app.command("resume", rich_help_panel=RUNNING, epilog=EPILOG)(control.resume)
app.command("replay", rich_help_panel=RECORDED, epilog=EPILOG)(replay.replay)
app.command("verify", rich_help_panel=RECORDED, epilog=EPILOG)(verify.verify)
app.command("backfill", rich_help_panel=RECORDED, epilog=EPILOG)(backfill.backfill)
app.command("ls", rich_help_panel=RECORDED, epilog=EPILOG)(lake.ls)
app.command("query", rich_help_panel=RECORDED, epilog=EPILOG)(lake.query)
app.command("book", rich_help_panel=RECORDED, epilog=EPILOG)(lake.book)
app.command("gaps", rich_help_panel=RECORDED, epilog=EPILOG)(lake.gaps)
app.command("compact", rich_help_panel=RECORDED, epilog=EPILOG)(lake.compact)
app.add_typer(imports.app, name="import", rich_help_panel=RECORDED)
app.add_typer(export.app, name="export", rich_help_panel=RECORDED)
app.add_typer(simulate.app, name="simulate", rich_help_panel=RUNNING)
app.command("instruments", rich_help_panel=SETTING_UP, epilog=EPILOG)(instruments.instruments)
app.command("doctor", rich_help_panel=SETTING_UP, epilog=EPILOG)(doctor.doctor)
app.add_typer(config.app, name="config", rich_help_panel=SETTING_UP)
app.add_typer(features.app, name="features", rich_help_panel=SETTING_UP)
app.add_typer(model.app, name="model", rich_help_panel=SETTING_UP)
