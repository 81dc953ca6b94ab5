"""Rows of the audit table: each decision with what it rested on, so that the verdict can be recomputed from its row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.trading.gate import judge
from data_controller.trading.rows import DECISION, LIMITS

TABLE = "audit"
HASH_BYTES = 32

_DECISION_FIELDS = DECISION.names or ()


def audit_dtype(n_features: int, n_horizons: int) -> np.dtype[np.void]:
    """Columns of the audit table: DECISION, the limits in force, hashes, and the vectors that were predicted from.

    `features` are raw float32 of the last step of the window with `features_valid` beside them; `outputs` is float32
    [horizons, 4]. The hashes are raw SHA-256. Vectors of exits that used no forecast are NaN and invalid.
    """
    return np.dtype(
        [(name, DECISION[name]) for name in _DECISION_FIELDS]
        + [(f"limit_{name}", LIMITS[name]) for name in LIMITS.names or ()]
        + [
            ("config_hash", "<u1", (HASH_BYTES,)),
            ("bundle_hash", "<u1", (HASH_BYTES,)),
            ("features", "<f4", (n_features,)),
            ("features_valid", "<u1", (n_features,)),
            ("outputs", "<f4", (n_horizons, 4)),
        ]
    )


def audit_rows(
    decisions: NDArray[np.void],
    limits: NDArray[np.void],
    features: NDArray[np.float32],
    features_valid: NDArray[np.uint8],
    outputs: NDArray[np.float32],
    config_hash: str,
    bundle_hash: str,
) -> NDArray[np.void]:
    """`decisions` (DECISION, of one Trader call) as rows of `audit_dtype`, a copy.

    `limits` is LIMITS [1]; `features` and `features_valid` are [instruments, features], `outputs` [instruments,
    horizons, 4]: what the decisions used. The hashes are hexadecimal SHA-256, or empty; ValueError on others.
    """
    rows = np.zeros(len(decisions), audit_dtype(features.shape[1], outputs.shape[1]))
    for name in _DECISION_FIELDS:
        rows[name] = decisions[name]
    for name in LIMITS.names or ():
        rows[f"limit_{name}"] = limits[name][0]
    rows["config_hash"] = _raw(config_hash)
    rows["bundle_hash"] = _raw(bundle_hash)
    rows["features"] = np.nan
    rows["outputs"] = np.nan
    used = decisions["tick_ns"] != 0
    instruments = decisions["instrument"][used]
    rows["features"][used] = features[instruments]
    rows["features_valid"][used] = features_valid[instruments]
    rows["outputs"][used] = outputs[instruments]
    return rows


def rejudge(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    """The verdicts that the gate gives on the figures in audit `rows` alone; exits are accepted without a gate."""
    decision = np.zeros(1, DECISION)
    limits = np.zeros(1, LIMITS)
    verdicts: NDArray[np.uint8] = np.zeros(len(rows), np.uint8)
    for k, row in enumerate(rows):
        _copy(decision, row, _DECISION_FIELDS, "")
        _copy(limits, row, LIMITS.names or (), "limit_")
        verdicts[k] = row["verdict"] if row["leg"] == 1 else judge(decision[0], limits[0])
    return verdicts


def _copy(target: NDArray[np.void], row: Any, names: tuple[str, ...], prefix: str) -> None:
    for name in names:
        target[name] = row[prefix + name]


def _raw(digest: str) -> NDArray[np.uint8]:
    if not digest:
        return np.zeros(HASH_BYTES, np.uint8)
    raw = bytes.fromhex(digest)
    if len(raw) != HASH_BYTES:
        raise ValueError(f"expected a SHA-256 of {HASH_BYTES} bytes, was {len(raw)}")
    return np.frombuffer(raw, np.uint8)
