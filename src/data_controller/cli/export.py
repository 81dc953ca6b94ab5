"""`export`: what journals or a lake hold, in the formats of other programs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_controller.cli import summary
from data_controller.cli._exit import EPILOG
from data_controller.cli._options import Json, OptionalConfigFile, load_config
from data_controller.cli._output import progress, show
from data_controller.cli._places import Lake

if TYPE_CHECKING:
    from data_controller.engine.export import Source
    from data_controller.lake.exporters import Slice

app = typer.Typer(
    help="Write journals or a lake in the formats of other programs.", no_args_is_help=True, epilog=EPILOG
)

Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PATH]...", help="Journal folders or segment files, oldest first; or the folder of a lake."
    ),
]
Exchange = Annotated[str, typer.Option(metavar="NAME", help="Of a lake: only this exchange.")]
Instrument = Annotated[
    str, typer.Option(metavar="SYMBOL", help="Of a lake: only this instrument, as the venue has it.")
]
First = Annotated[
    str, typer.Option("--from", metavar="DAY", help="Of a lake: from this UTC day on, such as 2026-11-25.")
]
Last = Annotated[str, typer.Option("--to", metavar="DAY", help="Of a lake: up to this UTC day, which is included.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder for the files.")]


@app.command("hftbacktest", epilog=EPILOG)
def hftbacktest(
    out: Out,
    paths: Paths = None,
    lake: Lake = None,
    config: OptionalConfigFile = None,
    exchange: Exchange = "",
    instrument: Instrument = "",
    first: First = "",
    last: Last = "",
    base_latency_ns: Annotated[
        int,
        typer.Option(min=0, metavar="NS", help="Added to local times where the local clock ran behind the exchange's."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Write hftbacktest's npz, one an instrument: depth, snapshots, clears and trades."""
    from data_controller.engine.export import export_hftbacktest
    from data_controller.lake.exporters import Slice

    source = _source(paths, lake, config, Slice(exchange, instrument, first, last))
    with progress("rows exported") as tell:
        result = export_hftbacktest(source, out, base_latency_ns=base_latency_ns, on_progress=tell)
    _finish(result, out, as_json)


@app.command("tardis", epilog=EPILOG)
def tardis(
    out: Out,
    paths: Paths = None,
    lake: Lake = None,
    config: OptionalConfigFile = None,
    exchange: Exchange = "",
    instrument: Instrument = "",
    first: First = "",
    last: Last = "",
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="incremental_book_L2, trades or book_snapshot_25; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write Tardis's CSV files, one an instrument, day and type; without --type, books and trades."""
    from data_controller.engine.export import TARDIS_TYPES, export_tardis
    from data_controller.lake.exporters import Slice

    source = _source(paths, lake, config, Slice(exchange, instrument, first, last))
    with progress("rows exported") as tell:
        result = export_tardis(source, out, types=tuple(types or TARDIS_TYPES[:2]), on_progress=tell)
    _finish(result, out, as_json)


@app.command("freqtrade", epilog=EPILOG)
def freqtrade(
    out: Out,
    paths: Paths = None,
    lake: Lake = None,
    config: OptionalConfigFile = None,
    exchange: Exchange = "",
    instrument: Instrument = "",
    first: First = "",
    last: Last = "",
    timeframe: Annotated[str, typer.Option(metavar="SPAN", help="1m, 5m, 1h or 1d.")] = "5m",
    as_json: Json = False,
) -> None:
    """Write Freqtrade's OHLCV feather, one a pair: candles of trades, or of a candles channel of that timeframe."""
    from data_controller.engine.export import export_freqtrade
    from data_controller.lake.exporters import Slice

    source = _source(paths, lake, config, Slice(exchange, instrument, first, last))
    with progress("rows exported") as tell:
        result = export_freqtrade(source, out, timeframe=timeframe, on_progress=tell)
    _finish(result, out, as_json)


@app.command("parquet", epilog=EPILOG)
def parquet(
    out: Out,
    paths: Paths = None,
    lake: Lake = None,
    config: OptionalConfigFile = None,
    exchange: Exchange = "",
    instrument: Instrument = "",
    first: First = "",
    last: Last = "",
    as_json: Json = False,
) -> None:
    """Write the event rows as they are, with the names of their channels, as one Parquet file."""
    from data_controller.engine.export import export_parquet
    from data_controller.lake.exporters import Slice

    source = _source(paths, lake, config, Slice(exchange, instrument, first, last))
    with progress("rows exported") as tell:
        result = export_parquet(source, out, on_progress=tell)
    _finish(result, out, as_json)


def _source(paths: list[Path] | None, lake: str | None, config: Path | None, which: Slice) -> Source:
    """Journals, or the slice of a lake, that of the config where none is named; BadParameter where it is not one."""
    from data_controller.engine.export import JournalSource
    from data_controller.lake.catalogue import Catalogue
    from data_controller.lake.exporters import LakeSource
    from data_controller.lake.store import Store

    for day in (which.first_day, which.last_day):
        try:
            good = not day or dt.date.fromisoformat(day).isoformat() == day
        except ValueError:
            good = False
        if not good:
            raise typer.BadParameter(f"expected a day such as 2026-11-25, was {day!r}")
    folders = [path.expanduser() for path in paths or ()]
    settings = load_config(config).lake
    if not folders and lake is None:
        lake = settings.uri or None
    of_lake = [path for path in folders if (path / "_commits").is_dir()]
    if lake is not None or of_lake:
        if len(folders) + (lake is not None) > 1:
            raise typer.BadParameter("expected one lake, or journals, was more: export them one by one")
        return LakeSource(Catalogue(Store(lake or str(folders[0]), settings)), which)
    if not folders:
        raise typer.BadParameter("expected journals or a lake, was none: name a folder, or --lake URI")
    if any(which):
        raise typer.BadParameter("expected a lake for --exchange, --instrument, --from or --to, was a journal")
    return JournalSource(folders)


def _finish(result: dict[str, Any], out: Path, as_json: bool) -> None:
    show(result, as_json, lambda value: summary.table(value, f"export to {out}"))
    raise typer.Exit(summary.exit_code(result))
