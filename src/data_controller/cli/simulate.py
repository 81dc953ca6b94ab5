"""`simulate`: the simulated exchange on its own, for what speaks Bitfinex's, Binance's or Kraken's protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from data_controller.cli._exit import EPILOG
from data_controller.cli._options import duration_s

app = typer.Typer(help="Run the simulated exchange.", epilog=EPILOG)


@app.callback()
def _group() -> None:
    """Run the simulated exchange."""


@app.command("exchange", epilog=EPILOG, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def exchange(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Loopback port; 0 chooses a free one.")] = 0,
    rate: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="Frames a second over all instruments.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the order flow.")] = 7,
    instruments: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many instruments.")] = 8,
    venues: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Further venues of the same market: bitfinex (REST), binance, binance_usdm, kraken."
        ),
    ] = None,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for", parser=duration_s, metavar="DURATION", help="Stop after this long; without it, on Ctrl-C."
        ),
    ] = None,
) -> None:
    """Serve Bitfinex's v2 WebSocket protocol from a seeded matching engine, on loopback, and further venues beside it.

    Further options go to the simulator as they are: `data-controller simulate exchange -- --help` lists them.
    """
    from data_controller.simulator.__main__ import main

    options = {
        "--port": port,
        "--ticks-per-second": rate,
        "--seed": seed,
        "--instruments": instruments,
        "--venues": venues,
        "--run-s": for_s,
    }
    argv = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    raise typer.Exit(main([*argv, *context.args]) or 0)
