"""`import`: foreign captures become journals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from data_controller.cli import summary
from data_controller.cli._exit import EPILOG
from data_controller.cli._options import Json
from data_controller.cli._output import show

app = typer.Typer(help="Turn captures of other programs into journals.", no_args_is_help=True, epilog=EPILOG)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The capture; .gz is read as it is.")]


def _known(name: str) -> str:
    from data_controller.exchanges import names

    if name not in names():
        raise typer.BadParameter(f"expected {' or '.join(names())}, was {name!r}")
    return name


Exchange = Annotated[
    str, typer.Option(metavar="NAME", callback=_known, help="Whose protocol the frames speak: bitfinex.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new journal.")]


@app.command("cryptofeed", epilog=EPILOG)
def cryptofeed(file: File, exchange: Exchange, out: Out, as_json: Json = False) -> None:
    """Import a capture by cryptofeed's raw data collection: a line a frame, with its receive time."""
    from data_controller.lake.importers import import_cryptofeed

    _finish(import_cryptofeed(file, exchange, out), f"import of {file}", as_json)


@app.command("frames", epilog=EPILOG)
def frames(file: File, exchange: Exchange, out: Out, as_json: Json = False) -> None:
    """Import bare frames: one a line, or one JSON array of them. Receive times are made up, and the journal says so."""
    from data_controller.lake.importers import import_frames

    _finish(import_frames(file, exchange, out), f"import of {file}", as_json)


def _finish(result: dict[str, Any], title: str, as_json: bool) -> None:
    show(result, as_json, lambda value: summary.table(value, title))
    raise typer.Exit(summary.exit_code(result))
