"""The feature engine's arrays, owned in one place; the compiled loop takes them as arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.errors import ConfigError
from data_controller.features import catalogue, layout
from data_controller.features.parameters import Parameters
from data_controller.features.settings import FeatureSettings


class FeatureState:
    """Accumulators, rings and the tick's output for a growing number of instruments; row i is instrument i."""

    acc: NDArray[np.void]  # [instruments] layout.ACC
    closed: NDArray[np.void]  # [instruments] layout.ACC, as the last second left it
    bins: NDArray[np.void]  # [instruments] layout.bins_dtype
    hist: NDArray[np.void]  # [instruments] layout.HIST
    obs: NDArray[np.void]  # [instruments] layout.obs_dtype
    params: NDArray[np.void]  # [1] layout.params_dtype
    values: NDArray[np.float32]  # [instruments, columns] raw, 0 where invalid
    valid: NDArray[np.uint8]  # [instruments, columns]

    def __init__(self, n_instruments: int, settings: FeatureSettings, parameters: Parameters) -> None:
        """ConfigError where the settings ask for more levels than the parameters have weights."""
        self.catalogue_hash = catalogue.catalogue_hash(settings, parameters)
        self.params = make_params(settings, parameters)
        self._bins_dtype = layout.bins_dtype(layout.ring_size(catalogue.LONGEST_HISTORY_S))
        self._obs_dtype = layout.obs_dtype(catalogue.N_COLUMNS)
        self._allocate(n_instruments)

    def _allocate(self, n: int) -> None:
        self.acc = _touched(n, layout.ACC)
        self.closed = _touched(n, layout.ACC)
        self.bins = _touched(n, self._bins_dtype)
        self.hist = _touched(n, layout.HIST)
        self.obs = _touched(n, self._obs_dtype)
        self.values = np.zeros((n, catalogue.N_COLUMNS), np.float32)
        self.valid = np.zeros((n, catalogue.N_COLUMNS), np.uint8)

    def grow(self, n_instruments: int) -> None:
        """Room for `n_instruments`, old rows kept. Replaces the arrays: do it between two steps, never inside one."""
        old = self._arrays()
        rows = len(self.acc)
        if n_instruments <= rows:
            return
        self._allocate(n_instruments)
        for new, kept in zip(self._arrays(), old, strict=True):
            new[:rows] = kept

    def reset(self) -> None:
        """Forget everything seen, as at a start; parameters and the leader stay."""
        self._allocate(len(self.acc))

    def lead(self, instrument: int) -> None:
        """Make row `instrument` the leader of `leader_r_5`, -1 none."""
        self.params["leader"] = instrument

    def bin(self, instrument: int, second: int) -> NDArray[np.void]:
        """A copy of one closed second as a layout.BIN record; KeyError where the ring does not hold it."""
        ring = self.bins[instrument]
        if not ring["newest"] or not ring["first"] <= second <= ring["newest"]:
            raise KeyError(second)
        cell = second % len(ring["log_mid"])
        row = np.zeros((), layout.BIN)
        row["second"] = second
        for name in ("log_mid", "mid_high", "mid_low"):
            row[name] = ring[name][cell]
        row["sums"] = ring["sums"][:, cell]
        return row

    def abnormal(self) -> dict[str, int]:
        """Valid values outside their expected range so far, by column, over all instruments."""
        counts = self.obs["abnormal"].sum(axis=0)
        return {name: int(count) for name, count in zip(catalogue.COLUMNS, counts, strict=True)}

    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.acc, self.closed, self.bins, self.hist, self.obs, self.values, self.valid


def _touched(n: int, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Zeros whose memory is there: pages first touched at the first tick would hold it for a quarter of a second."""
    array: NDArray[np.void] = np.empty(n, dtype)
    array.view(np.uint8).fill(0)
    return array


def make_params(settings: FeatureSettings, parameters: Parameters) -> NDArray[np.void]:
    """The kernels' parameter record, [1], without a leader."""
    weights = np.array(parameters.integrated_ofi_weights[: settings.levels])
    if len(weights) < settings.levels:
        raise ConfigError(
            f"expected at least {settings.levels} integrated_ofi_weights (`features.levels`), was {len(weights)} "
            f"in parameters {parameters.revision!r}"
        )
    norm = float(np.abs(weights).sum())
    if not norm > 0.0:
        raise ConfigError(
            f"expected a weight other than 0 among the first {settings.levels} integrated_ofi_weights "
            f"(`features.levels`), was {weights.tolist()} in parameters {parameters.revision!r}"
        )
    params = np.zeros(1, layout.params_dtype(catalogue.N_COLUMNS))
    p = params[0]
    p["order_size_quote"] = settings.order_size_quote
    p["leader"] = -1
    p["levels"] = settings.levels
    params["weights"][0, : settings.levels] = weights / norm
    table = np.array(parameters.table_half_spreads)
    p["micro_states"], p["micro_buckets"] = table.shape
    params["micro_edges_bps"][0, : len(parameters.spread_edges_bps)] = parameters.spread_edges_bps
    params["micro_table"][0, : table.shape[0], : table.shape[1]] = table
    params["warm_up_s"][0] = [feature.warm_up_s for feature in catalogue.by_column()]
    params["window"][0] = [
        layout.WINDOWS_S.index(feature.window_s) if feature.window_s else -1 for feature in catalogue.by_column()
    ]
    params["needs_book"][0] = ["book" in feature.inputs for feature in catalogue.by_column()]
    params["needs_trades"][0] = ["trades" in feature.inputs for feature in catalogue.by_column()]
    params["max_gap_fraction"][0] = [feature.max_gap_fraction for feature in catalogue.by_column()]
    params["low"][0], params["high"][0] = np.array(catalogue.expected_by_column()).T
    return params
