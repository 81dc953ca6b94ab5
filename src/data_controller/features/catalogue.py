"""The catalogue: from the declarations the columns, the hash that models bind to, and the page."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from data_controller.features import layout
from data_controller.features.declarations import FEATURES, NORMALISATIONS, Feature
from data_controller.features.parameters import Parameters
from data_controller.features.settings import FeatureSettings

VERSION = 1
"""Raised when the arithmetic of a feature changes while its declaration does not."""

COLUMNS: tuple[str, ...] = tuple(name for feature in FEATURES for name in feature.column_names)
"""Names of the columns of `values` and `valid`, in order."""

N_COLUMNS = len(COLUMNS)

LONGEST_HISTORY_S = max(max(feature.warm_up_s, feature.window_s) for feature in FEATURES)
"""H: a value depends on the book at T - H and on the records after it, and on nothing older."""

_COLUMN = {name: number for number, name in enumerate(COLUMNS)}


def column(name: str) -> int:
    """The column of `name`; KeyError where the catalogue has none."""
    return _COLUMN[name]


def by_column() -> tuple[Feature, ...]:
    """The feature of each column."""
    return tuple(feature for feature in FEATURES for _ in feature.column_names)


def expected_by_column() -> tuple[tuple[float, float], ...]:
    """(low, high) of each column."""
    return tuple(bounds for feature in FEATURES for bounds in feature.expected)


def catalogue_hash(settings: FeatureSettings, parameters: Parameters) -> str:
    """SHA-256, hex, over all that gives a value its meaning: what a model bundle is bound to.

    That is the declarations, the constants of the bins, the content of the parameter file, the grid interval, the
    levels and the order size. The leader's name is left out: `leader_r_5` means the same whoever leads.
    """
    content = {
        "version": VERSION,
        "features": [asdict(feature) for feature in FEATURES],
        "bins": {
            "ring_s": layout.ring_size(LONGEST_HISTORY_S),
            "minute_s": layout.MINUTE_S,
            "return_step_s": layout.RETURN_STEP_S,
            "spread": [layout.SPREAD_BINS, layout.SPREAD_LOW_BPS, layout.SPREAD_HIGH_BPS],
            "bands_bps": [layout.BAND_NARROW_BPS, layout.BAND_WIDE_BPS],
            "sums": [*layout.SUM_NAMES, layout.MAX_LEVELS],
        },
        "parameters": parameters.digest(),
        "grid_interval_s": settings.grid_interval_s,
        "levels": settings.levels,
        "order_size_quote": settings.order_size_quote,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def page() -> str:
    """docs/features.md: the catalogue as a page of Markdown."""
    lines = [
        "# Features",
        "",
        "Made from `data_controller/features/declarations.py` by `catalogue.page()`; a test holds them equal.",
        "",
        f"{len(FEATURES)} names in {N_COLUMNS} columns. A tick T covers (T - W, T]: a record at T belongs to it.",
        "Values are raw float32 in their unit; a model bundle scales them by the declared normalisation.",
        "An invalid value is 0 with a validity bit of 0, never imputed. Warm-up is the count of closed seconds a",
        f"value needs, and also the oldest second it depends on (longest: {LONGEST_HISTORY_S} s). Above `max gap`",
        "(share of the window in which book or trade feed could not be trusted) a value is invalid. A value outside",
        "its expected range stays valid and is counted.",
        "",
        "Sums over a window run in one order, ascending: seconds before the first whole minute, the whole minutes",
        "inside, the seconds after them; so the same records give the same bits however they were batched.",
        "",
        "| # | column | window s | warm-up s | max gap | unit | expected | scale | inputs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, (name, feature, (low, high)) in enumerate(zip(COLUMNS, by_column(), expected_by_column(), strict=True)):
        lines.append(
            f"| {number} | `{name}` | {feature.window_s} | {feature.warm_up_s} | {feature.max_gap_fraction:g} "
            f"| {feature.unit} | {low:g} to {high:g} | {feature.normalisation} | {', '.join(feature.inputs)} |"
        )
    lines += ["", "Scale:", ""]
    lines += [f"- `{code}`: {meaning}." for code, meaning in NORMALISATIONS.items()]
    group = ""
    for feature in FEATURES:
        if feature.group != group:
            group = feature.group
            lines += ["", f"## {group.capitalize()}", ""]
        lines.append(f"- **{feature.name}**: {feature.formula}. Source: {feature.source}.".replace("|", "\\|"))
    return "\n".join(lines) + "\n"
