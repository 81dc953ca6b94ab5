"""What the pipeline tells, as rows of tables: features, predictions, audit, fills, orders, gaps and side streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Tell
from data_controller.control import QueueStat
from data_controller.lake.tables import Later, Tables
from data_controller.records import Answer
from data_controller.trading.audit import audit_rows


class TablesOut:
    """Shapes what is told for `lake.tables`; a row of an instrument carries the number of its row in the START's table.

    What is told does not change any more, so its rows are made on the tables' own thread.
    """

    def __init__(self, directory: Path, *, on_error: Callable[..., None] | None = None) -> None:
        self._tables = Tables(directory, on_error=on_error or (lambda table, error: None))
        self._dtypes: dict[tuple[str, tuple[int, ...]], np.dtype[np.void]] = {}

    def tell(self, action: Tell) -> None:
        """Append what `action` holds."""
        table, rows = action.table, action.rows
        if table == "features":
            self._tables.tell(table, Later(len(rows[1]), lambda: self._features(*rows)))
        elif table == "predictions":
            self._tables.tell(table, Later(len(rows[2]), lambda: self._predictions(*rows)))
        elif table == "decisions":
            self._tables.tell("audit", Later(len(rows[3]), lambda: _audit(*rows)))
        else:
            self._tables.tell(table, rows)

    def queue(self) -> QueueStat:
        """How full the queue to the writing thread is, in rows."""
        tables = self._tables
        return QueueStat(name="tables", depth=tables.depth, peak=tables.peak, capacity=tables.capacity)

    def dropped(self) -> int:
        """Rows that no table holds: the queue was full, or the disk refused."""
        return sum(c.dropped + c.refused for c in self._tables.counters.values())

    def close(self) -> None:
        """Write what waits."""
        self._tables.close()

    def _features(
        self, tick_ns: int, mid: NDArray[np.float64], values: NDArray[np.float32], valid: NDArray[np.uint8]
    ) -> NDArray[np.void]:
        n, columns = values.shape
        dtype = self._dtype("features", (columns,))
        out = np.zeros(n, dtype)
        out["tick_ns"], out["instrument"], out["mid"] = tick_ns, np.arange(n), mid
        out["values"], out["valid"] = values, valid
        return out

    def _predictions(self, answer: Answer, outputs: NDArray[np.float32], valid: NDArray[np.uint8]) -> NDArray[np.void]:
        n, horizons, columns = outputs.shape
        out = np.zeros(n, self._dtype("predictions", (horizons, columns)))
        out["tick_ns"], out["instrument"], out["tier"] = answer.tick_ns, np.arange(n), answer.tier[:16].encode()
        out["bundle"] = np.frombuffer(bytes.fromhex(answer.bundle), np.uint8) if answer.bundle else 0
        out["outputs"], out["valid"] = outputs, valid
        return out

    def _dtype(self, table: str, shape: tuple[int, ...]) -> np.dtype[np.void]:
        key = (table, shape)
        if key not in self._dtypes:
            fields: list[Any] = [("tick_ns", "<i8"), ("instrument", "<i4")]
            if table == "features":
                fields += [("mid", "<f8"), ("values", "<f4", shape), ("valid", "<u1", shape)]
            else:
                fields += [("valid", "<u1"), ("tier", "S16"), ("bundle", "<u1", (32,)), ("outputs", "<f4", shape)]
            self._dtypes[key] = np.dtype(fields)
        return self._dtypes[key]


def _audit(
    limits: NDArray[np.void],
    horizons: int,
    config_hash: str,
    decisions: NDArray[np.void],
    answer: Answer | None,
    outputs: NDArray[np.float32] | None,
    values: NDArray[np.float32],
    valid: NDArray[np.uint8],
) -> NDArray[np.void]:
    if outputs is None:
        outputs = np.full((len(values), horizons, 4), np.nan, np.float32)
    bundle = answer.bundle if answer is not None else ""
    return audit_rows(decisions, limits, values, valid, outputs, config_hash, bundle)
