"""`config`: check a config file, show what is in effect, print the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_controller.cli import summary
from data_controller.cli._exit import EPILOG
from data_controller.cli._options import Json, OptionalConfigFile, load_config
from data_controller.cli._output import print_json, show

app = typer.Typer(help="Check, show and describe the configuration.", no_args_is_help=True, epilog=EPILOG)


@app.command("check", epilog=EPILOG)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML config file.")],
    no_secrets: Annotated[
        bool, typer.Option("--no-secrets", help="Do not look whether the secrets are there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a config file and say everything that is wrong with it, with lines. Exit code 2 where something is."""
    from data_controller import config

    tree = config.load(file, secrets=not no_secrets)
    result = {"ok": True, "file": str(file), "hash": tree.hash}
    show(result, as_json, lambda value: summary.table(value, "config is good"))


@app.command("show", epilog=EPILOG)
def show_config(config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Print every value in effect, defaults filled in, as YAML; a secret shows only where it lies."""
    tree = load_config(config)
    if as_json:
        print_json(tree.effective())
        return
    import sys

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    sys.stdout.write(f"# hash {tree.hash}\n")
    yaml.dump(tree.effective(), sys.stdout)


@app.command("schema", epilog=EPILOG)
def show_schema() -> None:
    """Print the JSON Schema of the config, for editors that complete and check YAML."""
    from data_controller import config

    print_json(config.schema())
