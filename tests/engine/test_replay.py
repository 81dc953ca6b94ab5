"""Replay from disk: what live computed, the tables it wrote, damage raised, and the real captures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_controller.engine.replay import replay
from data_controller.engine.summary import summary_of
from data_controller.engine.verify import verify
from data_controller.errors import JournalCorrupt, JournalError
from data_controller.journal.reader import segments_of
from data_controller.lake.importers import import_cryptofeed, import_frames
from data_controller.lake.tables import read_table
from tests.engine.conftest import Made
from tests.pipeline.recording import eager_bundle, eager_config

SHARED = Path(__file__).parents[3] / "shared" / "data" / "raw_ws" / "bitfinex"
CAPTURE = SHARED / "cryptofeed_2021-04-05" / "BITFINEX-58bafb.0.gz"
R0_CAPTURE = SHARED / "nautilus_R0_2021-03" / "L3_feed.json.gz"
TABLES = ("features", "predictions", "audit", "fills", "tickers")


def real(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason="the real captures are not beside this checkout")


def test_a_replay_from_disk_equals_the_run_and_writes_its_tables(made: Made, tmp_path: Path) -> None:
    seen: list[int] = []
    again = replay([made.journal], out=tmp_path / "out", on_progress=seen.append)
    live = summary_of(made.recording.pipeline)
    assert again["digest"] == live["digest"]
    assert {key: again[key] for key in live} == live
    assert sum(seen) == len(made.recording.batch.recv_ns)
    assert again["wire_to_decision_us"] is None and again["journal_bytes"] > 0
    told = [table for table in TABLES if table in {"decisions": "audit"} | dict.fromkeys(made.recording.told)]
    assert "features" in told and "fills" in told
    for table in (*told, "audit"):
        mine, theirs = read_table(made.tables, table).to_pylist(), read_table(tmp_path / "out", table).to_pylist()
        assert len(mine) > 0
        assert repr(mine) == repr(theirs), table


def test_segments_one_by_one_are_the_journal(made: Made) -> None:
    files = segments_of(made.journal)
    assert len(files) > 1
    assert replay(files)["digest"] == replay([made.journal])["digest"]


def test_another_config_changes_decisions_and_nothing_before_them(made: Made, bundle: Path) -> None:
    dearer = eager_config(bundle, ["tBTCUSD", "tETHUSD"], trading={"fee_bps": 30.0, "allow_short": True})
    mine, theirs = replay([made.journal]), replay([made.journal], config=dearer)
    assert theirs["digest"]["decisions"] != mine["digest"]["decisions"]
    assert all(
        theirs["digest"][name] == mine["digest"][name] for name in ("events", "books", "features", "predictions")
    )


def test_another_bundle_is_counted_as_differing(made: Made, tmp_path: Path) -> None:
    other = eager_bundle(tmp_path / "other", nudge=0.5)
    again = replay([made.journal], config=eager_config(other, ["tBTCUSD", "tETHUSD"]))
    assert again["predictions_differ"] > 0
    assert again["digest"]["predictions"] != replay([made.journal])["digest"]["predictions"]


def damaged(made: Made, folder: Path) -> Path:
    """A copy of the journal with one byte of its second segment's middle flipped."""
    folder.mkdir()
    for path in made.journal.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    path = segments_of(folder)[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    return folder


def test_damage_is_raised_by_replay_and_reported_by_verify(made: Made, tmp_path: Path) -> None:
    journal = damaged(made, tmp_path / "damaged")
    with pytest.raises(JournalCorrupt):
        replay([journal])
    report = verify([journal])
    assert report["ok"] is False
    assert len(report["damages"]) >= 1 and segments_of(journal)[1].name in report["damages"][0]
    assert report["records"] < len(made.recording.batch.recv_ns)


def test_a_whole_journal_verifies(made: Made) -> None:
    report = verify([made.journal])
    live = summary_of(made.recording.pipeline)
    assert report["ok"] is True and report["damages"] == []
    assert (report["checksums_ok"], report["frames"]) == (live["checksums_ok"], live["frames"])
    assert {book["proof"] for book in report["books"]} == {"PROVED"} and len(report["books"]) == 4


def test_no_journal_is_an_error_that_says_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(JournalError, match="expected a journal"):
            replay([path])
        with pytest.raises(JournalError, match="expected a journal"):
            verify([path])


@real(CAPTURE)
def test_the_real_capture_is_imported_verified_and_replayed(tmp_path: Path) -> None:
    import_cryptofeed(CAPTURE, "bitfinex", tmp_path / "j")
    report = verify([tmp_path / "j"])
    assert report["ok"]
    assert (report["array_frames"], report["instruments"]) == (22_649, 8)
    assert (report["sequence_gaps"], report["unknown_deletes"], report["crossed"], report["checksums_bad"]) == (0,) * 4
    assert {book["proof"] for book in report["books"]} == {"PROVED"}, "by sequence: this capture has no checksums"
    summary = replay([tmp_path / "j"], out=tmp_path / "out")
    assert summary["trade_updates_dropped"] == 8
    assert summary["trades"] == 8, "8 te and 8 tu are 8 trades; those of snapshots are history"
    assert summary["books_proved"] == 8
    features = read_table(tmp_path / "out", "features")
    rows = np.array(features["instrument"].to_pylist())
    assert set(rows.tolist()) == set(range(8))
    assert summary["feature_rows"] == len(rows)
    usable = np.array(features["valid"].to_pylist()).any(axis=1)
    assert set(rows[usable].tolist()) == set(range(8)), "every instrument has features that may be used"


@real(R0_CAPTURE)
def test_the_real_order_by_order_capture_replays_without_an_unknown_delete(tmp_path: Path) -> None:
    import_frames(R0_CAPTURE, "bitfinex", tmp_path / "j")
    report = verify([tmp_path / "j"])
    assert report["unknown_deletes"] == 0
    assert report["frames"] > 24_907
