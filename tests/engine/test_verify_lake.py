"""Verify of a lake: finds one flipped bit, one missing segment, one row out of order, and names file and row."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from data_controller.engine.compact import JOURNAL_ID, Compactor, compact
from data_controller.engine.kept import FOLDER
from data_controller.engine.verify import verify
from data_controller.engine.verify_lake import level_problems, verify_lake
from data_controller.errors import LakeError
from data_controller.lake.catalogue import Catalogue, Commit, File, sealed
from data_controller.lake.layout import EVENT_SCHEMA, Key, event_table, parquet_options
from data_controller.lake.settings import LakeSettings
from data_controller.lake.store import Store
from data_controller.market.layout import LEVEL
from data_controller.market.rows import Kind
from tests.engine.test_compact import journal, lose_first, night, upgrade  # noqa: F401 - fixtures


@pytest.fixture
def lake(journal: Path) -> Store:  # noqa: F811
    store = Store(str(journal.parent / "lake"))
    with Compactor(journal, store, commit_bytes=1) as compactor:
        compactor.run()
    return store


def test_a_lake_as_it_was_made_is_proved_against_its_journal_and_without_it(lake: Store, tmp_path: Path) -> None:
    result = verify_lake(lake.uri)
    assert result["ok"] and result["doubts"] == []
    assert result["checksums_ok"] > 50 and result["checksums_bad"] == 0
    assert result["segments_compared"] == 7 and result["rows_compared"] == result["rows"]
    Path(lake.root).rename(tmp_path / "moved")
    alone = verify_lake(str(tmp_path / "moved"))
    assert alone["ok"] and alone["segments_compared"] == 0


def test_one_flipped_bit_of_a_file_is_found_and_named(lake: Store) -> None:
    file = Catalogue(lake).files(channel="trades")[0]
    content = bytearray(lake.read(file.path).to_pybytes())
    content[len(content) // 2] ^= 4
    lake.put(file.path, bytes(content))
    result = verify_lake(lake.uri)
    assert not result["ok"]
    assert {doubt["file"] for doubt in result["doubts"]} == {file.path}
    assert "SHA-256" in result["doubts"][0]["what"]
    with pytest.raises(LakeError, match="expected the bytes that were committed"):
        Catalogue(lake).events(file)


def test_a_missing_file_is_found_and_named(lake: Store) -> None:
    file = Catalogue(lake).files(channel="book")[-1]
    lake.remove(file.path)
    result = verify_lake(lake.uri)
    assert not result["ok"]
    assert file.path in [doubt.get("file") for doubt in result["doubts"]]


def forge(store: Store, file: File, rows: NDArray[np.void]) -> None:
    """Put other rows into `file`, and make its commit agree: only what rows mean can tell."""
    key = Key(
        file.exchange, file.channel, file.instrument, file.date, file.precision, file.frequency, file.length, file.row
    )
    sink = pa.BufferOutputStream()
    pq.write_table(event_table(rows, key), sink, **parquet_options(EVENT_SCHEMA, True))
    content = sink.getvalue()
    store.put(file.path, content)
    for name, commit in Catalogue(store).commits.items():
        files = [
            msgspec.structs.replace(f, sha256=hashlib.sha256(content).hexdigest(), rows=len(rows))
            if f.path == file.path
            else f
            for f in commit.files
        ]
        store.put(name, sealed(msgspec.structs.replace(commit, files=files)))


def swap(rows: NDArray[np.void], at: int) -> NDArray[np.void]:
    rows = rows.copy()
    rows[[at, at + 1]] = rows[[at + 1, at]]
    return rows


def test_one_row_out_of_order_is_found_and_its_file_and_row_are_named(lake: Store) -> None:
    catalogue = Catalogue(lake)
    file = catalogue.files(channel="trades")[0]
    rows = catalogue.events(file)
    at = int(np.flatnonzero(np.diff(rows["seq"]) > 0)[3])
    forge(lake, file, swap(rows, at))
    result = verify_lake(lake.uri)
    assert not result["ok"]
    assert {"file": file.path, "row": at + 1} in [{k: d.get(k) for k in ("file", "row")} for d in result["doubts"]]


@pytest.mark.parametrize("change", ["order", "size"])
def test_a_row_of_a_file_that_is_not_what_was_committed_is_named(lake: Store, change: str) -> None:
    catalogue = Catalogue(lake)
    file = catalogue.files(channel="trades")[0]
    rows = catalogue.events(file)
    at = int(np.flatnonzero(np.diff(rows["seq"]) > 0)[3])
    wrong = swap(rows, at) if change == "order" else rows.copy()
    wrong["size"][at + 1] += change == "size"
    commits = {name: lake.read(name).to_pybytes() for name in catalogue.commits}
    forge(lake, file, wrong)
    for name, content in commits.items():
        lake.put(name, content)
    doubts = verify_lake(lake.uri)["doubts"]
    assert "SHA-256" in doubts[0]["what"] and doubts[0]["file"] == file.path
    named = [doubt["row"] for doubt in doubts if doubt["file"] == file.path]
    assert at + 1 in named


def test_a_size_that_was_changed_fails_the_exchanges_own_checksum(lake: Store, tmp_path: Path) -> None:
    catalogue = Catalogue(lake)
    file = catalogue.files(channel="book", precision="P0", instrument="tBTCUSD")[0]
    rows = catalogue.events(file)
    before_check = int(np.flatnonzero(rows["kind"] == Kind.CHECK)[2])
    last = int(np.flatnonzero((rows["kind"] == Kind.SET) & (rows["size"] > 0))[:before_check][0])
    wrong = rows.copy()
    best = [k for k in range(before_check) if rows["kind"][k] == Kind.SET and rows["size"][k] > 0]
    for k in best[-3:]:
        wrong["size"][k] += 1
    assert last >= 0
    forge(lake, file, wrong)
    result = verify_lake(lake.uri)
    named = [doubt for doubt in result["doubts"] if doubt.get("file") == file.path]
    assert any("journal" in doubt["what"] and doubt["row"] == best[-3] for doubt in named)
    Path(lake.root).rename(tmp_path / "moved")  # no journal beside it any more: the checksums alone
    alone = verify_lake(str(tmp_path / "moved"))
    assert alone["checksums_bad"] >= 1
    assert any("checksums" in doubt["what"] and doubt["file"] == file.path for doubt in alone["doubts"])


def test_a_missing_commit_is_a_hole_in_the_run(lake: Store) -> None:
    names = sorted(Catalogue(lake).commits)
    lake.remove(names[1])
    result = verify_lake(lake.uri)
    assert not result["ok"] and any("missing between" in doubt["what"] for doubt in result["doubts"])


def test_a_commit_that_was_changed_is_found(lake: Store) -> None:
    name = sorted(Catalogue(lake).commits)[0]
    lake.put(name, lake.read(name).to_pybytes().replace(b'"rows": ', b'"rows": 1', 1))
    with pytest.raises(LakeError, match="seal"):
        Catalogue(lake)
    result = verify_lake(lake.uri)
    assert not result["ok"] and any(name in doubt["what"] for doubt in result["doubts"])


def test_segments_that_retention_took_are_expired_and_no_doubt(journal: Path, lake: Store) -> None:  # noqa: F811
    compact(journal, lake.uri, LakeSettings(journal_disk_budget_bytes=1))
    result = verify_lake(lake.uri)
    assert result["ok"] and result["segments_compared"] == 0 and result["segments_expired"] == 7


def test_segments_behind_those_that_went_are_still_compared(journal: Path, lake: Store) -> None:  # noqa: F811
    lose_first(journal, 3)
    result = verify_lake(lake.uri)
    assert result["ok"] and result["warnings"] == []
    counts = [result[f"segments_{what}"] for what in ("compared", "expired", "not_compared")]
    assert counts == [4, 3, 0] and result["rows_compared"] > 100
    file = Catalogue(lake).files(channel="trades")[-1]
    forge(lake, file, Catalogue(lake).events(file)[:-1])
    assert any("more rows" in doubt["what"] for doubt in verify_lake(lake.uri)["doubts"])


def test_segments_that_cannot_be_compared_any_more_are_counted_and_said(journal: Path, lake: Store) -> None:  # noqa: F811
    lose_first(journal, 3)
    upgrade(journal)
    result = verify_lake(lake.uri)
    counts = [result[f"segments_{what}"] for what in ("compared", "expired", "not_compared")]
    assert result["ok"] and counts == [0, 3, 4]
    assert len(result["warnings"]) == 1 and "4 segments from" in result["warnings"][0]


def test_a_lake_that_lies_elsewhere_is_compared_with_the_journal_that_is_named(
    journal: Path,  # noqa: F811
    lake: Store,
    tmp_path: Path,
) -> None:
    Path(lake.root).rename(tmp_path / "moved")
    uri = str(tmp_path / "moved")
    assert verify_lake(uri)["journal"] is None
    assert verify_lake(uri, None, journal)["segments_compared"] == 7
    (journal / FOLDER / JOURNAL_ID).unlink()
    (journal / FOLDER / JOURNAL_ID).write_text("another")
    assert any("was one of another" in doubt["what"] for doubt in verify_lake(uri, None, journal)["doubts"])


def test_a_missing_segment_and_a_flipped_bit_of_the_journal_are_named(journal: Path) -> None:  # noqa: F811
    paths = sorted(journal.glob("journal-*.arrows"))
    assert verify([journal])["ok"] and verify([journal])["segments_hashed"] == 7
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    paths[1].unlink()
    paths[1].write_bytes(content)
    changed = verify([journal])
    assert not changed["ok"] and any(paths[1].name in text and "SHA-256" in text for text in changed["damages"])
    paths[2].unlink()
    missing = verify([journal])
    assert not missing["ok"] and any(paths[2].name in text and "missing" in text for text in missing["damages"])


def test_a_place_without_commits_is_no_lake(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="without commits"):
        verify_lake(str(tmp_path))


def levels(*pairs: tuple[float, float]) -> NDArray[Any]:
    rows = np.zeros(len(pairs), LEVEL)
    rows["price"], rows["size"] = [p for p, _ in pairs], [s for _, s in pairs]
    return rows


def test_levels_must_be_positive_and_ordered() -> None:
    good = levels((3.0, 1.0), (2.0, 1.0)), levels((4.0, 1.0), (5.0, 1.0))
    assert level_problems(*good) == []
    assert level_problems(good[1], good[0]) == ["the bids are not in order", "the asks are not in order"]
    assert level_problems(levels((3.0, 0.0)), good[1]) != []


def test_a_commit_of_another_job_is_read_though_it_says_less(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    path = "exchange=binance/channel=candles/instrument=BTC%2FUSDT/date=2026-01-01/backfill-1.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"open_ns": [1, 2]}), sink)
    content = sink.getvalue()
    store.put(path, content)
    digest = hashlib.sha256(content).hexdigest()
    other = {"path": path, "sha256": digest, "rows": 2, "first_key": 1, "last_key": 2}
    commit = {"version": 1, "source": {"kind": "backfill", "what": "candles"}, "files": [other]}
    store.put("_commits/backfill-1.json", msgspec.json.encode(commit))
    catalogue = Catalogue(store)
    (file,) = catalogue.files(channel="candles", exchange="binance")
    assert (file.instrument, file.date, file.events) == ("BTC/USDT", "2026-01-01", False)
    assert isinstance(next(iter(catalogue.commits.values())), Commit)
    assert verify_lake(store.uri)["ok"]
