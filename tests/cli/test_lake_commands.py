"""`compact`, `ls`, `gaps`, `book`, `query` and `verify` over a state folder, as a person calls them."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest

from data_controller.cli._places import time_ns
from data_controller.records import Batch
from tests.cli.test_commands import run
from tests.lake.lake_making import write_journal

MIDNIGHT = "2023-11-15T00:00:00Z"


@pytest.fixture(scope="module")
def state(night: Batch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    write_journal(folder / "journal", night, [300, 900])
    return folder


def test_the_commands_tell_one_story_before_and_after_compaction(state: Path) -> None:
    before = run("book", "bitfinex", "tBTCUSD", "--at", "2023-11-15T00:00:01.5Z", "--in", str(state), "--json").json
    gaps_before = run("gaps", str(state), "--json").json
    assert run("ls", str(state)).code == 2  # no lake yet, and it says what makes one
    done = run("compact", str(state), "--json")
    assert done.code == 0 and done.json["segments"] == 3
    assert run("compact", str(state), "--json").json["segments"] == 0
    after = run("book", "bitfinex", "tBTCUSD", "--at", "2023-11-15T00:00:01.5Z", "--in", str(state), "--json").json
    assert (before.pop("from"), after.pop("from")) == ("journal", "lake")
    assert before == after
    assert after["proof"] == "PROVED" and len(after["bids"]) == 10
    assert run("gaps", str(state), "--json").json == gaps_before
    days = run("ls", str(state), "--json").json["days"]
    assert len(days) == 4 and all(0.9 < day["proved"] <= 1 for day in days)
    assert run("ls", str(state)).out.count("bitfinex") == 4
    checked = run("verify", str(state), "--json")
    assert checked.code == 0 and checked.json["ok"] and len(checked.json["parts"]) == 2


def test_a_book_after_the_last_record_says_that_nobody_was_recording(state: Path) -> None:
    run("compact", str(state))
    found = run("book", "bitfinex", "tETHUSD", "--at", "2023-11-16T00:00:00Z", "--in", str(state), "--json").json
    assert not found["recording"] and found["proof"] == "BROKEN"
    raw = run("book", "bitfinex", "tETHUSD", "--at", MIDNIGHT, "--precision", "R0", "--in", str(state), "--json").json
    assert raw["precision"] == "R0" and raw["recording"] and raw["bids"]
    none = run("book", "bitfinex", "tNONE", "--at", MIDNIGHT, "--in", str(state))
    assert none.code == 1 and "look with `ls`" in none.err


def test_gaps_can_be_narrowed(state: Path) -> None:
    everything = run("gaps", str(state), "--json").json["gaps"]
    mine = run("gaps", str(state), "--instrument", "tBTCUSD", "--since", MIDNIGHT, "--json").json["gaps"]
    assert {gap["cause"] for gap in everything} == {"START", "CLOSED"}
    assert mine and len(mine) < len(everything)
    assert all(gap["instrument"] == "tBTCUSD" and gap["cause"] == "CLOSED" for gap in mine)


def test_a_query_answers_as_table_json_and_csv(state: Path) -> None:
    run("compact", str(state))
    sql = "SELECT instrument, count(*) AS n FROM trades WHERE kind = 'TRADE' GROUP BY 1 ORDER BY 1"
    rows = run("query", sql, "--in", str(state), "--json").json["rows"]
    assert [row["instrument"] for row in rows] == ["tBTCUSD", "tETHUSD"]
    lines = list(csv.reader(io.StringIO(run("query", sql, "--in", str(state), "--csv").out)))
    assert lines == [["instrument", "n"], *([row["instrument"], str(row["n"])] for row in rows)]
    assert "tETHUSD" in run("query", sql, "--in", str(state)).out
    wrong = run("query", "SELECT * FROM nowhere", "--in", str(state))
    assert wrong.code == 1 and "tables here: book" in wrong.err


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("COPY (SELECT 1) TO '{here}/x.csv'", "expected a statement that reads"),
        ("ATTACH '{here}/x.db'", "expected a statement that reads"),
        ("SELECT 1; SELECT 2", "expected one statement, was 2"),
        ("", "expected one statement, was 0"),
    ],
)
def test_a_query_reads_and_is_one(state: Path, sql: str, expected: str) -> None:
    ran = run("query", sql.format(here=state), "--in", str(state))
    assert ran.code == 1 and expected in ran.err
    assert not (state / "x.csv").exists() and not (state / "x.db").exists()


def test_a_query_shows_text_as_it_is(state: Path) -> None:
    out = run("query", "SELECT '[/x][red]a:smile:' AS b", "--in", str(state)).out
    assert "[/x][red]a:smile:" in out
    found = run("query", "SELECT {'a': 'nan'::DOUBLE} AS b", "--in", str(state), "--json").json
    assert found["rows"] == [{"b": {"a": None}}] or found["rows"] == [[{"a": None}]]


@pytest.mark.parametrize("at", ["2026-02-30", "2026-13-45T00:00", "9999-01-01", "1969-12-31"])
def test_a_time_that_does_not_exist_is_wrong_usage(state: Path, at: str) -> None:
    ran = run("book", "bitfinex", "tBTCUSD", "--at", at, "--in", str(state))
    assert ran.code == 2 and "expected a" in ran.err


def test_a_lake_alone_is_verified(state: Path) -> None:
    run("compact", str(state))
    for part in ("journal", "tables"):
        shutil.rmtree(state / part, ignore_errors=True)
    checked = run("verify", str(state), "--json")
    assert checked.code == 0 and checked.json["ok"] and checked.json["files"] > 0


def test_a_folder_with_nothing_in_it_is_told_in_one_line(tmp_path: Path) -> None:
    for command in (("ls",), ("gaps",), ("compact",)):
        ran = run(*command, str(tmp_path))
        assert ran.code == 2 and "expected a state folder, a journal or a lake" in ran.err


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-11-15T00:00:00.000000001Z", 1_700_006_400_000_000_001),
        ("2023-11-15 01:00:00+01:00", 1_700_006_400_000_000_000),
        ("2023-11-15", 1_700_006_400_000_000_000),
        ("1700006400", 1_700_006_400_000_000_000),
        ("1700006400123", 1_700_006_400_123_000_000),
        ("1700006400123456", 1_700_006_400_123_456_000),
        ("1700006400123456789", 1_700_006_400_123_456_789),
    ],
)
def test_times_are_taken_as_they_are_written(text: str, ns: int) -> None:
    assert time_ns(text) == ns


def test_verify_finds_the_lake_and_the_journal_that_a_config_names(night: Batch, tmp_path: Path) -> None:
    state, lake, config = tmp_path / "state", tmp_path / "elsewhere", tmp_path / "config.yaml"
    write_journal(state / "journal", night, [300])
    config.write_text(f"state_dir: {state}\nlake: {{uri: {lake}}}\n")
    before = run("verify", str(state), "-c", str(config), "--json")  # there is no lake yet
    assert before.code == 0 and before.json["ok"] and "parts" not in before.json
    assert run("compact", "-c", str(config)).code == 0
    for named in (str(state), str(lake)):
        checked = run("verify", named, "-c", str(config), "--json").json
        found = checked if named == str(lake) else checked["parts"][1]
        assert (found["lake"], found["journal"]) == (str(lake), str(state / "journal"))
        assert found["ok"] and found["segments_compared"] == 2
