"""`verify`: proves the books of recorded journals again."""

from __future__ import annotations

import typer

from data_controller.cli import summary
from data_controller.cli._options import Json
from data_controller.cli._output import progress, show
from data_controller.cli.replay import Paths


def verify(paths: Paths, as_json: Json = False) -> None:
    """Check journals: hashes of their segments, every checksum the exchange sent, every sequence.

    Exit code 1 where a checksum is bad or a sequence has a gap.
    """
    from data_controller.engine.verify import verify as run_verify

    with progress("records verified") as tell:
        result = run_verify(paths, on_progress=tell)
    show(result, as_json, lambda value: summary.table(value, "verify " + ", ".join(map(str, paths))))
    raise typer.Exit(summary.verify_exit_code(result))
