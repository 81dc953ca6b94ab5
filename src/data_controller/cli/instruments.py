"""`instruments`: what an exchange trades, with precisions, fees and limits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_controller.cli._options import Json, OptionalConfigFile, StateDir, load_config
from data_controller.cli._output import note, show
from data_controller.errors import RestError, TableError

if TYPE_CHECKING:
    from rich.table import Table


def instruments(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="Any exchange that ccxt knows: kraken, okx ...")],
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the exchange again.")] = False,
    config: OptionalConfigFile = None,
    state: StateDir = None,
    url: Annotated[str, typer.Option(metavar="BASE", help="Ask this address instead of the exchange's own.")] = "",
    as_json: Json = False,
) -> None:
    """List what an exchange trades: names, symbols, steps, fees, limits. Asked once, then read from the disk."""
    import asyncio

    from data_controller.reference.instruments import age_s, load_cached
    from data_controller.reference.instruments import refresh as ask

    settings = load_config(config)
    folder = (state or settings.state_dir).expanduser()
    kept = None if refresh else load_cached(folder, exchange)
    if kept is None:
        try:
            kept = asyncio.run(ask(folder, exchange, url, settings.ingest.rest))
        except RestError as error:
            # Damage of what was kept is no answer to a failed request, and --refresh no way out of it.
            with contextlib.suppress(TableError):
                kept = load_cached(folder, exchange)
            if kept is None:
                raise
            note(f"{error}; shown is what was kept")
    shown = {**kept, "age_s": round(age_s(kept))}
    show(shown, as_json, _table)


def _table(kept: dict[str, Any]) -> Table:
    from rich.table import Table

    rows = kept["instruments"]
    title = f"{len(rows)} instruments of {kept['exchange']}, as {kept['source']} said {_ago(kept['age_s'])}"
    view = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for heading in ("name", "symbol", "kind", "price step", "size step", "smallest size", "maker", "taker", "active"):
        view.add_column(heading)
    for row in rows:
        digits = row["price_significant_digits"]
        view.add_row(
            row["name"],
            row["symbol"],
            row["kind"] or "",
            row["price_step"] or (f"{digits} digits" if digits else "?"),
            row["size_step"] or (f"{row['size_digits']} digits" if row["size_digits"] else "?"),
            row["limits"]["size"]["min"] or "?",
            row["maker_fee"] or "?",
            row["taker_fee"] or "?",
            {True: "yes", False: "no"}.get(row["active"], "?"),
        )
    return view


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"
