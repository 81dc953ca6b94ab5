"""`simulate`: the simulated exchange on its own."""

import typer

app = typer.Typer()
