"""One commit's files: side rows in pieces, those of other columns in files of their own, none of them fatal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_controller.engine.verify_lake import same_row
from data_controller.lake import writer
from data_controller.lake.catalogue import Catalogue, Source
from data_controller.lake.layout import Key
from data_controller.lake.store import Store
from data_controller.lake.writer import Draft

KEY = Key("x", "candles", "y", "2026-01-01")


def row(seq: int, **values: Any) -> dict[str, Any]:
    return {"seq": seq, "recv_ns": 10 * seq, "channel": 0, **values}


def written(store: Store, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Draft, int]:
    draft = Draft(store)
    draft.side(KEY, rows)
    draft.finish()
    draft.commit("_commits/0000001-000001.json", Source(kind="journal"), "")
    catalogue = Catalogue(store)
    files = catalogue.files(channel="candles")
    assert sum(file.rows for file in files) == draft.rows.get("x/candles", 0)
    return [one for file in files for one in catalogue.table(file).to_pylist()], draft, len(files)


def test_a_row_that_no_column_takes_is_told_and_the_others_are_written(tmp_path: Path) -> None:
    rows = [row(1, open=1.0), row(2, open=10**25), row(3, open=2.0), row(3, open=3.0)]
    found, draft, _ = written(Store(str(tmp_path)), rows)
    assert [one["open"] for one in found] == [1.0, 2.0, 3.0]
    assert len(draft.damages) == 1 and "record 2" in draft.damages[0]


def test_rows_of_different_columns_stay_in_their_order(tmp_path: Path) -> None:
    rows = [row(1, open=1), row(1, open="two"), row(1, open=3.5), row(1, close=4), row(1, open=5)]
    found, draft, files = written(Store(str(tmp_path)), rows)
    assert [one.get("open") or one.get("close") for one in found] == [1, "two", 3.5, 4, 5]
    assert draft.damages == [] and files > 1


def test_side_rows_are_written_in_pieces_and_not_held_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SIDE_BYTES", 1 << 12)
    monkeypatch.setattr(writer, "PART_BYTES", 1 << 14)
    noise = Path(__file__).read_bytes()
    rows = [row(k // 50, bytes=bytes((b * (k + 3) + k) % 256 for b in noise[:900])) for k in range(100)]
    draft = Draft(Store(str(tmp_path)))
    for one in rows:
        draft.side(KEY, [one])
        assert len(draft._side[KEY]) < 6
    found, _, files = written(Store(str(tmp_path / "lake")), rows)
    assert [one["bytes"] for one in found] == [one["bytes"] for one in rows] and files > 1


def test_a_number_that_is_none_equals_itself() -> None:
    assert same_row({"a": float("nan"), "b": 1}, {"b": 1.0, "a": float("nan"), "c": None})
    assert not same_row({"a": float("nan")}, {"a": 1.0})
    assert not same_row({"a": 1}, {})
