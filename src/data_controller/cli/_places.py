"""Where commands look for recorded data: the folders of an engine, a journal, or a lake, by name or by config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_controller.cli._options import load_config

if TYPE_CHECKING:
    from data_controller.lake.catalogue import Catalogue
    from data_controller.lake.settings import LakeSettings

Places = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[DIR]...", help="State folder, journal or lake; without one the config's, or `state`."),
]
Lake = Annotated[
    str | None,
    typer.Option("--lake", metavar="URI", help="Folder or s3:// address of the lake, where it lies elsewhere."),
]


@dataclass(slots=True)
class Place:
    """What was found: each part is None where there is none."""

    journal: Path | None = None
    tables: Path | None = None
    lake: str | None = None
    settings: LakeSettings | None = None

    def catalogue(self) -> Catalogue | None:
        """The lake's committed files."""
        if self.lake is None:
            return None
        from data_controller.lake.catalogue import Catalogue
        from data_controller.lake.store import Store

        return Catalogue(Store(self.lake, self.settings))


def find(folders: Sequence[Path] | None, config_file: Path | None, lake: str | None = None) -> Place:
    """Journal, tables and lake of what is named; BadParameter where there is nothing of the kind."""
    config = load_config(config_file)
    place = Place(settings=config.lake, lake=lake or config.lake.uri or None)
    for folder in [Path(f).expanduser() for f in folders or [config.state_dir]]:
        if (folder / "_commits").is_dir():
            place.lake = lake or str(folder)
        elif (folder / "manifest.json").exists() or any(folder.glob("journal-*.arrows*")):
            place.journal = folder
            if place.lake is None and (folder.parent / "lake" / "_commits").is_dir():
                place.lake = str(folder.parent / "lake")
        elif (folder / "journal").is_dir() or (folder / "tables").is_dir() or (folder / "lake").is_dir():
            place.journal = folder / "journal" if (folder / "journal").is_dir() else None
            place.tables = folder / "tables" if (folder / "tables").is_dir() else None
            if place.lake is None and (folder / "lake" / "_commits").is_dir():
                place.lake = str(folder / "lake")
        else:
            raise typer.BadParameter(f"expected a state folder, a journal or a lake, was none in {folder}")
    return place


def time_ns(text: str) -> int:
    """Unix ns of an ISO 8601 time (UTC, unless it says otherwise) or of a number of Unix s, ms, us or ns."""
    import numpy as np

    text = text.strip()
    if re.fullmatch(r"\d{9,19}", text):
        return int(text) * 10 ** (9 - 3 * ((len(text) - 9) // 3)) if len(text) < 19 else int(text)
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?)(Z|[+-]\d\d:?\d\d)?", text)
    if match is None:
        raise typer.BadParameter(f"expected a time such as 2026-11-25T10:00:00Z or Unix seconds, was {text!r}")
    try:
        moment = np.datetime64(match[1].replace(" ", "T"), "ns")
    except ValueError as error:
        raise typer.BadParameter(f"expected a day and a time that exist, was {text!r}") from error
    if not 1970 <= int(match[1][:4]) <= 2261:
        raise typer.BadParameter(f"expected a year from 1970 to 2261, was {text!r}")
    ns = int(moment.astype(np.int64))
    zone = match[2] or "Z"
    if zone != "Z":
        minutes = int(zone[1:3]) * 60 + int(zone[-2:])
        ns -= (1 if zone[0] == "+" else -1) * minutes * 60 * 10**9
    return ns
