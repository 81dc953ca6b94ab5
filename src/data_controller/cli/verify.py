"""`verify`: proves recorded data again, from disk alone: journals, and lakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_controller.cli import _places, summary
from data_controller.cli._options import Json, OptionalConfigFile, load_config
from data_controller.cli._output import console, progress, show

if TYPE_CHECKING:
    from data_controller.lake.settings import LakeSettings

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Journal folders, segment files, lakes (s3://... too) or state folders."),
]


def verify(paths: Paths, config: OptionalConfigFile = None, as_json: Json = False) -> None:
    """Check recorded data: hashes, every checksum the exchange sent, every sequence, what must hold of every book.

    Each journal is judged for itself. Of a lake also that its rows are in order and, where the journal is still there,
    that they are what it says: that of the state folder which was named, or of the config, or beside the lake. Exit
    code 1 where anything is in doubt; file and row are named.
    """
    journals, lakes = _sorted(paths, config)
    results: list[tuple[str, dict[str, Any]]] = []
    with progress("records verified") as tell:
        if journals:
            from data_controller.engine.verify import verify as run_verify
            from data_controller.journal.reader import journals_of

            for journal in journals_of(journals):
                name = "verify " + ", ".join(map(str, journal))
                results.append((name, run_verify(journal, on_progress=tell)))
        for uri, beside in lakes:
            from data_controller.engine.verify_lake import verify_lake

            settings = load_config(config).lake
            results.append((f"verify {uri}", verify_lake(uri, settings, beside, on_progress=tell)))
    if len(results) == 1:
        show(results[0][1], as_json, lambda value: summary.table(value, results[0][0]))
    else:
        whole = {"ok": all(result["ok"] for _, result in results), "parts": [dict(part=n, **r) for n, r in results]}
        if as_json:
            show(whole, True, lambda value: value)
        for name, result in [] if as_json else results:
            console().print(summary.table(result, name))
    raise typer.Exit(max(summary.verify_exit_code(result) for _, result in results))


def _sorted(paths: list[str], config: Path | None) -> tuple[list[Path], list[tuple[str, Path | None]]]:
    """Journals and lakes among what was named, each lake with its journal; a state folder is both."""
    journals: list[Path] = []
    lakes: list[tuple[str, Path | None]] = []
    for name in paths:
        path = Path(name).expanduser()
        if "://" in name or (path / "_commits").is_dir():
            lakes.append((name, _journal_of(name, config)))
        elif any((path / part).is_dir() for part in ("journal", "lake")) and not (path / "manifest.json").exists():
            place = _places.find([path], config)
            journals += [place.journal] if place.journal else []
            lakes += [(place.lake, place.journal)] if place.lake and _has_commits(place.lake, place.settings) else []
        else:
            journals.append(path)
    return journals, lakes


def _has_commits(lake: str, settings: LakeSettings | None) -> bool:
    """Whether there is a lake yet where the config says."""
    from data_controller.lake.layout import COMMITS
    from data_controller.lake.store import Store

    return any(name.endswith(".json") for name in Store(lake, settings).names(COMMITS))


def _journal_of(lake: str, config: Path | None) -> Path | None:
    """The journal of the config, where that names this lake."""
    settings = load_config(config)
    journal = settings.state_dir / "journal"
    return journal if config is not None and settings.lake.uri == lake and journal.is_dir() else None
