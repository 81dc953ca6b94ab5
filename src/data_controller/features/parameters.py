"""The versioned file of fitted parameters: weights of integrated OFI and the microprice's table."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from data_controller.errors import ConfigError
from data_controller.features.layout import MAX_IMBALANCE_BUCKETS, MAX_LEVELS, MAX_SPREAD_STATES

FORMAT = 1
_LARGEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Parameters:
    """Fitted on training days only; the plain default is fitted on nothing."""

    revision: str
    fitted_on: str
    integrated_ofi_weights: tuple[float, ...]  # best level first
    spread_edges_bps: tuple[float, ...]  # ascending; spread state = number of edges <= spread
    table_half_spreads: tuple[tuple[float, ...], ...]  # [spread state][bucket of qb / (qb + qa)], half spreads

    def digest(self) -> str:
        """SHA-256 of the content: the same for files that differ in layout only."""
        content = [
            self.revision,
            self.fitted_on,
            self.integrated_ofi_weights,
            self.spread_edges_bps,
            self.table_half_spreads,
        ]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def load_parameters(path: Path | None = None) -> Parameters:
    """The parameters in `path`, or the plain default; ConfigError where the file is missing or not as it must be."""
    if path is None:
        default = resources.files("data_controller.features") / "default_parameters.json"
        return parse(default.read_bytes(), "default_parameters.json")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"expected a parameter file at {path}, was {error.strerror} (`features.parameters`)"
        ) from error
    return parse(data, str(path))


def parse(data: bytes, origin: str) -> Parameters:
    """The parameters in `data`; `origin` names them in a ConfigError."""
    if len(data) > _LARGEST_BYTES:
        raise ConfigError(f"{origin}: expected at most {_LARGEST_BYTES} bytes, was {len(data)}")
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: expected JSON, was unreadable: {error}") from error
    _keys(tree, {"format", "revision", "fitted_on", "integrated_ofi_weights", "microprice"}, origin)
    if type(tree["format"]) is not int or tree["format"] != FORMAT:
        raise ConfigError(f"{origin}: expected format {FORMAT}, was {tree['format']!r}; fit the file again")
    _keys(tree["microprice"], {"spread_edges_bps", "table_half_spreads"}, f"{origin}: microprice")
    weights = _numbers(tree["integrated_ofi_weights"], f"{origin}: integrated_ofi_weights", 1, MAX_LEVELS)
    edges = _numbers(tree["microprice"]["spread_edges_bps"], f"{origin}: spread_edges_bps", 0, MAX_SPREAD_STATES - 1)
    if any(low >= high for low, high in itertools.pairwise(edges)) or any(edge <= 0.0 for edge in edges):
        raise ConfigError(f"{origin}: expected spread_edges_bps above 0 and ascending, was {list(edges)}")
    table = _table(tree["microprice"]["table_half_spreads"], len(edges) + 1, origin)
    if not sum(abs(weight) for weight in weights) > 0.0:
        raise ConfigError(f"{origin}: expected a weight other than 0 in integrated_ofi_weights, was {list(weights)}")
    return Parameters(_text(tree, "revision", origin), _text(tree, "fitted_on", origin), weights, edges, table)


def _table(rows: Any, states: int, origin: str) -> tuple[tuple[float, ...], ...]:
    where = f"{origin}: table_half_spreads"
    if not isinstance(rows, list) or len(rows) != states:
        found = len(rows) if isinstance(rows, list) else type(rows).__name__
        raise ConfigError(f"{where}: expected {states} rows (spread_edges_bps + 1), was {found}")
    table = tuple(_numbers(row, where, 2, MAX_IMBALANCE_BUCKETS) for row in rows)
    if len({len(row) for row in table}) != 1:
        raise ConfigError(f"{where}: expected rows of one length, was {[len(row) for row in table]}")
    return table


def _keys(tree: Any, expected: set[str], where: str) -> None:
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: expected an object, was {type(tree).__name__}")
    if set(tree) != expected:
        raise ConfigError(f"{where}: expected the keys {sorted(expected)}, was {sorted(tree)}")


def _numbers(values: Any, where: str, least: int, most: int) -> tuple[float, ...]:
    if not isinstance(values, list) or not least <= len(values) <= most:
        found = f"{len(values)}" if isinstance(values, list) else type(values).__name__
        raise ConfigError(f"{where}: expected a list of {least} to {most} numbers, was {found}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e6:
            raise ConfigError(f"{where}: expected numbers between -1e6 and 1e6, was {value!r}")
    return tuple(float(value) for value in values)


def _text(tree: dict[str, Any], key: str, origin: str) -> str:
    value = tree[key]
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{origin}: expected text in {key}, was {value!r}")
    return value
