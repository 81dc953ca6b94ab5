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

File = Annotated[Path, typer.Argument(metavar="FILE", help="The capture; .gz and .bz2 are read as they are.")]
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="The files of one capture; .gz and .bz2 are read as they are.")
]


def _known(name: str) -> str:
    from data_controller.exchanges import names

    if name not in names():
        raise typer.BadParameter(f"expected {' or '.join(names())}, was {name!r}")
    return name


Exchange = Annotated[
    str, typer.Option(metavar="NAME", callback=_known, help="Whose protocol the frames speak, such as bitfinex.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new journal.")]


@app.command("cryptofeed", epilog=EPILOG)
def cryptofeed(files: Files, exchange: Exchange, out: Out, as_json: Json = False) -> None:
    """Import a capture by cryptofeed's raw data collection: a line a frame, with its receive time.

    Several files of one capture (REST lists, sockets) are merged by time.
    """
    from data_controller.lake.importers import import_cryptofeed

    _finish(import_cryptofeed(files, exchange, out), _title(files), as_json)


@app.command("hftbacktest", epilog=EPILOG)
def hftbacktest(files: Files, exchange: Exchange, out: Out, as_json: Json = False) -> None:
    """Import files of hftbacktest's collector, oldest first: LOCAL_NS and JSON a line.

    The exchange is binance, binance_usdm or binance_coinm.
    """
    from data_controller.lake.importers import import_hftbacktest

    _finish(import_hftbacktest(files, exchange, out), _title(files), as_json)


@app.command("ndjson", epilog=EPILOG)
def ndjson(file: File, exchange: Exchange, out: Out, as_json: Json = False) -> None:
    """Import lines of {"ts_local", "symbol", "type", "data"}: a recorder of Binance. Receive times count as made up."""
    from data_controller.lake.importers import import_ndjson

    _finish(import_ndjson(file, exchange, out), f"import of {file}", as_json)


@app.command("bitstamp-log", epilog=EPILOG)
def bitstamp_log(file: File, exchange: Exchange, out: Out, as_json: Json = False) -> None:
    """Import a log of Bitstamp's order feed: LOCAL_MS, EVENT and JSON a line. The exchange is bitstamp_2015."""
    from data_controller.lake.importers import import_bitstamp_log

    _finish(import_bitstamp_log(file, exchange, out), f"import of {file}", as_json)


@app.command("tardis", epilog=EPILOG)
def tardis(files: Files, out: Out, as_json: Json = False) -> None:
    """Import Tardis's CSV files, merged by their local time; a file's columns say what it is.

    incremental_book_L2, trades, book_snapshot_N and derivative_ticker are read.
    """
    from data_controller.lake.importers import import_tardis

    _finish(import_tardis(files, out), _title(files), as_json)


@app.command("table", epilog=EPILOG)
def table(
    mapping: Annotated[Path, typer.Argument(metavar="MAPPING", help="YAML: which columns of which files are what.")],
    out: Out,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files lie; without it, beside the mapping.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import CSV, Parquet or Feather tables of book updates, book snapshots, trades or candles by a mapping."""
    from data_controller.lake.importers import import_table

    _finish(import_table(mapping, out, data), f"import of {mapping}", as_json)


@app.command("frames", epilog=EPILOG)
def frames(file: File, exchange: Exchange, out: Out, as_json: Json = False) -> None:
    """Import bare frames: one a line, or one JSON array of them. Receive times are made up, and the journal says so."""
    from data_controller.lake.importers import import_frames

    _finish(import_frames(file, exchange, out), f"import of {file}", as_json)


def _title(files: list[Path]) -> str:
    return f"import of {files[0]}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")


def _finish(result: dict[str, Any], title: str, as_json: bool) -> None:
    show(result, as_json, lambda value: summary.table(value, title))
    raise typer.Exit(summary.exit_code(result))
