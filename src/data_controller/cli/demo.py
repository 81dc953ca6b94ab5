"""`demo`: the whole chain on a simulated exchange, from nothing to a summary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_controller.cli import summary
from data_controller.cli._options import Json, duration_s
from data_controller.cli._output import event_printer, show
from data_controller.errors import ConfigError


def demo(
    for_s: Annotated[
        float,
        typer.Option(
            "--for", parser=duration_s, metavar="DURATION", help="How long, from the moment all books are proved."
        ),
    ] = 30.0,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the order flow; the same seed sends the same market.")
    ] = 7,
    instruments: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many instruments.")] = 8,
    ticks_per_second: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="Frames a second over all instruments.")
    ] = 1000,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="New or empty folder for journal and tables; without it the next free demo-out."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the whole chain on a simulated exchange: no account, no network, no money.

    Two hours of seeded pre-history first (so that every window is warm), then live for --for, then a summary.
    """
    folder = _folder(out)
    from data_controller.engine.demo import demo as run_demo

    result = run_demo(
        for_s=for_s,
        seed=seed,
        instruments=instruments,
        ticks_per_second=ticks_per_second,
        out=folder,
        on_event=event_printer(),
    )
    show(result, as_json, lambda value: summary.table(value, f"demo, seed {seed}: {folder}"))
    raise typer.Exit(summary.exit_code(result))


def _folder(out: Path | None) -> Path:
    if out is None:
        candidates = [Path("demo-out"), *(Path(f"demo-out-{n}") for n in range(2, 1000))]
        return next(path for path in candidates if not path.exists())
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"expected a new or empty folder, was {out} with something in it (`--out`)")
    return out
