"""`model`: the bundle that predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_controller.cli import summary
from data_controller.cli._exit import EPILOG
from data_controller.cli._options import Json, OptionalConfigFile, load_config
from data_controller.cli._output import show

if TYPE_CHECKING:
    from data_controller.config import Config
    from data_controller.prediction.bundle import Bundle

app = typer.Typer(help="Look at model bundles.", no_args_is_help=True, epilog=EPILOG)

BundleDir = Annotated[
    Path | None,
    typer.Argument(metavar="[BUNDLE]", help="Folder of a bundle; without one, the config's, or the shipped one."),
]


@app.command("show", epilog=EPILOG)
def show_model(bundle: BundleDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Show a bundle's manifest: what it predicts, what it was trained on, what it is bound to."""
    folder, loaded = _load(bundle, load_config(config))
    show(_manifest(loaded), as_json, lambda value: summary.table(value, f"bundle {folder}"))


@app.command("check", epilog=EPILOG)
def check_model(bundle: BundleDir = None, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Check a bundle: its hashes, its fit to the feature catalogue, and its golden vectors on every tier."""
    settings = load_config(config)
    folder, loaded = _load(bundle, settings)
    from data_controller.prediction.ladder import Ladder

    ladder = Ladder(settings.prediction, loaded)
    tiers = {tier.name: "agrees with the golden vectors" for tier in ladder.tiers} | ladder.refused
    result = {"ok": not ladder.refused, "bundle": loaded.hash, "folder": str(folder), "tiers": tiers}
    show(result, as_json, lambda value: summary.table(value, "bundle is good" if value["ok"] else "bundle is not good"))
    raise typer.Exit(summary.exit_code(result))


def _load(bundle: Path | None, config: Config) -> tuple[Path, Bundle]:
    from data_controller.features import catalogue, parameters
    from data_controller.prediction import bundle as bundles

    folder = bundle or config.prediction.bundle or bundles.shipped()
    fitted = parameters.load_parameters(config.features.parameters)
    return folder, bundles.load(folder, catalogue.catalogue_hash(config.features, fitted), list(catalogue.COLUMNS))


def _manifest(bundle: Bundle) -> dict[str, Any]:
    import msgspec

    manifest: dict[str, Any] = msgspec.to_builtins(bundle.manifest)
    manifest["normalisation"] = f"{len(manifest['columns'])} columns: centre, scale, clip"
    return {"hash": bundle.hash, **manifest}
