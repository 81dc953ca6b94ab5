"""`replay`: the same pipeline over recorded journals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_controller.cli import summary
from data_controller.cli._options import Json, load_config
from data_controller.cli._output import progress, show

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Journal folders or segment files, oldest first.")]


def replay(
    paths: Paths,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="Replay with this config instead of the journal's own."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the tables it computes here.")] = None,
    as_json: Json = False,
) -> None:
    """Replay journals through the pipeline, as fast as it goes, and print what the live run printed.

    Digests equal the live run's, bit for bit. Exit code 1 where recomputed predictions differ from the record.
    """
    settings = None if config is None else load_config(config)
    from data_controller.engine.replay import replay as run_replay

    with progress("records replayed") as tell:
        result = run_replay(paths, config=settings, out=out, on_progress=tell)
    show(result, as_json, lambda value: summary.table(value, "replay of " + ", ".join(map(str, paths))))
    raise typer.Exit(summary.exit_code(result))
