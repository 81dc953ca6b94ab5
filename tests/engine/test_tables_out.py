"""Tables say for each row which instrument and tick it is of, and an audit row what it was judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_controller.actions import Tell
from data_controller.engine.tables_out import TablesOut
from data_controller.lake.tables import read_table
from data_controller.records import Answer
from tests.engine.conftest import Made
from tests.pipeline.recording import eager_config


def test_feature_rows_are_one_an_instrument_and_tick(made: Made) -> None:
    rows = read_table(made.tables, "features")
    ticks = made.recording.pipeline.counters["ticks"]
    assert rows.num_rows == 2 * ticks
    assert rows["instrument"].to_pylist() == [0, 1] * ticks
    assert len(set(rows["tick_ns"].to_pylist())) == ticks
    told = made.recording.told["features"][-1]
    last = rows.slice(rows.num_rows - 2).to_pylist()
    assert np.array_equal(np.array([row["values"] for row in last], np.float32), told[2], equal_nan=True)
    assert np.array_equal(np.array([row["valid"] for row in last], np.uint8), told[3])


def test_prediction_rows_name_the_bundle_and_the_tier(made: Made) -> None:
    rows = read_table(made.tables, "predictions").to_pylist()
    ladder = made.recording.models.ladder
    assert ladder is not None
    assert {bytes(row["bundle"]).hex() for row in rows} == {ladder.bundle.hash}
    assert {bytes(row["tier"]).rstrip(b"\0") for row in rows} == {b"compiled"}
    assert len(rows) == made.recording.pipeline.counters["predictions"]


def test_audit_rows_hold_config_and_limits(made: Made, bundle: Path) -> None:
    rows = read_table(made.tables, "audit").to_pylist()
    config = eager_config(bundle, ["tBTCUSD", "tETHUSD"])
    assert {bytes(row["config_hash"]).hex() for row in rows} == {config.hash}
    assert {row["limit_max_open_positions"] for row in rows} == {config.risk.max_open_positions}
    assert len(rows) == made.recording.pipeline.counters["decisions"]


def test_an_answer_of_no_tier_is_a_row_too(tmp_path: Path) -> None:
    tables = TablesOut(tmp_path)
    answer = Answer(
        tick_ns=5, bundle="", tier="none", failed={"numpy": "broke"}, shape=(2, 1, 4), outputs=b"", valid=b""
    )
    tables.tell(Tell("predictions", (answer, np.full((2, 1, 4), np.nan, np.float32), np.zeros(2, np.uint8))))
    tables.close()
    rows = read_table(tmp_path, "predictions").to_pylist()
    assert [row["valid"] for row in rows] == [0, 0] and tables.dropped() == 0


def test_rows_that_no_table_takes_are_counted_and_told(tmp_path: Path) -> None:
    errors: list[str] = []
    tables = TablesOut(tmp_path, on_error=lambda table, error: errors.append(table))
    (tmp_path / "fills").write_text("a file where the folder belongs")
    tables.tell(Tell("fills", [{"seq": 1}, {"seq": 2}]))
    tables.close()
    assert errors[0] == "fills" and tables.dropped() >= 2


@pytest.mark.parametrize("rows", [0, 3])
def test_the_queue_says_how_full_it_is(tmp_path: Path, rows: int) -> None:
    tables = TablesOut(tmp_path)
    if rows:
        tables.tell(Tell("gaps", [{"seq": i} for i in range(rows)]))
    stat = tables.queue()
    assert stat.peak == rows and stat.capacity > rows
    tables.close()
