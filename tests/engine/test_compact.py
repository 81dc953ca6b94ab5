"""The compactor: whatever the segments and whatever ends it, the lake's rows are those of a straight decode."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.engine.compact import Compactor, compact
from data_controller.engine.kept import FOLDER
from data_controller.engine.verify_lake import verify_lake
from data_controller.errors import JournalError, LakeError
from data_controller.journal import manifest as manifests
from data_controller.journal.arena import Arena
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.checkpoints import Rebuilt
from data_controller.lake.gaps import gap_rows
from data_controller.lake.layout import date_of, side_table
from data_controller.lake.settings import LakeSettings
from data_controller.lake.store import Store
from data_controller.lake.tables import TableWriter
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Channel
from data_controller.records import Batch
from data_controller.records import Kind as RecordKind
from tests.lake.lake_making import (
    SYMBOLS,
    key_of_file,
    lake_rows,
    recorded,
    straight,
    without_checkpoints,
    write_journal,
)
from tests.pipeline.recording import eager_bundle


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return recorded(eager_bundle(tmp_path_factory.mktemp("bundles") / "eager"))


@pytest.fixture
def journal(night: Batch, tmp_path: Path) -> Path:
    n = len(night.recv_ns)
    write_journal(tmp_path / "state" / "journal", night, range(0, n, n // 6))
    return tmp_path / "state" / "journal"


class Crash(Exception):  # noqa: N818 - the event is the name
    """What a test lets happen instead of a kill."""


def same(store: Store, journal: Path) -> None:
    """The lake holds what the journal decodes to, and no file besides."""
    catalogue = Catalogue(store)
    expected, found = straight(journal), lake_rows(catalogue)
    rows = expected.rows()
    assert found.keys() == {key for key, part in rows.items() if len(part)}
    for key, part in found.items():
        assert part.tobytes() == rows[key].tobytes(), key
    sides: dict[Any, list[Any]] = {}
    for file in catalogue.files(events=False):
        sides.setdefault(key_of_file(file), []).extend(catalogue.table(file).to_pylist())
    assert sides == {key: side_table(key.channel, rows).to_pylist() for key, rows in expected.sides.items()}
    listed = {file.path for file in catalogue.all_files()} | set(catalogue.commits)
    assert set(store.names()) == listed


def test_rows_of_the_lake_are_those_of_a_straight_decode_and_running_again_does_nothing(
    journal: Path, tmp_path: Path
) -> None:
    uri = str(tmp_path / "lake")
    first = compact(journal, uri)
    assert (first["segments"], first["notes"], first["ok"]) == (7, [], True)
    same(Store(uri), journal)
    before = {name: Path(uri, name).stat().st_mtime_ns for name in Store(uri).names()}
    again = compact(journal, uri)
    assert (again["segments"], again["events"]) == (0, 0)
    assert {name: Path(uri, name).stat().st_mtime_ns for name in Store(uri).names()} == before


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), segments=st.integers(1, 25), forget=st.booleans())
def test_whatever_the_segments_and_whoever_goes_on_the_rows_are_the_same(
    night: Batch, tmp_path_factory: pytest.TempPathFactory, seed: int, segments: int, forget: bool
) -> None:
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp("run")
    journal, store = folder / "journal", Store(str(folder / "lake"))
    n = len(night.recv_ns)
    write_journal(journal, night, draw.sample(range(1, n), segments - 1))
    notes = []
    done = 1
    while done:
        # A compactor of its own for some commits: it goes on from what the last one kept, or from the run's start.
        with Compactor(journal, store, commit_bytes=draw.choice((1, 1 << 14, 1 << 20))) as compactor:
            for _ in range(draw.randint(1, 3)):
                done = compactor.step()
            notes += compactor.notes
        if forget:
            for path in (journal / FOLDER).glob("state-*.bin"):
                path.unlink()
    assert bool(notes) <= forget
    same(store, journal)


STEPS = ("sweep", "file", "decoded", "state", "commit", "committed", "retention")


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_before_any_step_loses_nothing_and_leaves_nothing(journal: Path, tmp_path: Path, step: str) -> None:
    store = Store(str(tmp_path / "lake"))
    for at in (1, 2, 5):
        left = at

        def fault(now: str) -> None:
            nonlocal left
            left -= now == step
            if left == 0:
                left = -1
                raise Crash

        try:
            with Compactor(journal, store, fault=fault, commit_bytes=1) as compactor:
                compactor.run()
                compactor.retain()
        except Crash:
            pass
    with Compactor(journal, store, commit_bytes=1) as compactor:
        compactor.run()
    same(store, journal)


def test_a_step_that_failed_may_be_tried_again_by_the_same_compactor(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    fail = [True, True, False]

    def fault(step: str) -> None:
        if step == "commit" and fail and fail.pop(0):
            raise Crash

    with Compactor(journal, store, fault=fault, commit_bytes=1) as compactor:
        with pytest.raises(Crash):
            compactor.run()
        with pytest.raises(Crash):
            compactor.run()
        assert compactor.run() == 7
    with Compactor(journal, store):  # sweeps what the failed attempts left, where it was not written over
        pass
    same(store, journal)


def test_a_second_run_goes_into_the_same_lake_and_a_growing_journal_is_followed(
    night: Batch, journal: Path, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "lake"))
    compact(journal, store.uri)
    write_journal(journal, replace(night, recv_ns=night.recv_ns + 10**11), [500])
    result = compact(journal, store.uri)
    assert (result["segments"], result["lake_segments"]) == (2, 9)
    same(store, journal)


def test_a_day_opens_with_its_books_as_they_stood_and_their_proof(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    compact(journal, store.uri)
    catalogue = Catalogue(store)
    days = sorted({file.date for file in catalogue.files(channel="book")})
    assert len(days) == 2
    for symbol in SYMBOLS:
        for precision in ("P0", "R0"):
            first, second = (
                catalogue.files(channel="book", instrument=symbol, precision=precision, dates=[day]) for day in days
            )
            channel = Channel("bitfinex", symbol, "book", precision, "F0", 25)
            rows = catalogue.events(second[0])
            assert rows["kind"][:3].tolist() == [Kind.CONTROL, Kind.CONTROL, Kind.RESET]
            assert rows["ref"][:2].tolist() == [Control.BOOK, Control.BOOK_TIMES]
            assert second[0].checkpoint_rows > 20
            assert date_of(int(rows["recv_ns"][0])) == days[1]
            whole, alone = Rebuilt(channel), Rebuilt(channel)
            for file in first:
                whole.apply(catalogue.events(file))
            for file in second:
                whole.apply(without_checkpoints(catalogue.events(file)))
                alone.apply(catalogue.events(file))
            for side in (1, -1):
                a, b = whole.books.side(0, side).copy(), alone.books.side(0, side).copy()
                for levels in (a, b):  # what a checksum remembers is no part of the book
                    levels["text_bytes"] = levels["text_crc"] = 0
                assert a.tobytes() == b.tobytes() and len(a) > 0
            for name in ("proof", "proof_by", "checked_ns", "unproved_since_ns", "updated_ns"):
                assert whole.book[name] == alone.book[name], name
            assert alone.book["checks_bad"] == 0 and alone.book["checks_ok"] > 0


def test_rows_before_a_checkpoint_make_the_very_book_that_it_holds(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    compact(journal, store.uri)
    catalogue = Catalogue(store)
    rebuilt = Rebuilt(Channel("bitfinex", "tBTCUSD", "book", "P0", "F0", 25))
    for file in catalogue.files(channel="book", instrument="tBTCUSD", precision="P0"):
        rebuilt.apply(catalogue.events(file))
    assert rebuilt.differences == []
    assert rebuilt.book["proof"] == Proof.BROKEN  # the capture closed its connection


def test_a_damaged_segment_is_compacted_as_far_as_it_can_be_read_and_the_commit_says_so(
    journal: Path, tmp_path: Path
) -> None:
    path = sorted(journal.glob("journal-*.arrows"))[2]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    result = compact(journal, str(tmp_path / "lake"))
    assert not result["ok"]
    assert any("SHA-256" in note for note in result["notes"])
    commits = Catalogue(Store(str(tmp_path / "lake"))).commits.values()
    assert any(path.name in text for commit in commits for text in commit.source.damages)


def test_a_lake_of_another_journal_is_refused(night: Batch, journal: Path, tmp_path: Path) -> None:
    compact(journal, str(tmp_path / "lake"))
    write_journal(tmp_path / "other", night, [])
    with pytest.raises(LakeError, match="of another"):
        compact(tmp_path / "other", str(tmp_path / "lake"))
    with pytest.raises(JournalError, match="manifest"):
        compact(tmp_path, str(tmp_path / "lake"))


def test_two_compactors_of_one_journal_do_not_meet(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    with Compactor(journal, store), pytest.raises(LakeError, match="only compactor"):
        Compactor(journal, store)
    Compactor(journal, store).close()


def test_files_of_other_jobs_are_not_swept(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    store.put("exchange=x/channel=candles/instrument=y/date=2026-01-01/backfill-1.parquet", b"not ours")
    store.put("exchange=x/channel=book/instrument=y/date=2026-01-01/part-0000000000000000007-1.parquet", b"ours")
    with Compactor(journal, store) as compactor:
        assert [name.rpartition("/")[2] for name in compactor.swept] == ["part-0000000000000000007-1.parquet"]
    assert len(store.names()) == 1


def segment_names(journal: Path) -> list[str]:
    return sorted(path.name for path in journal.glob("journal-*.arrows"))


def test_retention_takes_the_oldest_segments_that_are_in_the_lake_and_keeps_record_of_them(
    journal: Path, tmp_path: Path
) -> None:
    names = segment_names(journal)
    sizes = [(journal / name).stat().st_size for name in names]
    budget = LakeSettings(journal_disk_budget_bytes=sum(sizes[3:]) + 1)
    with Compactor(journal, Store(str(tmp_path / "lake")), budget, commit_bytes=1) as compactor:
        compactor.step()
        assert compactor.retain() == names[:1]  # the others are not in the lake yet
        assert segment_names(journal) == names[1:]
        compactor.run()
        assert compactor.retain() == names[1:3]
    assert segment_names(journal) == names[3:]
    manifest = manifests.load(journal)
    assert manifest is not None
    assert [entry.name for entry in manifest.deleted] == names[:3]
    assert {entry.note for entry in manifest.deleted} == {"beyond lake.journal_disk_budget_bytes"}
    again = compact(journal, str(tmp_path / "lake"), budget)
    assert (again["segments"], again["dropped"]) == (0, [])


def test_the_engine_that_writes_the_journal_deletes_what_the_compactor_lets_go(
    night: Batch, journal: Path, tmp_path: Path
) -> None:
    from data_controller.journal.files import DirectoryLock
    from data_controller.journal.settings import JournalSettings

    names = segment_names(journal)
    with (
        DirectoryLock(journal),
        Compactor(journal, Store(str(tmp_path / "lake")), LakeSettings(journal_disk_budget_bytes=1)) as compactor,
    ):
        compactor.run()
        assert compactor.retain() == names
        assert segment_names(journal) == names
    manifest = manifests.load(journal)
    assert manifest is not None
    assert manifests.make_room(journal, manifest, JournalSettings(), 0, 0) == len(names)
    write_journal(journal, night, [600], close=True)
    fresh = segment_names(journal)
    manifest = manifests.load(journal)
    assert manifest is not None
    tight = JournalSettings.model_construct(max_bytes=1, retention_days=0.0)
    assert manifests.make_room(journal, manifest, tight, 0, 0) == 0  # not in the lake: not deleted
    assert segment_names(journal) == fresh


def test_segments_that_a_decision_rests_on_are_kept_for_their_time(journal: Path, tmp_path: Path) -> None:
    manifest = manifests.load(journal)
    assert manifest is not None
    third = manifest.segments[2]
    writer = TableWriter(tmp_path / "tables", "audit")
    writer.append(np.array([(third.first_recv_ns + 1,)], [("now_ns", "<i8")]))
    writer.close()
    tight = LakeSettings(journal_disk_budget_bytes=1)
    with Compactor(journal, Store(str(tmp_path / "lake")), tight) as compactor:
        compactor.run()
        assert compactor.retain(tmp_path / "tables") == []  # its features look back beyond the first segment
        assert len(compactor.retain(None)) == 7


def lose_first(journal: Path, n: int) -> None:
    """What the journal's own limits do to the oldest segments."""
    manifest = manifests.load(journal)
    assert manifest is not None
    for entry in manifest.segments[:n]:
        (journal / entry.name).unlink()
    manifest.deleted, manifest.segments = manifest.segments[:n], manifest.segments[n:]
    manifests.save(journal, manifest)


def upgrade(journal: Path) -> None:
    """Kept states are of another program from here on."""
    for path in (journal / FOLDER).iterdir():
        if path.name.startswith(("state-", "opening-")):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(b"0.0.0+other " + content.split(b" ", 1)[1])


def test_after_an_upgrade_a_run_without_its_first_segments_loses_no_row(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    with Compactor(journal, store, commit_bytes=1) as compactor:
        for _ in range(3):
            compactor.step()
    expected = straight(journal)
    lose_first(journal, 2)
    upgrade(journal)
    result = compact(journal, store.uri, LakeSettings(journal_disk_budget_bytes=1))
    assert result["ok"] and len(result["dropped"]) == 5
    assert any("cannot be decoded from its start" in note for note in result["notes"])
    catalogue = Catalogue(store)
    found, rows = lake_rows(catalogue), expected.rows()
    assert found.keys() == rows.keys()
    for key, part in found.items():  # all but the books that a day opens with: they were lost
        assert without_checkpoints(part).tobytes() == without_checkpoints(rows[key]).tobytes(), key
    sides: dict[Any, int] = {}
    for file in catalogue.files(events=False):
        if file.channel != "gaps":
            sides[key_of_file(file)] = sides.get(key_of_file(file), 0) + file.rows
    assert sides == {key: len(part) for key, part in expected.sides.items() if key.channel != "gaps"}
    begun = [row for row in gap_rows(catalogue) if row["reason"] == "START" and not row["ended_ns"]]
    assert len(begun) == 2 * len({row["channel_row"] for row in begun}) == 8  # at its start, and where books were lost
    assert verify_lake(store.uri)["doubts"] == []


def test_segments_of_which_nothing_can_be_decoded_are_named_and_never_let_go(journal: Path, tmp_path: Path) -> None:
    lose_first(journal, 1)  # before there was a compactor
    names = segment_names(journal)
    tight = LakeSettings(journal_disk_budget_bytes=1)
    result = compact(journal, str(tmp_path / "lake"), tight)
    assert not result["ok"] and result["dropped"] == [] and result["segments"] == 6
    assert sum("could not be decoded" in note and "records" in note for note in result["notes"]) == 6
    assert segment_names(journal) == names
    checked = verify_lake(str(tmp_path / "lake"))
    assert not checked["ok"] and len(checked["lost_before_compaction"]) == 6
    allowed = manifests.load_retention(journal)
    assert allowed is not None and (allowed.number, allowed.drop) == (0, {})


def test_without_its_place_an_opening_gives_no_connections_and_what_is_lost_is_told(
    journal: Path, tmp_path: Path
) -> None:
    with Compactor(journal, Store(str(tmp_path / "first")), commit_bytes=1) as compactor:
        for _ in range(3):
            compactor.step()
    lose_first(journal, 1)
    upgrade(journal)
    result = compact(journal, str(tmp_path / "another"))  # where the lake has nothing of the run
    assert not result["ok"] and sum("records could not be decoded" in text for text in result["notes"]) == 6
    assert result["events"] == 0  # its one connection was opened in what is gone


def test_states_are_kept_over_the_segments_that_are_there_and_no_more(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    with Compactor(journal, store, commit_bytes=1) as compactor:
        compactor.run()
        assert len(list((journal / FOLDER).glob("state-*.bin"))) == 7
        assert len(list((journal / FOLDER).glob("opening-*.json"))) == 2


def test_a_kept_state_that_is_damaged_or_of_other_code_is_not_used(journal: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "lake"))
    with Compactor(journal, store, commit_bytes=1) as compactor:
        compactor.step()
    (state,) = (journal / FOLDER).glob("state-*.bin")
    content = bytearray(state.read_bytes())
    content[-5] ^= 1
    state.unlink()
    state.write_bytes(content)
    with Compactor(journal, store, commit_bytes=1) as compactor:
        compactor.run()
        assert any("decoding 1 segments again" in note for note in compactor.notes)
    same(store, journal)


def test_a_capture_without_pulses_tells_the_ends_of_its_gaps_too(night: Batch, tmp_path: Path) -> None:
    arena = Arena(16 << 20, 1 << 14, night.first_seq)
    for k, kind in enumerate(night.kind.tolist()):
        if kind != RecordKind.PULSE:
            arena.push(kind, night.conns[k], night.times[k], night.payload(k))
    full, n = arena.batch, arena.filled
    batch = Batch(full.first_seq, full.recv_ns[:n], full.kind[:n], full.conn[:n], full.offsets[: n + 1], full.data)
    write_journal(tmp_path / "journal", batch, [400])
    compact(tmp_path / "journal", str(tmp_path / "lake"))
    rows = gap_rows(Catalogue(Store(str(tmp_path / "lake"))))
    ends = [row for row in rows if row["reason"] == "START" and row["ended_ns"]]
    assert len(ends) == 4 and all(row["healed_by"] == "start" and row["ended_ns"] % 10**9 == 0 for row in ends)


def test_rows_of_checkpoints_are_marked(journal: Path, tmp_path: Path) -> None:
    compact(journal, str(tmp_path / "lake"))
    catalogue = Catalogue(Store(str(tmp_path / "lake")))
    for file in catalogue.files(events=True):
        rows = catalogue.events(file)
        assert file.checkpoint_rows == np.count_nonzero(rows["flags"] & Flag.CHECKPOINT)
        assert (np.diff(rows["seq"]) >= 0).all()
