from __future__ import annotations

import numpy as np
import pytest

from data_controller.trading.audit import audit_dtype, audit_rows, rejudge
from data_controller.trading.rows import DECISION, Reason, Verdict
from tests.trading.helpers import T0, Books, S, answer, open_trader, outputs

CONFIG, BUNDLE = "0f" * 32, "ab" * 32


def decided() -> tuple[np.ndarray, np.ndarray]:
    """Audit rows of a tick with an accepted, a refused and an edgeless decision, then of a stop; and the features."""
    books = Books(3)
    for i in range(3):
        books.put(i, [(99.99, 50.0)], [(100.01, 50.0)], i != 1)
    trader = open_trader(3)
    out = np.concatenate([outputs(mean=20, p_up=0.9), outputs(mean=20, p_up=0.9), outputs(mean=0, p_up=0.5)])
    features = np.arange(15, dtype=np.float32).reshape(3, 5)
    valid = (features % 2).astype(np.uint8)
    rows = [audit_rows(answer(trader, books, out), trader.limits, features, valid, out, CONFIG, BUNDLE)]
    trader.on_time(2, trader.next_due_ns, *books.view)
    stop = trader.on_watch(0, int(Reason.STOP), 3, T0 + S, *books.view)
    rows.append(audit_rows(stop, trader.limits, features, valid, out, CONFIG, BUNDLE))
    return np.concatenate(rows), features


def test_a_row_holds_the_decision_its_limits_hashes_and_vectors() -> None:
    rows, features = decided()
    assert rows["verdict"].tolist() == [Verdict.ACCEPTED, Verdict.REFUSED_BOOK, Verdict.NO_EDGE, Verdict.ACCEPTED]
    assert rows["features"][:3].tolist() == features.tolist()
    assert rows["features_valid"][1].tolist() == [1, 0, 1, 0, 1]
    assert rows["outputs"][0, 0].tolist() == outputs(mean=20, p_up=0.9)[0, 0].tolist()
    assert rows["limit_max_spread_bps"].tolist() == [20.0] * 4
    assert rows["config_hash"][0].tobytes().hex() == CONFIG
    assert rows["bundle_hash"][3].tobytes().hex() == BUNDLE


def test_an_exit_without_a_forecast_claims_no_features() -> None:
    rows, _ = decided()
    stop = rows[3]
    assert stop["reason"] == Reason.STOP
    assert np.isnan(stop["features"]).all() and np.isnan(stop["outputs"]).all()
    assert not stop["features_valid"].any()


def test_the_verdict_can_be_recomputed_from_the_row_alone() -> None:
    rows, _ = decided()
    assert rejudge(rows).tolist() == rows["verdict"].tolist()
    rows["ev_bps"][0] = 0.1
    assert rejudge(rows).tolist() == [Verdict.NO_EDGE, *rows["verdict"][1:].tolist()]


def test_the_table_has_every_field_of_a_decision() -> None:
    names = audit_dtype(5, 2).names
    assert names is not None
    assert set(DECISION.names) <= set(names)


@pytest.mark.parametrize("digest", ["xyz", "ab", "ab" * 33])
def test_a_hash_that_is_no_hash_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match=r"non-hexadecimal|expected a SHA-256"):
        audit_rows(
            np.zeros(0, DECISION),
            open_trader().limits,
            np.zeros((1, 2), np.float32),
            np.zeros((1, 2), np.uint8),
            np.zeros((1, 1, 4), np.float32),
            digest,
            BUNDLE,
        )
