"""`features`: the catalogue of what is computed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_controller.cli import summary
from data_controller.cli._exit import EPILOG
from data_controller.cli._options import Json
from data_controller.cli._output import show
from data_controller.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="Look at the feature catalogue.", no_args_is_help=True, epilog=EPILOG)


@app.command("list", epilog=EPILOG)
def list_features(
    group: Annotated[str | None, typer.Option(help="Only the features of this group.")] = None, as_json: Json = False
) -> None:
    """List the features: name, group, unit, window, what it needs."""
    from data_controller.features.declarations import FEATURES

    groups = sorted({feature.group for feature in FEATURES})
    if group is not None and group not in groups:
        raise ConfigError(f"expected a group out of {', '.join(groups)}, was {group} (`--group`)")
    chosen = [asdict(feature) for feature in FEATURES if group in (None, feature.group)]
    show(chosen, as_json, _table)


@app.command("show", epilog=EPILOG)
def show_feature(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A feature's name, or one of its columns.")],
    as_json: Json = False,
) -> None:
    """Show one feature: formula, source, validity, expected range."""
    import difflib

    from data_controller.features.declarations import FEATURES

    for feature in FEATURES:
        if name == feature.name or name in feature.column_names:
            show(asdict(feature), as_json, lambda value: summary.table(value, value["name"]))
            return
    close = difflib.get_close_matches(name, [feature.name for feature in FEATURES], n=1)
    advice = f"; did you mean {close[0]}?" if close else "; `data-controller features list` names them all"
    raise ConfigError(f"expected a feature of the catalogue, was {name}{advice}")


def _table(features: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    view = Table(box=None, pad_edge=False, header_style="bold", title=f"{len(features)} features", title_justify="left")
    for heading in ("name", "group", "unit", "window", "warm-up", "needs"):
        view.add_column(heading)
    for feature in features:
        window = f"{feature['window_s']} s" if feature["window_s"] else "the tick"
        needs = ", ".join(feature["inputs"])
        view.add_row(feature["name"], feature["group"], feature["unit"], window, f"{feature['warm_up_s']} s", needs)
    return view
