"""Books and gaps while an engine runs: what is not in the lake yet comes from the journal, and is read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_controller.engine.book_at import book_at
from data_controller.engine.compact import Compactor, compact
from data_controller.engine.gaps import all_gaps
from data_controller.engine.tail import tails
from data_controller.errors import LakeError
from data_controller.journal import manifest as manifests
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.store import Store
from data_controller.records import Batch
from tests.engine.test_compact import journal, lose_first, night, upgrade  # noqa: F401 - fixtures
from tests.lake.lake_making import write_journal


@pytest.fixture
def behind(journal: Path) -> Catalogue:  # noqa: F811
    """A lake that has all but the last two segments."""
    store = Store(str(journal.parent / "lake"))
    with Compactor(journal, store, commit_bytes=1) as compactor:
        for _ in range(5):
            compactor.step()
    return Catalogue(store)


def test_with_the_start_of_a_run_gone_books_and_gaps_are_those_of_the_whole_journal(
    night: Batch,  # noqa: F811
    journal: Path,  # noqa: F811
    behind: Catalogue,
) -> None:
    at_ns = int(night.recv_ns[-50])
    book, gaps = book_at("bitfinex", "tBTCUSD", at_ns, journal=journal), all_gaps(None, journal)
    assert book["proof"] == "PROVED" and len(gaps) == 12
    lose_first(journal, 2)
    decoded: list[int] = []
    assert all_gaps(behind, journal, decoded.append) == gaps
    manifest = manifests.load(journal)
    assert manifest is not None
    assert sum(decoded) == sum(entry.records for entry in manifest.segments[-2:])
    assert book_at("bitfinex", "tBTCUSD", at_ns, catalogue=behind, journal=journal) == book


def test_after_an_upgrade_the_last_book_of_the_lake_is_not_passed_off_as_that_of_now(
    night: Batch,  # noqa: F811
    journal: Path,  # noqa: F811
    behind: Catalogue,
) -> None:
    lose_first(journal, 2)
    upgrade(journal)
    found = book_at("bitfinex", "tBTCUSD", int(night.recv_ns[-50]), catalogue=behind, journal=journal)
    assert (found["from"], found["recording"]) == ("lake", False)
    assert [gap for gap in all_gaps(behind, journal) if gap.cause == "CLOSED"]  # told by the last segment


def test_a_segment_that_closes_meanwhile_is_read_under_its_new_name(night: Batch, tmp_path: Path) -> None:  # noqa: F811
    n = len(night.recv_ns)
    write_journal(tmp_path, night, range(0, n, n // 3), close=False)
    (waiting,) = tmp_path.glob("*.open")
    closed = waiting.with_name(waiting.name.removesuffix(".open"))
    expected = all_gaps(None, tmp_path)

    def close(records: int) -> None:
        if waiting.exists():
            waiting.rename(closed)

    assert all_gaps(None, tmp_path, close) == expected and closed.exists()
    (tail,) = tails(None, tmp_path)
    closed.rename(waiting)
    (before,) = tails(None, tmp_path)
    waiting.rename(closed)
    assert before.first_ns == tail.first_ns > 0


def test_a_book_is_of_the_run_of_its_moment_and_later_runs_are_not_decoded(
    night: Batch,  # noqa: F811
    journal: Path,  # noqa: F811
) -> None:
    from dataclasses import replace

    later = replace(night, recv_ns=night.recv_ns + 10**11)
    at_ns = int(night.recv_ns[-50])
    book = book_at("bitfinex", "tBTCUSD", at_ns, journal=journal)
    write_journal(journal, later, [500])
    assert book_at("bitfinex", "tBTCUSD", at_ns, journal=journal) == book
    second = book_at("bitfinex", "tBTCUSD", at_ns + 10**11, journal=journal)
    assert (second["bids"], second["recording"]) == (book["bids"], True)
    compact(journal, str(journal.parent / "lake"))
    catalogue = Catalogue(Store(str(journal.parent / "lake")))
    assert tails(catalogue, journal) == []
    with pytest.raises(LakeError, match="look with"):
        book_at("bitfinex", "tBTCUSD", 1, catalogue=catalogue, journal=journal)
