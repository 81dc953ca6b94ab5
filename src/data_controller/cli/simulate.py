"""`simulate`: the simulated exchange on its own."""

import typer

app = typer.Typer(help="Run the simulated exchange.", no_args_is_help=True)
