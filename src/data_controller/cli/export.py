"""`export`: what journals hold, in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from data_controller.cli import summary
from data_controller.cli._exit import EPILOG
from data_controller.cli._options import Json
from data_controller.cli._output import progress, show

app = typer.Typer(help="Write journals in the formats of other programs.", no_args_is_help=True, epilog=EPILOG)

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Journal folders or segment files, oldest first.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder for the files.")]


@app.command("hftbacktest", epilog=EPILOG)
def hftbacktest(
    paths: Paths,
    out: Out,
    base_latency_ns: Annotated[
        int,
        typer.Option(min=0, metavar="NS", help="Added to local times where the local clock ran behind the exchange's."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Write hftbacktest's npz, one an instrument: depth, snapshots, clears and trades."""
    from data_controller.engine.export import export_hftbacktest

    with progress("records exported") as tell:
        result = export_hftbacktest(paths, out, base_latency_ns=base_latency_ns, on_progress=tell)
    _finish(result, out, as_json)


@app.command("tardis", epilog=EPILOG)
def tardis(
    paths: Paths,
    out: Out,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="incremental_book_L2, trades or book_snapshot_25; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write Tardis's CSV files, one an instrument, day and type; without --type, books and trades."""
    from data_controller.engine.export import TARDIS_TYPES, export_tardis

    with progress("records exported") as tell:
        result = export_tardis(paths, out, types=tuple(types or TARDIS_TYPES[:2]), on_progress=tell)
    _finish(result, out, as_json)


@app.command("freqtrade", epilog=EPILOG)
def freqtrade(
    paths: Paths,
    out: Out,
    timeframe: Annotated[str, typer.Option(metavar="SPAN", help="1m, 5m, 1h or 1d.")] = "5m",
    as_json: Json = False,
) -> None:
    """Write Freqtrade's OHLCV feather, one a pair: candles of trades, or of a candles channel of that timeframe."""
    from data_controller.engine.export import export_freqtrade

    with progress("records exported") as tell:
        result = export_freqtrade(paths, out, timeframe=timeframe, on_progress=tell)
    _finish(result, out, as_json)


@app.command("parquet", epilog=EPILOG)
def parquet(paths: Paths, out: Out, as_json: Json = False) -> None:
    """Write the event rows as they are, with the names of their channels, as one Parquet file."""
    from data_controller.engine.export import export_parquet

    with progress("records exported") as tell:
        result = export_parquet(paths, out, on_progress=tell)
    _finish(result, out, as_json)


def _finish(result: dict[str, Any], out: Path, as_json: bool) -> None:
    show(result, as_json, lambda value: summary.table(value, f"export to {out}"))
    raise typer.Exit(summary.exit_code(result))
