"""`compact`, `ls`, `gaps`, `book` and `query`: what is on disk, and what was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from data_controller.cli import _places, summary
from data_controller.cli._options import Json, OptionalConfigFile
from data_controller.cli._output import console, print_json, progress, show

MAX_SHOWN = 1000
"""Rows that a table for people has at most; --json and --csv have all."""


def compact(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="State folder or journal; without one the config's, or `state`."),
    ] = None,
    config: OptionalConfigFile = None,
    lake: _places.Lake = None,
    as_json: Json = False,
) -> None:
    """Bring all closed journal segments into the lake, once, here and now; then delete what retention lets go.

    A running engine does the same in the background. Running it again does nothing. Exit code 1 where a segment was
    damaged: what could be read of it is in the lake, and `verify` names it.
    """
    place = _places.find([folder] if folder else None, config, lake)
    if place.journal is None:
        raise typer.BadParameter("expected a journal there, was none")
    uri = place.lake or str(place.journal.parent / "lake")
    from data_controller.engine.compact import compact as run_compact

    with progress("records decoded") as tell:
        result = run_compact(place.journal, uri, place.settings, place.tables, on_progress=tell)
    show(result, as_json, lambda value: summary.table(value, f"compaction of {place.journal}"))
    raise typer.Exit(summary.exit_code(result))


def _catalogue(place: _places.Place) -> Any:
    catalogue = place.catalogue()
    if catalogue is None or not catalogue.commits:
        raise typer.BadParameter("expected a lake there, was none: `data-controller compact` makes it")
    return catalogue


def ls(
    folders: _places.Places = None,
    config: OptionalConfigFile = None,
    lake: _places.Lake = None,
    as_json: Json = False,
) -> None:
    """Say what the lake holds: per venue, instrument and day the rows, bytes, gaps, and how long books were proved."""
    from data_controller.lake.listing import listing

    rows = listing(_catalogue(_places.find(folders, config, lake)))
    shown = [
        [
            row["exchange"],
            row["instrument"],
            row["date"],
            ", ".join(row["channels"]),
            f"{row['rows']:,}",
            f"{row['bytes']:,}",
            str(row["gaps"]),
            "-" if row["proved"] is None else f"{row['proved']:.4%}",
        ]
        for row in rows
    ]
    names = ["exchange", "instrument", "day", "channels", "rows", "bytes", "gaps", "proved"]
    _show_rows({"days": rows}, names, shown, as_json, right=(4, 5, 6, 7))


def gaps(
    folders: _places.Places = None,
    config: OptionalConfigFile = None,
    lake: _places.Lake = None,
    exchange: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this exchange.")] = None,
    instrument: Annotated[str | None, typer.Option(metavar="SYMBOL", help="Only of this instrument.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only what lasted past this time.")] = None,
    as_json: Json = False,
) -> None:
    """List gaps: what is missing or not to be trusted, since when and why, and how it healed.

    From the lake and, for what is not there yet, from the journal.
    """
    place = _places.find(folders, config, lake)
    from data_controller.engine.gaps import all_gaps

    with progress("records read") as tell:
        found = all_gaps(place.catalogue(), place.journal, on_progress=tell)
    since_ns = _places.time_ns(since) if since else 0
    found = [
        gap
        for gap in found
        if exchange in (None, gap.exchange)
        and instrument in (None, gap.instrument)
        and (gap.end_ns == 0 or gap.end_ns >= since_ns)
    ]
    from data_controller.engine.book_at import time_text

    rows = [
        [
            g.exchange,
            g.instrument,
            f"{g.channel} {g.precision}".strip(),
            time_text(g.start_ns),
            time_text(g.end_ns),
            f"{(g.end_ns - g.start_ns) / 1e9:,.3f}" if g.end_ns else "-",
            g.cause,
            g.healed_by,
        ]
        for g in found
    ]
    names = ["exchange", "instrument", "channel", "start", "end", "seconds", "cause", "healed by"]
    _show_rows({"gaps": [gap._asdict() for gap in found]}, names, rows, as_json, right=(5,))


def book(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="bitfinex, ...")],
    instrument: Annotated[str, typer.Argument(metavar="INSTRUMENT", help="As the exchange writes it: tBTCUSD.")],
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="2026-11-25T10:00:00.5Z, or Unix s, ms, us or ns.")],
    folders: Annotated[
        list[Path] | None, typer.Option("--in", metavar="DIR", help="State folder, journal or lake to look in.")
    ] = None,
    config: OptionalConfigFile = None,
    lake: _places.Lake = None,
    precision: Annotated[str | None, typer.Option(metavar="P0|R0|...", help="Which rendering; the finest.")] = None,
    depth: Annotated[int, typer.Option(metavar="N", min=1, help="Entries a side.")] = 10,
    as_json: Json = False,
) -> None:
    """Show a book as it was at a moment, with its proof, from disk."""
    place = _places.find(folders, config, lake)
    at_ns = _places.time_ns(at)
    from data_controller.engine.book_at import book_at

    found = book_at(
        exchange,
        instrument,
        at_ns,
        catalogue=place.catalogue(),
        journal=place.journal,
        precision=precision,
        depth=depth,
    )
    if as_json:
        print_json(found)
        return
    head = {key: value for key, value in found.items() if key not in ("bids", "asks", "at_ns")}
    console().print(summary.table(head, f"{exchange} {instrument} at {found['at']}"))
    bids, asks = found["bids"], found["asks"]
    empty = {"price": "", "size": "", "ref": ""}
    rows = []
    for k in range(max(len(bids), len(asks))):
        bid, ask = bids[k] if k < len(bids) else empty, asks[k] if k < len(asks) else empty
        rows.append([str(bid["ref"]), bid["size"], bid["price"], ask["price"], ask["size"], str(ask["ref"])])
    _show_rows({}, ["count or id", "bid size", "bid", "ask", "ask size", "count or id"], rows, False, right=range(6))


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement for DuckDB.")],
    folders: Annotated[
        list[Path] | None, typer.Option("--in", metavar="DIR", help="State folder, journal or lake to look in.")
    ] = None,
    config: OptionalConfigFile = None,
    lake: _places.Lake = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header line.")] = False,
    as_json: Json = False,
) -> None:
    """Ask in SQL over all that is on disk: book, trades, ticker, candles, gaps, ... of the lake, the journal's records,
    features, predictions and decisions. Times are UTC; `price` and `size` are numbers, their exact digits beside them.
    """
    place = _places.find(folders, config, lake)
    from data_controller.lake.query import Query

    answer = Query(place.catalogue(), place.journal, place.tables).run(sql)
    if as_csv:
        import csv
        import sys

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
        return
    if as_json:
        values = [{name: _value(v) for name, v in zip(answer.columns, row, strict=True)} for row in answer.rows]
        print_json({"columns": answer.columns, "rows": values})
        return
    rows = [["-" if value is None else str(_value(value)) for value in row] for row in answer.rows]
    _show_rows({}, answer.columns, rows, False)


def _value(value: Any) -> Any:
    """A value as JSON has it: bytes as hex, numbers that are none as null."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, (list, tuple)):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _value(item) for key, item in value.items()}
    return value


def _show_rows(value: Any, names: list[str], rows: list[list[str]], as_json: bool, right: Any = ()) -> None:
    if as_json:
        print_json(value)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for k, name in enumerate(names):
        table.add_column(name, justify="right" if k in right else "left", overflow="fold")
    for row in rows[:MAX_SHOWN]:
        table.add_row(*row)
    out = console()
    out.print(table)
    if len(rows) > MAX_SHOWN:
        out.print(f"... and {len(rows) - MAX_SHOWN:,} more rows; --json has all")
